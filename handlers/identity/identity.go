// Package identity finds out who makes a request: from an API token, the token
// of an identity provider, a client certificate, Basic credentials and the
// address of the peer.
//
// It guarantees that credentials which do not hold are refused and never passed
// over, that every such refusal looks the same to the client, that an address is
// that of the connection and never one that a header tells, and that nothing it
// returns or logs holds a secret. Credentials are judged the same whether
// authentication is on or off; what being on demands, and what a principal may
// do, is decided by who asks and in apply.
package identity

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// credentialsMax bounds an Authorization header before anything looks into it.
const credentialsMax = 8 << 10

// Service knows the API tokens; lease.Service is one.
type Service interface {
	// Authenticate is that of lease.Service.
	Authenticate(ctx context.Context, secret [32]byte) (lease.Identity, error)
}

// Resolver proves who makes a request. It may be used concurrently.
type Resolver struct {
	tokens Service
	oidc   *OIDC
	now    func() time.Time
}

// NewResolver looks API tokens up in tokens, and those of an identity provider
// in oidc; with nil none of the latter is accepted.
func NewResolver(tokens Service, oidc *OIDC) *Resolver {
	return &Resolver{tokens: tokens, oidc: oidc, now: time.Now}
}

// Kind is what sort of credentials was presented.
type Kind string

// The kinds of credentials.
const (
	KindToken       Kind = "token"       // an API token
	KindJWT         Kind = "jwt"         // of an identity provider
	KindCertificate Kind = "certificate" // of a TLS client
	KindBasic       Kind = "basic"       // user and password
	KindUnknown     Kind = "unknown"     // anything else in Authorization
)

// Kinds are all of them.
var Kinds = []Kind{KindToken, KindJWT, KindCertificate, KindBasic, KindUnknown}

// Refused is the error for credentials that do not hold; it is
// tree.ErrUnauthenticated. Reason is one of a few fixed texts, for those who run
// the cluster: the client is not told.
type Refused struct {
	Kind   Kind
	Reason string
}

func (r *Refused) Error() string { return string(r.Kind) + ": " + r.Reason }

// Unwrap makes it the refusal that it is to a client.
func (r *Refused) Unwrap() error { return tree.ErrUnauthenticated }

func refuse(kind Kind, reason string) error { return &Refused{kind, reason} }

// Peer is the caller of whom only the address of the connection is known.
func Peer(req *http.Request) *commandpb.Caller {
	at, err := netip.ParseAddrPort(req.RemoteAddr)
	if err != nil {
		return &commandpb.Caller{}
	}
	return &commandpb.Caller{Address: at.Addr().Unmap().WithZone("").String()}
}

// Presented says whether req comes with credentials.
func Presented(req *http.Request) bool {
	return len(req.Header["Authorization"]) > 0 || req.TLS != nil && len(req.TLS.PeerCertificates) > 0
}

// Prove adds to c what the credentials of req prove. Of a principal that both a
// certificate and a token name the token counts; Basic proves an identity of
// ACLs and no principal. Errors are Refused ones, and of the service when it
// cannot tell; c is then not to be used but for its address.
func (r *Resolver) Prove(req *http.Request, c *commandpb.Caller) error {
	if err := r.certificate(req.TLS, c); err != nil {
		return err
	}
	values := req.Header["Authorization"]
	if len(values) == 0 {
		return nil
	}
	if len(values) > 1 || len(values[0]) > credentialsMax {
		return refuse(KindUnknown, "more than one header, or too long")
	}
	scheme, credentials, _ := strings.Cut(values[0], " ")
	credentials = strings.Trim(credentials, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return r.bearer(req.Context(), credentials, c)
	case strings.EqualFold(scheme, "Basic"):
		return basic(credentials, c)
	}
	return refuse(KindUnknown, "neither Bearer nor Basic")
}

func (r *Resolver) bearer(ctx context.Context, credentials string, c *commandpb.Caller) error {
	if strings.HasPrefix(credentials, tokenPrefix) {
		return r.apiToken(ctx, credentials, c)
	}
	if r.oidc == nil {
		return refuse(KindJWT, "no identity provider is configured")
	}
	return r.oidc.prove(ctx, credentials, c)
}

// basic makes the identity that ZooKeeper's digest scheme makes of user and
// password. There is nothing that it could be compared with here.
func basic(credentials string, c *commandpb.Caller) error {
	pair, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return refuse(KindBasic, "malformed")
	}
	user, _, ok := strings.Cut(string(pair), ":")
	if !ok || user == "" {
		return refuse(KindBasic, "malformed")
	}
	sum := sha1.Sum(pair)
	c.Digests = []string{user + ":" + base64.StdEncoding.EncodeToString(sum[:])}
	return nil
}
