package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"

	"github.com/spf13/pflag"

	"perch/cmd/internal/trust"
	"perch/quorum/natsnet"
)

// clusterConfig is what a node or a gateway shows the others of its cluster, and
// what it demands of them.
type clusterConfig struct {
	SecretFile  string
	ClusterName string
	PeerCert    string
	PeerKey     string
	PeerCA      string
}

func (c *clusterConfig) declare(f *pflag.FlagSet) {
	f.StringVar(&c.SecretFile, "secret-file", "", "the cluster's secret, equal on all nodes and gateways: at least 32 bytes, mode 0600 (only loopback addresses: made by itself)")
	f.StringVar(&c.ClusterName, "cluster-name", "perch", "name of the cluster; nodes and gateways of another name are refused")
	f.StringVar(&c.PeerCert, "peer-cert", "", "certificate for connections to and from other nodes and gateways (PEM); it is followed when it changes")
	f.StringVar(&c.PeerKey, "peer-key", "", "its key (PEM)")
	f.StringVar(&c.PeerCA, "peer-ca", "", "certificates that sign those of the nodes and gateways (PEM)")
}

// clusterName keeps the name usable in the transport's subjects.
var clusterName = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

func (c *clusterConfig) validate() (faults []error) {
	if !clusterName.MatchString(c.ClusterName) {
		faults = append(faults, fmt.Errorf("--cluster-name %q: must be 1 to 63 of a-z, 0-9, - and _", c.ClusterName))
	}
	if some := c.PeerCert+c.PeerKey+c.PeerCA != ""; some && (c.PeerCert == "" || c.PeerKey == "" || c.PeerCA == "") {
		faults = append(faults, errors.New("--peer-cert, --peer-key and --peer-ca belong together: give all three or none"))
	}
	return faults
}

// validateReach refuses addresses beyond this machine, given in flag, without a
// secret of the cluster's own, and without encryption unless that is wanted.
func (c *clusterConfig) validateReach(flag string, addrs []string, insecure bool) (faults []error) {
	if !slices.ContainsFunc(addrs, func(addr string) bool { return !trust.Loopback(addr) }) {
		return nil
	}
	if c.SecretFile == "" {
		faults = append(faults, fmt.Errorf("%s has addresses beyond this machine: give every node and gateway the same --secret-file "+
			"(make one with: openssl rand -hex 32 > secret && chmod 600 secret)", flag))
	}
	if c.PeerCert+c.PeerKey+c.PeerCA == "" && !insecure {
		faults = append(faults, fmt.Errorf("%s has addresses beyond this machine and traffic there is not encrypted: "+
			"give --peer-cert, --peer-key and --peer-ca, or add --insecure", flag))
	}
	return faults
}

// peerTLS is how others of the cluster are spoken to; nil without TLS.
func (c *clusterConfig) peerTLS(log *slog.Logger) (*tls.Config, error) {
	if c.PeerCert == "" {
		return nil, nil
	}
	return natsnet.PeerTLS(c.PeerCert, c.PeerKey, c.PeerCA, log)
}

// natsConfig is where gateways reach a node.
type natsConfig struct {
	NATS string
}

func (c *natsConfig) declare(f *pflag.FlagSet) {
	f.StringVar(&c.NATS, "nats", "", "address on which separate gateways reach this node (none: closed)")
}

func (c *natsConfig) validate(cluster *clusterConfig, insecure bool) []error {
	if c.NATS == "" {
		return nil
	}
	if err := checkAddr(c.NATS, true); err != nil {
		return []error{fmt.Errorf("--nats %q: %w", c.NATS, err)}
	}
	return cluster.validateReach("--nats", []string{c.NATS}, insecure)
}
