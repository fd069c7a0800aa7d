// Package idptest makes the tokens of an identity provider, for tests.
package idptest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Audience is whom Claims are meant for.
const Audience = "perch"

// Key is one for all tests of a process: it takes long to make.
var Key = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// Claims are those of a token that counts for an hour from now on: alice of the
// tenant acme, with two roles.
func Claims(issuer string, now time.Time) map[string]any {
	return map[string]any{
		"iss": issuer, "aud": Audience, "sub": "alice", "tenant": "acme", "roles": []string{"dev", "ops"},
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

// Sign makes a token; header adds to what the signer puts in.
func Sign(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any, header map[jose.HeaderKey]any) string {
	t.Helper()
	opts := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	for name, value := range header {
		opts.ExtraHeaders[name] = value
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Unsigned makes a token that says to be signed by alg, and is not.
func Unsigned(t testing.TB, claims map[string]any, alg string) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"`+alg+`"}`)) + "." + part(payload) + "."
}
