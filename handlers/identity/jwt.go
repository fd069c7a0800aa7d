package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"perch/gen/commandpb"
	"perch/lease"
)

// The bounds of a token of an identity provider.
const (
	tokenAgeMax = 24 * time.Hour   // since it was issued, whatever it says of its end
	leeway      = 60 * time.Second // between our clock and the provider's
	rolesMax    = 64
	roleMark    = "@" // before the name of a role; no subject begins with it
)

// bootstrapAdmin is the principal that turning authentication on creates. No
// tenant is called so: its members would have his permissions.
const bootstrapAdmin = "admin"

// algorithms are those whose signatures count: none with a shared secret, and
// not "none".
var algorithms = []string{oidc.RS256, oidc.ES256, oidc.EdDSA}

// OIDCConfig says whose tokens count. Issuer and Audience are required.
type OIDCConfig struct {
	Issuer      string // URL, as the claim iss has it
	Audience    string // which the claim aud must hold
	JWKS        string // URL of the keys; "": found in the issuer's discovery document
	TenantClaim string // "": tenant
	RolesClaim  string // "": roles

	Log *slog.Logger // nil: nothing is logged
}

// Validate reports every fault of c at once.
func (c *OIDCConfig) Validate() error {
	var faults []error
	if c.Audience == "" {
		faults = append(faults, errors.New("the audience is missing: a token for somebody else would count here"))
	}
	if _, err := parseURL(c.Issuer, true); err != nil {
		faults = append(faults, fmt.Errorf("issuer %q: %w", c.Issuer, err))
	}
	if c.JWKS != "" {
		if _, err := parseURL(c.JWKS, true); err != nil {
			faults = append(faults, fmt.Errorf("JWKS %q: %w", c.JWKS, err))
		}
	}
	return errors.Join(faults...)
}

// OIDC proves tokens of one identity provider. It may be used concurrently.
type OIDC struct {
	config   OIDCConfig
	verifier *oidc.IDTokenVerifier
	now      func() time.Time
}

// NewOIDC makes nothing but plans: keys are fetched when the first token comes.
func NewOIDC(c OIDCConfig) (*OIDC, error) { return newOIDC(c, time.Now) }

func newOIDC(c OIDCConfig, now func() time.Time) (*OIDC, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.TenantClaim == "" {
		c.TenantClaim = "tenant"
	}
	if c.RolesClaim == "" {
		c.RolesClaim = "roles"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &OIDC{config: c, now: now, verifier: oidc.NewVerifier(c.Issuer, newKeySet(&c, now), &oidc.Config{
		ClientID: c.Audience, SupportedSigningAlgs: algorithms,
		SkipExpiryCheck: true, // inTime has a leeway of its own
	})}, nil
}

// prove takes from a token the principal tenant:subject and the roles tenant and
// tenant:@role, so that no tenant's provider can name somebody of another one, and
// no subject is taken for a role.
func (o *OIDC) prove(ctx context.Context, token string, c *commandpb.Caller) error {
	if why := checkHeader(token); why != "" {
		return refuse(KindJWT, why)
	}
	proved, err := o.verifier.Verify(ctx, token)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return refuse(KindJWT, "signature, issuer or audience")
	}
	var claims map[string]any
	if err := proved.Claims(&claims); err != nil {
		return refuse(KindJWT, "malformed")
	}
	if why := inTime(proved, claims, o.now()); why != "" {
		return refuse(KindJWT, why)
	}
	return o.name(proved.Subject, claims, c)
}

// checkHeader looks for what would let a token say how it is to be verified. It
// returns why the token is refused, or "".
func checkHeader(token string) string {
	header, _, ok := strings.Cut(token, ".")
	if !ok || strings.Count(token, ".") != 2 {
		return "malformed" // the JSON form of signatures included
	}
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		return "malformed"
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return "malformed"
	}
	for _, name := range []string{"crit", "jku", "x5u", "jwk"} {
		if _, there := fields[name]; there {
			return "the header " + name
		}
	}
	return ""
}

// inTime returns why a token does not count now, or "".
func inTime(token *oidc.IDToken, claims map[string]any, now time.Time) string {
	switch {
	case !now.Before(token.Expiry.Add(leeway)): // also without exp
		return "expired"
	case token.IssuedAt.After(now.Add(leeway)):
		return "issued in the future"
	case now.Sub(token.IssuedAt) > tokenAgeMax+leeway: // also without iat
		return "issued too long ago, or iat is missing"
	}
	if nbf, there := claims["nbf"]; there {
		seconds, ok := nbf.(float64)
		if !ok || seconds > float64(now.Add(leeway).Unix()) {
			return "not valid yet"
		}
	}
	return ""
}

func (o *OIDC) name(subject string, claims map[string]any, c *commandpb.Caller) error {
	tenant, _ := claims[o.config.TenantClaim].(string)
	// A colon in it would let the tenant a:b speak for members of a.
	if !lease.ValidPrincipal(tenant) || strings.Contains(tenant, ":") || tenant == bootstrapAdmin {
		return refuse(KindJWT, "the tenant")
	}
	principal := tenant + ":" + subject
	if subject == "" || strings.HasPrefix(subject, roleMark) || !lease.ValidPrincipal(principal) {
		return refuse(KindJWT, "the subject")
	}
	names, ok := stringsOf(claims[o.config.RolesClaim])
	if !ok || len(names) > rolesMax {
		return refuse(KindJWT, "the roles")
	}
	roles := []string{tenant}
	for _, name := range names {
		role := tenant + ":" + roleMark + name
		if name == "" || !lease.ValidPrincipal(role) {
			return refuse(KindJWT, "the roles")
		}
		roles = append(roles, role)
	}
	c.Principal, c.Token, c.Roles = principal, "", roles
	return nil
}

// stringsOf reads a claim that is absent, one string, or a list of them.
func stringsOf(claim any) (list []string, ok bool) {
	switch claim := claim.(type) {
	case nil:
		return nil, true
	case string:
		return []string{claim}, true
	case []any:
		for _, item := range claim {
			text, ok := item.(string)
			if !ok {
				return nil, false
			}
			list = append(list, text)
		}
		return list, true
	}
	return nil, false
}

// parseURL accepts https, and plain http where no network is between, if
// loopback is.
func parseURL(text string, loopback bool) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
		return nil, errors.New("must be an https URL without user, query and fragment")
	}
	if isLoopback(u.Hostname()) {
		if !loopback {
			return nil, errors.New("it is an address of this machine")
		}
		if u.Scheme == "http" {
			return u, nil
		}
	}
	if u.Scheme != "https" {
		return nil, errors.New("must be https; http only to an address of this machine")
	}
	return u, nil
}
