package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// write makes a certificate with that serial number, and its key.
func write(t *testing.T, dir string, serial int64) {
	t.Helper()
	certPEM, keyPEM := issue(t, serial)
	put(t, filepath.Join(dir, "crt"), certPEM, serial)
	put(t, filepath.Join(dir, "key"), keyPEM, serial)
}

// put gives every content a time of its own, which those of a file system are
// too coarse for.
func put(t *testing.T, path string, content []byte, serial int64) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_790_000_000+serial, 0)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func issue(t *testing.T, serial int64) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func serial(t *testing.T, c *tls.Certificate) int64 {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.SerialNumber.Int64()
}

func TestAPairFollowsItsFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 1)
	p, err := LoadPair(filepath.Join(dir, "crt"), filepath.Join(dir, "key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	p.files.now = func() time.Time { return now }
	want := func(when string, number int64) {
		t.Helper()
		server, _ := p.ForServer(nil)
		client, _ := p.ForClient(nil)
		if serial(t, server) != number || serial(t, client) != number {
			t.Errorf("%s: certificates %d and %d, want %d", when, serial(t, server), serial(t, client), number)
		}
	}
	later := func() { now = now.Add(checkEvery) }
	want("at first", 1)
	write(t, dir, 2)
	want("within a second", 1)
	later()
	want("after a second", 2)

	certPEM, keyPEM := issue(t, 3)
	put(t, filepath.Join(dir, "crt"), certPEM, 3)
	later()
	want("with the key of another", 2)
	put(t, filepath.Join(dir, "key"), keyPEM, 3)
	later()
	want("once they belong together", 3)

	if err := os.Remove(filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	later()
	want("without a key", 3)
}

func TestAuthoritiesFollowTheirFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca")
	one, _ := issue(t, 1)
	put(t, file, one, 1)
	a, err := LoadAuthorities(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	a.file.now = func() time.Time { return now }
	first := a.Pool()
	put(t, file, []byte("nothing"), 2)
	now = now.Add(checkEvery)
	if !a.Pool().Equal(first) {
		t.Error("a file without a certificate is used")
	}
	two, _ := issue(t, 3)
	put(t, file, two, 3)
	now = now.Add(checkEvery)
	if a.Pool().Equal(first) {
		t.Error("the change is not seen")
	}
}

func TestFaultsAtTheStart(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 1)
	_, otherKey := issue(t, 2)
	put(t, filepath.Join(dir, "other"), otherKey, 2)
	for _, key := range []string{"none", "other", "crt"} {
		if _, err := LoadPair(filepath.Join(dir, "crt"), filepath.Join(dir, key), nil); err == nil {
			t.Errorf("key %s is accepted", key)
		}
	}
	for _, ca := range []string{"none", "key"} {
		if _, err := LoadAuthorities(filepath.Join(dir, ca), nil); err == nil {
			t.Errorf("authority %s is accepted", ca)
		}
	}
}
