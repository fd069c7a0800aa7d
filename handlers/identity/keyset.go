package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// refetchEvery is the least time between two questions for keys, whatever
	// tokens come: each forged one names a key that is not known.
	refetchEvery = 30 * time.Second
	// refreshAfter bounds how long a key counts that the provider has withdrawn,
	// keyAgeMax how long when the provider does not answer.
	refreshAfter = time.Hour
	keyAgeMax    = 24 * time.Hour

	rsaBitsMin = 2048
	keysMax    = 100
)

// keySet is an oidc.KeySet: the provider's keys, fetched when a token needs
// them. The library's own fetches on every unknown key and every bad signature.
type keySet struct {
	issuer   string
	url      string // "": the issuer's discovery document says
	loopback bool   // whom the configuration names is on this machine
	client   *http.Client
	now      func() time.Time
	log      *slog.Logger

	fetching chan struct{} // holds one token, while nobody fetches

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched time.Time // when keys were
	tried   time.Time
}

func newKeySet(c *OIDCConfig, now func() time.Time) *keySet {
	asked := c.JWKS
	if asked == "" {
		asked = c.Issuer
	}
	u, _ := parseURL(asked, true) // was validated
	loopback := isLoopback(u.Hostname())
	k := &keySet{
		issuer: c.Issuer, url: c.JWKS, loopback: loopback, client: newClient(loopback),
		now: now, log: c.Log, fetching: make(chan struct{}, 1),
	}
	k.fetching <- struct{}{}
	return k
}

// VerifySignature implements oidc.KeySet.
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	allowed := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, a := range algorithms {
		allowed[i] = jose.SignatureAlgorithm(a)
	}
	jws, err := jose.ParseSignedCompact(token, allowed)
	if err != nil {
		return nil, err
	}
	k.refresh(ctx)
	keys, fetched := k.current()
	payload, known := verify(jws, keys)
	if payload == nil && !known && k.fetch(ctx, fetched) {
		keys, _ = k.current()
		payload, _ = verify(jws, keys)
	}
	if payload == nil {
		return nil, errors.New("no key of the provider verifies the signature")
	}
	return payload, nil
}

// verify returns what was signed, or nil. A key that is known by name and does
// not verify the signature is not fetched again: it would be the same one.
func verify(jws *jose.JSONWebSignature, keys []jose.JSONWebKey) (payload []byte, known bool) {
	header := &jws.Signatures[0].Header
	for i := range keys {
		key := &keys[i]
		if header.KeyID != "" && key.KeyID != header.KeyID {
			continue
		}
		known = known || header.KeyID != ""
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(key); err == nil {
			return payload, true
		}
	}
	return nil, known
}

// current is the set that counts now.
func (k *keySet) current() (keys []jose.JSONWebKey, fetched time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now().Sub(k.fetched) > keyAgeMax {
		return nil, k.fetched
	}
	return k.keys, k.fetched
}

// refresh fetches a set that has grown old, unless somebody else does.
func (k *keySet) refresh(ctx context.Context) {
	_, fetched := k.current()
	if fetched.IsZero() || k.now().Sub(fetched) < refreshAfter || len(k.fetching) == 0 {
		return
	}
	k.fetch(ctx, fetched)
}

// fetch gets the keys and says whether there is now a newer set than the one of
// seen. ctx bounds only the wait for whoever fetches already: the keys are
// everybody's, and one client that goes away must not take them along.
func (k *keySet) fetch(ctx context.Context, seen time.Time) bool {
	select {
	case <-k.fetching:
	case <-ctx.Done():
		return false
	}
	defer func() { k.fetching <- struct{}{} }()
	if newer, wait := k.begin(seen); newer || wait {
		return newer
	}
	keys, err := k.get(context.WithoutCancel(ctx))
	if err != nil {
		k.log.Warn("the keys of the identity provider could not be fetched", "issuer", k.issuer, "error", err)
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.fetched = keys, k.now()
	return true
}

// begin notes a try, unless there is a newer set than the one of seen or it is
// too early for a try.
func (k *keySet) begin(seen time.Time) (newer, wait bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	newer, wait = k.fetched.After(seen), !k.tried.IsZero() && now.Sub(k.tried) < refetchEvery
	if !newer && !wait {
		k.tried = now
	}
	return newer, wait
}

// get asks the provider.
func (k *keySet) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	url := k.url
	if url == "" {
		var err error
		if url, err = k.discover(ctx); err != nil {
			return nil, err
		}
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := getJSON(ctx, k.client, url, &set); err != nil {
		return nil, err
	}
	keys := usable(set.Keys)
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key that can be used", url)
	}
	return keys, nil
}

// discover finds where the keys are (OpenID Connect Discovery 1.0, section 4).
func (k *keySet) discover(ctx context.Context) (string, error) {
	var doc struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	at := strings.TrimSuffix(k.issuer, "/") + "/.well-known/openid-configuration"
	if err := getJSON(ctx, k.client, at, &doc); err != nil {
		return "", err
	}
	if doc.Issuer != k.issuer {
		return "", fmt.Errorf("%s is of the issuer %q", at, doc.Issuer)
	}
	if _, err := parseURL(doc.JWKS, k.loopback); err != nil {
		return "", fmt.Errorf("jwks_uri %q of %s: %w", doc.JWKS, at, err)
	}
	return doc.JWKS, nil
}

// usable are the keys that can verify one of our algorithms. Others are passed
// over: providers also list keys for encryption, and of kinds yet to come.
func usable(list []json.RawMessage) (keys []jose.JSONWebKey) {
	for _, text := range list[:min(len(list), keysMax)] {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) != nil || key.Use != "" && key.Use != "sig" {
			continue
		}
		switch public := key.Key.(type) {
		case *rsa.PublicKey:
			if public.N.BitLen() < rsaBitsMin {
				continue
			}
		case *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			continue // private, or a shared secret
		}
		keys = append(keys, key)
	}
	return keys
}
