package natsnet

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"

	"perch/quorum/certs"
)

// Labels of what is derived from the cluster's secret, one for each use.
const (
	LabelRoute        = "perch route v1"
	LabelFrame        = "perch frame v1"
	LabelGateway      = "perch gateway v1"       // the nkey that gateways log in with
	LabelGatewayFrame = "perch gateway frame v1" // seals what they and nodes say
)

// Derive is the password for one use (label) in one cluster, by HKDF-SHA-256
// (RFC 5869): 43 characters that are safe in a URL. Passwords of different
// labels or clusters tell nothing of each other, nor of the secret.
func Derive(secret []byte, label, cluster string) (string, error) {
	key, err := derive(secret, label, cluster)
	return base64.RawURLEncoding.EncodeToString(key), err
}

// derive is what Derive gives in letters.
func derive(secret []byte, label, cluster string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, label+"\x00"+cluster, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("natsnet: derive %s: %w", label, err)
	}
	return key, nil
}

// PeerTLS is the configuration of routes from PEM files: this node's
// certificate and key, and the authority that signs those of all nodes. Each
// side demands a certificate of the other; the certificate must name the host
// that stands in --peers and be good for both client and server.
//
// A certificate that is renewed in its files serves new connections within a
// second, and faults of that go to log, which may be nil; another authority
// takes a restart, since what a client of crypto/tls verifies against is fixed.
func PeerTLS(certFile, keyFile, caFile string, log *slog.Logger) (*tls.Config, error) {
	pair, err := certs.LoadPair(certFile, keyFile, log)
	if err != nil {
		return nil, fmt.Errorf("natsnet: peer certificate: %w", err)
	}
	authorities, err := certs.LoadAuthorities(caFile, nil)
	if err != nil {
		return nil, fmt.Errorf("natsnet: peer authority: %w", err)
	}
	pool := authorities.Pool()
	return &tls.Config{
		GetCertificate: pair.ForServer, GetClientCertificate: pair.ForClient, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}, nil
}
