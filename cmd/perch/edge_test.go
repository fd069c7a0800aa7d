package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// signer signs certificates of a test.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate, signed by s, and by itself if s is nil.
func (s *signer) issue(t *testing.T, template *x509.Certificate) (*signer, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(1)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := &signer{template, key}
	if s != nil {
		parent = s
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key}, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	s, _ := (*signer)(nil).issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return s
}

func (s *signer) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.cert)
	return pool
}

// write puts the authority, and a server's certificate with that serial number,
// into dir.
func (s *signer) write(t *testing.T, dir string, serial int64) {
	t.Helper()
	_, pair := s.issue(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca": {Type: "CERTIFICATE", Bytes: s.cert.Raw}, "crt": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		"key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serveTLS serves what c says, and answers with who the client's certificate
// says it is.
func serveTLS(t *testing.T, c *edgeConfig) string {
	t.Helper()
	config, err := c.tls(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if chains := r.TLS.VerifiedChains; len(chains) > 0 {
			_, _ = io.WriteString(w, chains[0][0].URIs[0].String())
		}
	}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return "https://" + l.Addr().String()
}

// get answers with who the server takes the client for, on a new connection.
func get(t *testing.T, url string, config *tls.Config) (body string, resp *http.Response, err error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err = (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), resp, err
}

func TestTLSOfClients(t *testing.T) {
	dir, ca, foreign := t.TempDir(), newSigner(t), newSigner(t)
	ca.write(t, dir, 1)
	at := func(name string) string { return filepath.Join(dir, name) }
	base := serveTLS(t, &edgeConfig{TLSCert: at("crt"), TLSKey: at("key"), TLSClientCA: at("ca")})

	who, resp, err := get(t, base, &tls.Config{RootCAs: ca.pool()})
	if err != nil || who != "" || resp.ProtoMajor != 2 || resp.TLS.Version != tls.VersionTLS13 {
		t.Fatalf("without a certificate: %v %q %+v", err, who, resp)
	}
	if _, _, err := get(t, base, &tls.Config{RootCAs: ca.pool(), MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is served")
	}
	uri, _ := url.Parse("spiffe://example.org/a")
	of := func(s *signer) *tls.Config {
		_, pair := s.issue(t, &x509.Certificate{URIs: []*url.URL{uri}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return &tls.Config{RootCAs: ca.pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &pair, nil
		}}
	}
	if who, _, err := get(t, base, of(ca)); err != nil || who != uri.String() {
		t.Errorf("with a certificate: %v %q", err, who)
	}
	if _, _, err := get(t, base, of(foreign)); err == nil {
		t.Error("a certificate of another authority is accepted")
	}
}

// handshake is one between two configurations, and what each side then knows of
// the other: the serial number of the server's certificate, the client's URI.
func handshake(t *testing.T, server, client *tls.Config) (serial int64, uri string, err error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	ours, theirs := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() { done <- ours.Handshake() }()
	if err := errors.Join(theirs.Handshake(), b.Close(), <-done); err != nil {
		return 0, "", err
	}
	return theirs.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), ours.ConnectionState().VerifiedChains[0][0].URIs[0].String(), nil
}

// A certificate, and the authority of those of clients, are replaced while the
// server runs: what comes a second later meets the new ones.
func TestTLSFollowsItsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, uri := t.TempDir(), &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/a"}
		at := func(name string) string { return filepath.Join(dir, name) }
		var server *tls.Config
		for serial := int64(1); serial <= 2; serial++ {
			ca := newSigner(t)
			ca.write(t, dir, serial)
			if server == nil {
				c := edgeConfig{TLSCert: at("crt"), TLSKey: at("key"), TLSClientCA: at("ca")}
				var err error
				if server, err = c.tls(nil); err != nil {
					t.Fatal(err)
				}
			} else {
				<-time.After(time.Second) // of the bubble's clock
			}
			_, pair := ca.issue(t, &x509.Certificate{URIs: []*url.URL{uri}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			got, who, err := handshake(t, server, &tls.Config{
				RootCAs: ca.pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{pair}})
			if err != nil || got != serial || who != uri.String() {
				t.Fatalf("%v: certificate %d, want %d, for %q", err, got, serial, who)
			}
		}
	})
}

func TestTLSFaultsAtTheStart(t *testing.T) {
	dir := t.TempDir()
	newSigner(t).write(t, dir, 1)
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, c := range map[string]edgeConfig{
		"no certificate": {TLSCert: at("none"), TLSKey: at("key")},
		"another's key":  {TLSCert: at("ca"), TLSKey: at("key")},
		"no authority":   {TLSCert: at("crt"), TLSKey: at("key"), TLSClientCA: at("key")},
	} {
		if _, err := c.tls(nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if config, err := (&edgeConfig{}).tls(nil); config != nil || err != nil {
		t.Errorf("without TLS: %v %v", config, err)
	}
}
