package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"perch/handlers/identity/idptest"
	"perch/lease"
	"perch/tree"
)

// known are the API tokens of a fake service, by their hashes.
type known struct {
	tokens map[[32]byte]lease.Identity
	asked  int
	err    error
}

func (k *known) Authenticate(_ context.Context, secret [32]byte) (lease.Identity, error) {
	k.asked++
	if k.err != nil {
		return lease.Identity{}, k.err
	}
	found, ok := k.tokens[secret]
	if !ok {
		return lease.Identity{}, tree.ErrUnauthenticated
	}
	return found, nil
}

var secretText = strings.Repeat("s_-", 14) + "A" // 43 characters, underscores among them

func request(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v1/whoami", nil)
	for _, h := range headers {
		r.Header.Add("Authorization", h)
	}
	return r
}

func newKnown() *known {
	return &known{tokens: map[[32]byte]lease.Identity{
		SecretHash(secretText):              {Principal: "ci", Token: "t17"},
		SecretHash(strings.Repeat("e", 43)): {Principal: "ci", Token: "t18", Expires: 1},
	}}
}

func TestAPITokens(t *testing.T) {
	k := newKnown()
	r := NewResolver(k, nil)
	for _, header := range []string{"Bearer " + TokenText("t17", secretText), "bearer  " + TokenText("t17", secretText) + " "} {
		c := Peer(request())
		if err := r.Prove(request(header), c); err != nil || c.Principal != "ci" || c.Token != "t17" || c.Address != "192.0.2.1" {
			t.Errorf("%v %v", err, c)
		}
	}
	k.err = lease.ErrNoLeader
	if err := r.Prove(request("Bearer "+TokenText("t17", secretText)), Peer(request())); !errors.Is(err, lease.ErrNoLeader) {
		t.Errorf("nobody could tell: %v", err)
	}
}

// Credentials that do not hold are one refusal, whatever is wrong with them,
// and it holds nothing of them.
func TestRefusedCredentials(t *testing.T) {
	k := newKnown()
	r := NewResolver(k, nil)
	pair := base64.StdEncoding.EncodeToString
	for name, headers := range map[string][]string{
		"unknown secret":   {"Bearer " + TokenText("t17", strings.Repeat("x", 43))},
		"id of another":    {"Bearer " + TokenText("t16", secretText)},
		"expired":          {"Bearer " + TokenText("t18", strings.Repeat("e", 43))},
		"short secret":     {"Bearer " + TokenText("t17", secretText[1:])},
		"long secret":      {"Bearer " + TokenText("t17", secretText+"x")},
		"no id":            {"Bearer perch__" + secretText},
		"long id":          {"Bearer " + TokenText(strings.Repeat("9", tokenIDMax+1), secretText)},
		"no secret":        {"Bearer perch_t17"},
		"no provider":      {"Bearer eyJhbGciOiJub25lIn0.e30."},
		"nothing":          {"Bearer"},
		"empty":            {""},
		"unknown scheme":   {"Negotiate x"},
		"no scheme":        {TokenText("t17", secretText)},
		"too long":         {"Bearer " + strings.Repeat("x", credentialsMax)},
		"twice":            {"Bearer " + TokenText("t17", secretText), "Bearer " + TokenText("t17", secretText)},
		"Basic no base64":  {"Basic !"},
		"Basic no colon":   {"Basic " + pair([]byte("user"))},
		"Basic no user":    {"Basic " + pair([]byte(":password"))},
		"Basic and Bearer": {"Basic " + pair([]byte("u:p")), "Bearer " + TokenText("t17", secretText)},
	} {
		t.Run(name, func(t *testing.T) {
			c := Peer(request())
			err := r.Prove(request(headers...), c)
			var refused *Refused
			if !errors.As(err, &refused) || !errors.Is(err, tree.ErrUnauthenticated) {
				t.Fatal(err)
			}
			if c.Principal != "" || strings.Contains(err.Error(), secretText[:8]) {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
}

// What cannot be an API token is refused before the cluster is asked.
func TestMalformedTokensAskNobody(t *testing.T) {
	k := newKnown()
	_ = NewResolver(k, nil).Prove(request("Bearer perch_t17_short"), Peer(request()))
	if k.asked != 0 {
		t.Error("the service was asked")
	}
}

// ZooKeeper's own example: DigestAuthenticationProvider of super:test.
func TestBasicIsADigestIdentity(t *testing.T) {
	r, c := NewResolver(newKnown(), nil), Peer(request())
	if err := r.Prove(request("Basic "+base64.StdEncoding.EncodeToString([]byte("super:test"))), c); err != nil {
		t.Fatal(err)
	}
	if c.Principal != "" || len(c.Digests) != 1 || c.Digests[0] != "super:D/InIHSb7yEEbrWz8b9l71RjZJU=" {
		t.Errorf("%v", c)
	}
}

func withCertificate(verified bool, leaf *x509.Certificate) *http.Request {
	r := request()
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	if verified {
		r.TLS.VerifiedChains = [][]*x509.Certificate{{leaf}}
	}
	return r
}

func leaf(uris ...string) *x509.Certificate {
	c := &x509.Certificate{DNSNames: []string{"admin"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	c.Subject.CommonName = "admin"
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
	return c
}

func TestCertificates(t *testing.T) {
	r := NewResolver(newKnown(), nil)
	for uri, want := range map[string]string{
		"spiffe://example.org/team/service": "example.org:team:service",
		"spiffe://example.org":              "example.org",
		"perch://acme/alice@example.org":    "acme:alice@example.org",
	} {
		c := Peer(request())
		if err := r.Prove(withCertificate(true, leaf(uri)), c); err != nil || c.Principal != want || c.Certificate != uri {
			t.Errorf("%s: %v %v", uri, err, c)
		}
	}
	// A token beside it names the principal; the certificate stays an identity.
	req := withCertificate(true, leaf("spiffe://example.org/a"))
	req.Header.Set("Authorization", "Bearer "+TokenText("t17", secretText))
	c := Peer(req)
	if err := r.Prove(req, c); err != nil || c.Principal != "ci" || c.Certificate != "spiffe://example.org/a" {
		t.Errorf("%v %v", err, c)
	}
}

func TestRefusedCertificates(t *testing.T) {
	r := NewResolver(newKnown(), nil)
	old := leaf("spiffe://example.org/a")
	old.NotAfter = time.Now().Add(-time.Second)
	for name, req := range map[string]*http.Request{
		"not verified":      withCertificate(false, leaf("spiffe://example.org/a")),
		"common name alone": withCertificate(true, leaf()),
		"two URIs":          withCertificate(true, leaf("spiffe://example.org/a", "spiffe://example.org/b")),
		"expired":           withCertificate(true, old),
		"port":              withCertificate(true, leaf("spiffe://example.org:1/a")),
		"user":              withCertificate(true, leaf("spiffe://u@example.org/a")),
		"escape":            withCertificate(true, leaf("spiffe://example.org/a%2Fb")),
		"space":             withCertificate(true, leaf("spiffe://example.org/a%20b")),
		"query":             withCertificate(true, leaf("spiffe://example.org/a?b=c")),
		"fragment":          withCertificate(true, leaf("spiffe://example.org/a#b")),
		"empty segment":     withCertificate(true, leaf("spiffe://example.org//a")),
		"trailing slash":    withCertificate(true, leaf("spiffe://example.org/a/")),
		"dots":              withCertificate(true, leaf("spiffe://example.org/../a")),
		"colon in a name":   withCertificate(true, leaf("spiffe://example.org/a:b")),
		"no authority":      withCertificate(true, leaf("urn:perch:admin")),
		"not ASCII":         withCertificate(true, leaf("spiffe://example.org/ä")),
		"too long":          withCertificate(true, leaf("spiffe://example.org/"+strings.Repeat("x", 255))),
	} {
		t.Run(name, func(t *testing.T) {
			c := Peer(req)
			if err := r.Prove(req, c); !errors.Is(err, tree.ErrUnauthenticated) || c.Principal != "" || c.Certificate != "" {
				t.Errorf("%v %v", err, c)
			}
		})
	}
}

// The address is that of the connection, whatever headers say.
func TestAddressIsThatOfTheConnection(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:1": "192.0.2.1", "[::ffff:192.0.2.1]:1": "192.0.2.1", "[2001:db8::1]:1": "2001:db8::1",
		"[fe80::1%eth0]:1": "fe80::1", "@": "", "": "",
	} {
		r := request()
		r.RemoteAddr = remote
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		r.Header.Set("X-Real-Ip", "203.0.113.9")
		r.Header.Set("Forwarded", "for=203.0.113.9")
		if got := Peer(r).Address; got != want {
			t.Errorf("%s: %q, want %q", remote, got, want)
		}
	}
}

func FuzzProve(f *testing.F) {
	f.Add("Bearer " + TokenText("t17", secretText))
	f.Add("Basic dTpw")
	f.Add("Bearer eyJhbGciOiJub25lIn0.e30.")
	o, err := NewOIDC(OIDCConfig{Issuer: "http://127.0.0.1:1", Audience: idptest.Audience})
	if err != nil {
		f.Fatal(err)
	}
	r := NewResolver(newKnown(), o)
	f.Fuzz(func(t *testing.T, header string) {
		c := Peer(request())
		err := r.Prove(request(header), c)
		if err != nil && !errors.Is(err, tree.ErrUnauthenticated) {
			t.Error(err)
		}
		if c.Principal != "" && (err != nil || c.Principal != "ci") {
			t.Errorf("%q makes %v", header, c)
		}
	})
}
