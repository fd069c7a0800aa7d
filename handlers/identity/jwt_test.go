package identity

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"perch/handlers/identity/idptest"
	"perch/tree"
)

// prove is whether token counts for o.
func prove(o *OIDC, token string) error {
	return o.prove(context.Background(), token, Peer(&http.Request{}))
}

// unknownKid is the header of a token with a key that is not there.
func unknownKid(i int) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","kid":"forged-%d"}`, i))
}

func TestATokenNamesPrincipalAndRoles(t *testing.T) {
	c, p := newClock(), newProvider(t)
	o := p.oidc(t, c)
	caller := Peer(&http.Request{RemoteAddr: "192.0.2.7:4711"})
	if err := o.prove(t.Context(), p.token(t, p.claims(c)), caller); err != nil {
		t.Fatal(err)
	}
	if caller.Principal != "acme:alice" || !slices.Equal(caller.Roles, []string{"acme", "acme:@dev", "acme:@ops"}) ||
		caller.Address != "192.0.2.7" || caller.Token != "" {
		t.Errorf("%v", caller)
	}
	for name, want := range map[string][]string{"dev": {"acme", "acme:@dev"}, "": nil} {
		claims := p.claims(c)
		claims["roles"] = name
		if name == "" {
			delete(claims, "roles")
			want = []string{"acme"}
		}
		caller := Peer(&http.Request{})
		if err := o.prove(t.Context(), p.token(t, claims), caller); err != nil || !slices.Equal(caller.Roles, want) {
			t.Errorf("%q: %v %v", name, err, caller)
		}
	}
}

func TestNamesOfClaimsAreConfigured(t *testing.T) {
	c, p := newClock(), newProvider(t)
	o, err := newOIDC(OIDCConfig{
		Issuer: p.URL, Audience: idptest.Audience, TenantClaim: "https://perch/org", RolesClaim: "groups", JWKS: p.URL + "/keys",
	}, c.now)
	if err != nil {
		t.Fatal(err)
	}
	claims := p.claims(c)
	claims["https://perch/org"], claims["groups"] = "globex", []string{"a"}
	caller := Peer(&http.Request{})
	if err := o.prove(t.Context(), p.token(t, claims), caller); err != nil || caller.Principal != "globex:alice" ||
		!slices.Equal(caller.Roles, []string{"globex", "globex:@a"}) {
		t.Errorf("%v %v", err, caller)
	}
}

// TestRefusedTokens has a row for every rule of RELIABILITY.md section 4.
func TestRefusedTokens(t *testing.T) {
	c, p := newClock(), newProvider(t)
	o := p.oidc(t, c)
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(p.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	now := c.now()
	with := func(name string, value any) map[string]any {
		claims := p.claims(c)
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
		return claims
	}
	header := func(name jose.HeaderKey, value any) string {
		return idptest.Sign(t, jose.RS256, p.rsa, "r1", p.claims(c), map[jose.HeaderKey]any{name: value})
	}
	good := p.token(t, p.claims(c))
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"alg none":                idptest.Unsigned(t, p.claims(c), "none"),
		"alg None":                idptest.Unsigned(t, p.claims(c), "None"),
		"HS256 with the RSA key":  idptest.Sign(t, jose.HS256, public, "r1", p.claims(c), nil),
		"RS512":                   idptest.Sign(t, jose.RS512, p.rsa, "r1", p.claims(c), nil),
		"PS256":                   idptest.Sign(t, jose.PS256, p.rsa, "r1", p.claims(c), nil),
		"another key":             idptest.Sign(t, jose.RS256, foreign, "r1", p.claims(c), nil),
		"another key, no kid":     idptest.Sign(t, jose.RS256, foreign, "", p.claims(c), nil),
		"crit":                    header("crit", []string{"exp"}),
		"jku":                     header("jku", p.URL+"/keys"),
		"x5u":                     header("x5u", p.URL+"/keys"),
		"jwk":                     header("jwk", jose.JSONWebKey{Key: foreign.Public()}),
		"issuer":                  p.token(t, with("iss", "https://elsewhere.example")),
		"no issuer":               p.token(t, with("iss", nil)),
		"audience":                p.token(t, with("aud", "another")),
		"no audience":             p.token(t, with("aud", nil)),
		"expired":                 p.token(t, with("exp", now.Add(-leeway).Unix())),
		"no end":                  p.token(t, with("exp", nil)),
		"issued a day ago":        p.token(t, with("iat", now.Add(-tokenAgeMax-leeway-time.Second).Unix())),
		"no iat":                  p.token(t, with("iat", nil)),
		"issued in the future":    p.token(t, with("iat", now.Add(leeway+time.Second).Unix())),
		"not yet":                 p.token(t, with("nbf", now.Add(leeway+time.Second).Unix())),
		"nbf that is no number":   p.token(t, with("nbf", "soon")),
		"no tenant":               p.token(t, with("tenant", nil)),
		"tenant that is a list":   p.token(t, with("tenant", []string{"acme"})),
		"tenant of two names":     p.token(t, with("tenant", "acme:alice")),
		"tenant admin":            p.token(t, with("tenant", "admin")),
		"tenant with a slash":     p.token(t, with("tenant", "a/b")),
		"no subject":              p.token(t, with("sub", nil)),
		"subject with a space":    p.token(t, with("sub", "al ice")),
		"subject with a line end": p.token(t, with("sub", "alice\n")),
		"subject too long":        p.token(t, with("sub", strings.Repeat("x", 255))),
		"role of no name":         p.token(t, with("roles", []string{"dev", ""})),
		"role with a slash":       p.token(t, with("roles", "a/b")),
		"roles that are numbers":  p.token(t, with("roles", []int{1})),
		"too many roles":          p.token(t, with("roles", slices.Repeat([]string{"r"}, rolesMax+1))),
		"changed claims":          parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{}`)) + "." + parts[2],
		"no signature":            parts[0] + "." + parts[1] + ".",
		"two parts":               parts[0] + "." + parts[1],
		"four parts":              good + ".x",
		"JSON form":               jsonForm(t, parts),
		"empty":                   "",
		"garbage":                 "\x00\xff",
	} {
		t.Run(name, func(t *testing.T) {
			caller := Peer(&http.Request{})
			err := o.prove(t.Context(), token, caller)
			var refused *Refused
			if !errors.As(err, &refused) || !errors.Is(err, tree.ErrUnauthenticated) || refused.Kind != KindJWT {
				t.Errorf("%v", err)
			}
			if caller.Principal != "" || len(caller.Roles) > 0 {
				t.Errorf("%v", caller)
			}
		})
	}
	for name, claims := range map[string]map[string]any{
		"just not expired":     with("exp", now.Add(-leeway+time.Second).Unix()),
		"issued a little late": with("iat", now.Add(leeway).Unix()),
		"almost a day old":     with("iat", now.Add(-tokenAgeMax).Unix()),
		"two audiences":        with("aud", []string{"another", idptest.Audience}),
	} {
		if err := prove(o, p.token(t, claims)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// jsonForm is a token in the JSON serialization of JWS, which go-jose reads too.
func jsonForm(t *testing.T, parts []string) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
