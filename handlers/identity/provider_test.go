package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"perch/handlers/identity/idptest"
)

// provider is an identity provider that counts how often it is asked.
type provider struct {
	*httptest.Server
	rsa     *rsa.PrivateKey
	fetches atomic.Int32

	mu   sync.Mutex
	keys []jose.JSONWebKey
	jwks http.HandlerFunc // instead of the keys, when not nil
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{rsa: idptest.Key()}
	p.add("r1", "RS256", p.rsa.Public())
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		p.fetches.Add(1)
		p.mu.Lock()
		keys, jwks := p.keys, p.jwks
		p.mu.Unlock()
		if jwks != nil {
			jwks(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: keys})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) add(kid, alg string, public crypto.PublicKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys, jose.JSONWebKey{Key: public, KeyID: kid, Algorithm: alg, Use: "sig"})
}

// clock is a clock that only tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Unix(1_790_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func (p *provider) oidc(t *testing.T, c *clock) *OIDC {
	t.Helper()
	o, err := newOIDC(OIDCConfig{Issuer: p.URL, Audience: idptest.Audience}, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// claims are those of a token that counts at the time of c.
func (p *provider) claims(c *clock) map[string]any { return idptest.Claims(p.URL, c.now()) }

func (p *provider) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	return idptest.Sign(t, jose.RS256, p.rsa, "r1", claims, nil)
}

// Ten thousand forged tokens, each with a key that nobody knows, make the
// provider be asked at most twice; a token with a new key counts once the
// provider may be asked again.
func TestForgedTokensDoNotReachTheProvider(t *testing.T) {
	c, p := newClock(), newProvider(t)
	o := p.oidc(t, c)
	good := p.token(t, p.claims(c))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1250 {
				if prove(o, unknownKid(i)+good[strings.IndexByte(good, '.'):]) == nil {
					t.Error("a forged token counts")
					return
				}
			}
		})
	}
	wg.Wait()
	if n := p.fetches.Load(); n > 2 {
		t.Errorf("the provider was asked %d times", n)
	}
	if err := prove(o, good); err != nil {
		t.Errorf("the good one: %v", err)
	}

	_, key, _ := ed25519.GenerateKey(rand.Reader)
	p.add("e1", "EdDSA", key.Public())
	rotated := idptest.Sign(t, jose.EdDSA, key, "e1", p.claims(c), nil)
	if prove(o, rotated) == nil {
		t.Error("the provider was asked again at once")
	}
	c.move(refetchEvery)
	if err := prove(o, rotated); err != nil {
		t.Errorf("the new key: %v", err)
	}
}

func TestAllAlgorithmsOfTheListCount(t *testing.T) {
	c, p := newClock(), newProvider(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p.add("c1", "", ec.Public())
	p.add("e1", "EdDSA", ed.Public())
	o := p.oidc(t, c)
	for alg, token := range map[string]string{
		"RS256":       p.token(t, p.claims(c)),
		"ES256":       idptest.Sign(t, jose.ES256, ec, "c1", p.claims(c), nil),
		"EdDSA":       idptest.Sign(t, jose.EdDSA, ed, "e1", p.claims(c), nil),
		"without kid": idptest.Sign(t, jose.ES256, ec, "", p.claims(c), nil),
	} {
		if err := prove(o, token); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// A key that the provider has withdrawn counts for an hour at most; when it
// cannot be asked, for a day.
func TestWithdrawnKeysStopCounting(t *testing.T) {
	c, p := newClock(), newProvider(t)
	o := p.oidc(t, c)
	fresh := func() string { return p.token(t, p.claims(c)) }
	if err := prove(o, fresh()); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.jwks = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	p.mu.Unlock()
	c.move(refreshAfter)
	if err := prove(o, fresh()); err != nil {
		t.Errorf("a provider that fails takes its keys along: %v", err)
	}
	c.move(keyAgeMax)
	if prove(o, fresh()) == nil {
		t.Error("a key of yesterday counts")
	}
	p.mu.Lock()
	p.jwks, p.keys = nil, p.keys[:0:0]
	p.mu.Unlock()
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p.add("e1", "EdDSA", ed.Public())
	c.move(refetchEvery)
	if prove(o, fresh()) == nil {
		t.Error("a withdrawn key counts")
	}
	if err := prove(o, idptest.Sign(t, jose.EdDSA, ed, "e1", p.claims(c), nil)); err != nil {
		t.Errorf("the new key: %v", err)
	}
}

// What a provider, or somebody in its place, answers is bounded.
func TestAnswersOfTheProviderAreBounded(t *testing.T) {
	for name, jwks := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/.well-known/openid-configuration", http.StatusFound)
		},
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[],"x":"` + strings.Repeat("x", fetchBytesMax) + `"}`))
		},
		"shared secret": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","kid":"r1","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}`))
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newClock(), newProvider(t)
			o := p.oidc(t, c)
			p.jwks = jwks
			if prove(o, p.token(t, p.claims(c))) == nil {
				t.Error("the token counts")
			}
			p.mu.Lock()
			p.jwks = nil
			p.mu.Unlock()
			c.move(refetchEvery)
			if err := prove(o, p.token(t, p.claims(c))); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A client that goes away does not take the keys of all others along.
func TestAFetchOutlivesItsClient(t *testing.T) {
	c, p := newClock(), newProvider(t)
	o := p.oidc(t, c)
	gone, cancel := context.WithCancel(t.Context())
	p.jwks = func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: p.keys})
	}
	token := p.token(t, p.claims(c))
	_ = o.prove(gone, token, Peer(&http.Request{}))
	if err := prove(o, token); err != nil || p.fetches.Load() != 1 {
		t.Errorf("%v after %d fetches", err, p.fetches.Load())
	}
}

func TestAddressesThatAreDialled(t *testing.T) {
	for address, want := range map[string][2]bool{ // for a provider elsewhere, on this machine
		"127.0.0.1:443":         {false, true},
		"[::1]:443":             {false, true},
		"[::ffff:127.0.0.1]:80": {false, true},
		"169.254.169.254:80":    {false, false},
		"[fe80::1%eth0]:443":    {false, false},
		"0.0.0.0:443":           {false, false},
		"224.0.0.1:443":         {false, false},
		"10.0.0.1:443":          {true, true},
		"203.0.113.1:443":       {true, true},
		"idp.example:443":       {false, false},
	} {
		if got := [2]bool{checkAddress(address, false) == nil, checkAddress(address, true) == nil}; got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

func TestConfigurationFaults(t *testing.T) {
	for name, c := range map[string]OIDCConfig{
		"no audience":  {Issuer: "https://idp.example"},
		"no issuer":    {Audience: "a"},
		"plain http":   {Issuer: "http://idp.example", Audience: "a"},
		"user":         {Issuer: "https://u:p@idp.example", Audience: "a"},
		"query":        {Issuer: "https://idp.example?x=1", Audience: "a"},
		"another kind": {Issuer: "file:///etc/passwd", Audience: "a"},
		"plain keys":   {Issuer: "https://idp.example", JWKS: "http://idp.example/keys", Audience: "a"},
	} {
		if c.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if err := (&OIDCConfig{Issuer: "https://idp.example/realm", Audience: "a"}).Validate(); err != nil {
		t.Error(err)
	}
	// A provider elsewhere cannot send us to this machine.
	if _, err := parseURL("http://127.0.0.1:80/keys", false); err == nil {
		t.Error("jwks_uri on this machine is accepted")
	}
}
