package natsnet

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"perch/quorum"
)

const (
	secretMin      = 32
	inboxDefault   = 8192
	inboxBytesWant = 64 << 20
	routePing      = 500 * time.Millisecond
)

// Options are what Start needs.
type Options struct {
	ID          quorum.NodeID
	ClusterName string        // 1 to 63 of a-z, 0-9, - and _; equal on all nodes
	Peers       []quorum.Peer // everybody, this node included: its line says where it listens. Others may stand there twice, with two addresses, and without one: then they must dial. Alone this node needs none
	Secret      []byte        // the cluster's secret, at least 32 bytes
	Logger      *slog.Logger  // nil logs nothing
	InboxSize   int           // messages that wait for the node; 0 is 8192
	InboxBytes  int           // and their bytes; 0 is 64 MiB

	// RoutePing is the time between two pings of a TCP connection to a peer; it
	// is replaced when it has answered none for two to three of them. 0 is
	// 500 ms. Raise it where a link takes a second for 16 MiB, or the host is
	// starved of CPU: a ping waits behind what was sent before it.
	RoutePing time.Duration

	// TLS encrypts and authenticates routes, see PeerTLS; nil leaves them plain.
	TLS *tls.Config
	// Insecure allows plain routes to addresses that are not loopback, and a plain
	// port for gateways there. Whoever can read such a network can read the
	// password of the routes and all that gateways ask.
	Insecure bool

	Gateways *GatewayPort // where gateways reach this node; nil: nowhere
}

var clusterName = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

// Validate reports every fault of o, joined; nil when there is none.
func (o *Options) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("natsnet: "+format, args...))
	}
	if o.ID == 0 {
		fault("node id 0 is nobody")
	}
	if !clusterName.MatchString(o.ClusterName) {
		fault("cluster name %q: want 1 to 63 of a-z, 0-9, - and _", o.ClusterName)
	}
	if len(o.Secret) < secretMin {
		fault("secret of %d bytes: want at least %d", len(o.Secret), secretMin)
	}
	if o.InboxSize < 0 || o.InboxBytes < 0 || o.RoutePing < 0 {
		fault("negative inbox size or ping interval")
	}
	o.validatePeers(fault)
	if o.TLS != nil {
		validateTLS(o.TLS, fault)
	}
	if o.Gateways != nil {
		o.Gateways.validate(o.Insecure, fault)
	}
	return errors.Join(faults...)
}

func (o *Options) validatePeers(fault func(string, ...any)) {
	seen := map[quorum.NodeID]bool{}
	addrs := map[string]quorum.NodeID{}
	for _, p := range o.Peers {
		if p.ID == 0 || p.ID == o.ID && seen[p.ID] {
			fault("peer id %d is 0, or this node's own and stands twice", p.ID)
		}
		seen[p.ID] = true
		if p.Role != quorum.RoleVoter && p.Role != quorum.RoleObserver {
			fault("peer %d: role %d", p.ID, p.Role)
		}
		if p.Addr == "" && (p.ID != o.ID || o.alone()) {
			continue
		}
		if err := CheckAddr(p.Addr, o.private()); err != nil {
			fault("peer %d: %v", p.ID, err)
		}
		if other, taken := addrs[p.Addr]; taken {
			fault("peers %d and %d have one address, %s", other, p.ID, p.Addr)
		}
		addrs[p.Addr] = p.ID
	}
	if !seen[o.ID] {
		fault("node %d is not in the list of peers", o.ID)
	}
}

// alone says that no node is to reach this one: it has no peers and no address.
func (o *Options) alone() bool { return len(o.Peers) == 1 && o.ownAddr() == "" }

// private says whether routes may leave this machine.
func (o *Options) private() bool { return o.TLS != nil || o.Insecure }

// CheckAddr says why a peer cannot be dialled at addr: it is no host:port, or it
// is beyond loopback and routes are not private (encrypted, or allowed to be
// plain).
func CheckAddr(addr string, private bool) error {
	host, _, err := splitAddr(addr)
	if err == nil && !private && !Loopback(host) {
		err = fmt.Errorf("%s is not loopback: give the routes certificates (--peer-cert, --peer-key, --peer-ca)", addr)
	}
	return err
}

func validateTLS(c *tls.Config, fault func(string, ...any)) {
	if len(c.Certificates) == 0 && (c.GetCertificate == nil || c.GetClientCertificate == nil) {
		fault("TLS without a certificate")
	}
	if c.RootCAs == nil || c.ClientCAs == nil {
		fault("TLS without the authority that signs peers")
	}
	if c.ClientAuth != tls.RequireAndVerifyClientCert {
		fault("TLS that does not demand a certificate of its peer")
	}
	if c.InsecureSkipVerify {
		fault("TLS that does not verify its peer")
	}
}

// splitAddr takes host:port apart; both must be given and can be dialled.
func splitAddr(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: want host:port", addr)
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("address %q: port %q", addr, p)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		return "", 0, fmt.Errorf("address %q: want a host that peers can dial", addr)
	}
	if strings.ContainsAny(host, " /@") {
		return "", 0, fmt.Errorf("address %q: host", addr)
	}
	return host, port, nil
}

// Loopback says whether host, a name or an IP address, never leaves the machine.
func Loopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.InboxSize == 0 {
		o.InboxSize = inboxDefault
	}
	if o.InboxBytes == 0 {
		o.InboxBytes = inboxBytesWant
	}
	if o.RoutePing == 0 {
		o.RoutePing = routePing
	}
	return o
}

func (o *Options) ownAddr() string {
	for _, p := range o.Peers {
		if p.ID == o.ID {
			return p.Addr
		}
	}
	return ""
}
