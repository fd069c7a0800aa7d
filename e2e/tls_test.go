package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates of members.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue writes name.crt and name.key into the authority's directory; the first
// certificate signs itself.
func (a *authority) issue(name string, cert *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	cert.SerialNumber, cert.Subject = serial, pkix.Name{CommonName: name}
	cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".crt", "CERTIFICATE", der)
	a.write(name+".key", "EC PRIVATE KEY", secret)
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return parsed, key
}

func (a *authority) write(name, kind string, der []byte) {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(filepath.Join(a.dir, name), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// flags are those of a member with a certificate of this authority.
func (a *authority) flags(name string) []string {
	a.issue(name, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	file := func(f string) string { return filepath.Join(a.dir, f) }
	return []string{"--peer-cert", file(name + ".crt"), "--peer-key", file(name + ".key"), "--peer-ca", file("ca.crt")}
}

// With certificates of one authority three nodes form a cluster; a member whose
// certificate another authority signed is kept out, although it knows the
// secret, and is let in with the right one.
func TestPeersProveThemselvesByCertificate(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	c := newCluster(t)
	plain := make([][]string, len(c.nodes))
	for i, n := range c.nodes {
		plain[i] = n.args
		n.args = append(n.args[:len(n.args):len(n.args)], ours.flags(fmt.Sprint("node", n.id))...)
	}
	c.spawnAll()
	c.waitReady()
	c.nodes[0].put("/encrypted", "yes")

	last := c.nodes[2]
	right := last.args
	for name, flags := range map[string][]string{"another authority": foreign.flags("node3"), "no certificate": nil} {
		last.kill()
		last.args = append(plain[2][:len(plain[2]):len(plain[2])], flags...)
		last.spawn()
		c.nodes[0].put("/meanwhile", name)
		// A peer let in would be ready long before this many writes of the others.
		for range 200 {
			c.nodes[1].put("/meanwhile", name)
		}
		if a, err := last.get("/readyz"); err == nil && a.status == http.StatusOK {
			t.Errorf("%s: the node was let in", name)
		}
	}
	last.kill()
	last.args = right
	last.spawn()
	last.waitReady()
	c.sameState()
}
