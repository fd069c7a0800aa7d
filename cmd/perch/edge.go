package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/pflag"

	"perch/cmd/internal/trust"
	"perch/handlers"
	"perch/handlers/audit"
	"perch/handlers/identity"
	"perch/quorum/certs"
)

// edgeConfig is who may ask `perch serve` or `perch gateway`, over what, how often, and who is told.
type edgeConfig struct {
	HTTP        string
	TLSCert     string
	TLSKey      string
	TLSClientCA string
	BehindProxy bool
	Insecure    bool

	Auth            bool
	OIDCIssuer      string
	OIDCAudience    string
	OIDCJWKS        string
	OIDCTenantClaim string
	OIDCRolesClaim  string

	Trace traceConfig

	AuditLog      string
	AuditRequired bool

	Rates handlers.Rates
}

func (c *edgeConfig) declare(f *pflag.FlagSet) {
	f.StringVar(&c.HTTP, "http", "127.0.0.1:7070", "address that answers HTTP")
	f.StringVar(&c.TLSCert, "tls-cert", "", "certificate that clients are answered with (PEM); it is followed when it changes")
	f.StringVar(&c.TLSKey, "tls-key", "", "its key (PEM)")
	f.StringVar(&c.TLSClientCA, "tls-client-ca", "", "certificates that sign those of clients (PEM): their one URI names who they are")
	f.BoolVar(&c.BehindProxy, "behind-tls-proxy", false, "a proxy terminates TLS: accept the host names of its clients on a loopback address")
	f.BoolVar(&c.Insecure, "insecure", false, "serve without TLS and authentication on an address that others reach")
	f.BoolVar(&c.Auth, "auth", false, "turn authentication on in this cluster, for good: the first node to do so prints the administrator's token once")
	f.StringVar(&c.OIDCIssuer, "oidc-issuer", "", "URL of an identity provider whose tokens count, as their claim iss has it")
	f.StringVar(&c.OIDCAudience, "oidc-audience", "", "what their claim aud must hold")
	f.StringVar(&c.OIDCJWKS, "oidc-jwks", "", "URL of its keys (none: its discovery document says)")
	f.StringVar(&c.OIDCTenantClaim, "oidc-tenant-claim", "tenant", "claim that names the tenant")
	f.StringVar(&c.OIDCRolesClaim, "oidc-roles-claim", "roles", "claim that lists the roles in the tenant")
	f.StringVar(&c.AuditLog, "audit-log", "", "file that gets a line of JSON for every change and every denied request")
	f.BoolVar(&c.AuditRequired, "audit-required", false, "refuse changes that the audit log cannot be told of")
	c.Trace.declare(f)
	f.IntVar(&c.Rates.Principal, "limit-principal", 0, "requests a second of one principal (0: any number)")
	f.IntVar(&c.Rates.Address, "limit-address", 0, "requests a second of one address, or IPv6 network of 64 bits (0: any number)")
	f.IntVar(&c.Rates.Failures, "limit-failures", 20, "requests a second of one address with credentials that do not hold")
}

func (c *edgeConfig) validate() (faults []error) {
	faults = append(faults, c.validateTLS()...)
	faults = append(faults, c.Trace.validate()...)
	if err := checkAddr(c.HTTP, true); err != nil {
		faults = append(faults, fmt.Errorf("--http %q: %w", c.HTTP, err))
	} else if err := c.validateHTTP(); err != nil {
		faults = append(faults, err)
	}
	if c.OIDCIssuer+c.OIDCAudience+c.OIDCJWKS != "" {
		if err := c.oidc(nil).Validate(); err != nil {
			faults = append(faults, fmt.Errorf("--oidc-issuer, --oidc-audience, --oidc-jwks: %w", err))
		}
	}
	if c.AuditRequired && c.AuditLog == "" {
		faults = append(faults, errors.New("--audit-required: give --audit-log too"))
	}
	if c.Rates.Principal < 0 || c.Rates.Address < 0 || c.Rates.Failures < 1 {
		faults = append(faults, errors.New("--limit-principal and --limit-address must not be below 0, --limit-failures not below 1"))
	}
	return faults
}

func (c *edgeConfig) validateTLS() (faults []error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		faults = append(faults, errors.New("--tls-cert and --tls-key belong together: give both or none"))
	}
	if c.TLSClientCA != "" && c.TLSCert == "" {
		faults = append(faults, errors.New("--tls-client-ca: client certificates take TLS: give --tls-cert and --tls-key too"))
	}
	return faults
}

// validateHTTP refuses to be reached by others where anybody could do anything,
// or read along.
func (c *edgeConfig) validateHTTP() error {
	private := c.TLSCert != "" || c.BehindProxy
	if trust.Loopback(c.HTTP) || c.Insecure || private && c.Auth {
		return nil
	}
	add := ""
	if !private {
		add = "--tls-cert and --tls-key (or --behind-tls-proxy)"
	}
	if !c.Auth {
		if add != "" {
			add += " and "
		}
		add += "--auth"
	}
	return fmt.Errorf("--http %s is reachable from other machines: add %s, "+
		"or use a loopback address such as 127.0.0.1:7070, or add --insecure", c.HTTP, add)
}

// tls is how clients are answered; nil without TLS.
func (c *edgeConfig) tls(log *slog.Logger) (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	pair, err := certs.LoadPair(c.TLSCert, c.TLSKey, log)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, GetCertificate: pair.ForServer, NextProtos: []string{"h2", "http/1.1"},
	}
	if c.TLSClientCA == "" {
		return config, nil
	}
	signers, err := certs.LoadAuthorities(c.TLSClientCA, log)
	if err != nil {
		return nil, fmt.Errorf("--tls-client-ca: %w", err)
	}
	config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, signers.Pool()
	// A session that is resumed is not looked at again by authorities that have
	// changed since.
	config.SessionTicketsDisabled = true
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := config.Clone()
		now.GetConfigForClient, now.ClientCAs = nil, signers.Pool()
		return now, nil
	}
	return config, nil
}

func (c *edgeConfig) oidc(log *slog.Logger) *identity.OIDCConfig {
	return &identity.OIDCConfig{
		Issuer: c.OIDCIssuer, Audience: c.OIDCAudience, JWKS: c.OIDCJWKS,
		TenantClaim: c.OIDCTenantClaim, RolesClaim: c.OIDCRolesClaim, Log: log,
	}
}

// apply adds to o what c says of who may ask. What it opens is closed by the
// caller: o.Audit, when there is one.
func (c *edgeConfig) apply(o *handlers.Options) (err error) {
	o.AnyHost, o.Auth, o.Rates, o.AuditRequired = c.BehindProxy, c.Auth, c.Rates, c.AuditRequired
	if c.OIDCIssuer != "" {
		if o.OIDC, err = identity.NewOIDC(*c.oidc(o.Log)); err != nil {
			return err
		}
	}
	if c.AuditLog != "" {
		o.Audit, err = audit.Open(c.AuditLog)
	}
	return err
}
