package handlers

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"perch/handlers/identity"
	"perch/handlers/identity/idptest"
)

// provider is an identity provider whose tokens name alice of tenant acme.
type provider struct {
	*httptest.Server
	key *rsa.PrivateKey
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{key: idptest.Key()}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: p.key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) oidc(t *testing.T) *identity.OIDC {
	t.Helper()
	o, err := identity.NewOIDC(identity.OIDCConfig{Issuer: p.URL, Audience: idptest.Audience, JWKS: p.URL + "/keys"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// claims are those of a token that counts, with some changed.
func (p *provider) claims(changed map[string]any) map[string]any {
	claims := idptest.Claims(p.URL, time.Now())
	maps.Copy(claims, changed)
	return claims
}

// token is one that counts but for the claims that are changed.
func (p *provider) token(t *testing.T, changed map[string]any) string {
	return signed(t, jose.RS256, p.key, p.claims(changed))
}

func signed(t *testing.T, alg jose.SignatureAlgorithm, key any, claims map[string]any) string {
	t.Helper()
	return idptest.Sign(t, alg, key, "k", claims, nil)
}

// refused are tokens that do not count, each for one reason.
func (p *provider) refused(t *testing.T) map[string]string {
	t.Helper()
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(p.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return map[string]string{
		"alg none": idptest.Unsigned(t, p.claims(nil), "none"), "HS256 with the RSA key": signed(t, jose.HS256, public, p.claims(nil)),
		"another key": signed(t, jose.RS256, foreign, p.claims(nil)), "another audience": p.token(t, map[string]any{"aud": "another"}),
		"another issuer": p.token(t, map[string]any{"iss": "https://elsewhere.example"}),
		"expired":        p.token(t, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"no tenant":      p.token(t, map[string]any{"tenant": ""}),
	}
}
