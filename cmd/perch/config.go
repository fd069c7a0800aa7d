package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"perch/lease"
	"perch/quorum"
)

// config is what `perch serve` was asked for.
type config struct {
	edgeConfig
	clusterConfig
	natsConfig
	archive archiveConfig

	ID       int
	Peers    string // as given: 1=host:port,2=host:port:observer,…
	Data     string
	Settings lease.Settings // that a cluster begins with

	peers []quorum.Peer // parsed Peers; filled in by validate
}

func (c *config) declare(f *pflag.FlagSet) {
	f.IntVar(&c.ID, "id", 1, "number of this node, 1 to 65535")
	f.StringVar(&c.Peers, "peers", "", "every member's node-to-node address, the same on all: 1=host:port,2=host:port,3=host:port (none: a quorum of one)")
	f.StringVar(&c.Data, "data", "perch-data", "directory of this node's log and snapshots")
	c.clusterConfig.declare(f)
	c.natsConfig.declare(f)
	c.edgeConfig.declare(f)
	c.Settings = lease.DefaultSettings()
	s := &c.Settings
	f.IntVar(&s.PrincipalSessions, "principal-sessions", s.PrincipalSessions, "most sessions of one principal, where a cluster forms now")
	f.Int64Var(&s.PrincipalNodes, "principal-nodes", s.PrincipalNodes, "most nodes that one principal has made, where a cluster forms now (0: any number)")
	f.Int64Var(&s.PrincipalBytes, "principal-bytes", s.PrincipalBytes, "most bytes in them, where a cluster forms now (0: any number)")
	c.archive.declare(f)
}

// validate fills in what follows from the flags and reports all faults at once.
// It opens and changes nothing.
func (c *config) validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	if c.ID < 1 || c.ID > 65535 {
		fault("--id %d: must be 1 to 65535", c.ID)
	}
	if c.Data == "" {
		fault("--data: must name a directory")
	}
	var err error
	if c.peers, err = parsePeers(c.Peers); err != nil {
		faults = append(faults, err)
	} else if len(c.peers) > 0 && !slices.ContainsFunc(c.peers, func(p quorum.Peer) bool { return int(p.ID) == c.ID }) {
		fault("--peers: does not name this node, --id %d", c.ID)
	}
	faults = append(faults, c.edgeConfig.validate()...)
	if err := c.Settings.Validate(); err != nil {
		faults = append(faults, err)
	}
	faults = append(faults, c.clusterConfig.validate()...)
	faults = append(faults, c.validateReach("--peers", c.peerAddrs(), c.Insecure)...)
	faults = append(faults, c.natsConfig.validate(&c.clusterConfig, c.Insecure)...)
	faults = append(faults, c.archive.validate(c.Insecure)...)
	return errors.Join(faults...)
}

func (c *config) peerAddrs() (addrs []string) {
	for _, p := range c.peers {
		addrs = append(addrs, p.Addr)
	}
	return addrs
}

// parsePeers reads 1=host:port,2=host:port,….
func parsePeers(text string) ([]quorum.Peer, error) {
	if text == "" {
		return nil, nil
	}
	var (
		peers  []quorum.Peer
		faults []error
	)
	for _, item := range strings.Split(text, ",") {
		p, err := parsePeer(strings.TrimSpace(item))
		if err != nil {
			faults = append(faults, fmt.Errorf("--peers %q: %w", item, err))
			continue
		}
		for _, other := range peers {
			if other.ID == p.ID {
				faults = append(faults, fmt.Errorf("--peers: %d is named twice", p.ID))
			} else if other.Addr == p.Addr {
				faults = append(faults, fmt.Errorf("--peers: %s is named twice", p.Addr))
			}
		}
		peers = append(peers, p)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	slices.SortFunc(peers, func(a, b quorum.Peer) int { return int(a.ID) - int(b.ID) })
	return peers, nil
}

func parsePeer(item string) (quorum.Peer, error) {
	idText, addr, ok := strings.Cut(item, "=")
	if !ok {
		return quorum.Peer{}, errors.New("must be id=host:port")
	}
	id, err := strconv.ParseUint(idText, 10, 16)
	if err != nil || id == 0 {
		return quorum.Peer{}, errors.New("the id must be 1 to 65535")
	}
	role := quorum.RoleVoter
	if host, observer := strings.CutSuffix(addr, ":observer"); observer {
		addr, role = host, quorum.RoleObserver
	}
	if err := checkAddr(addr, false); err != nil {
		return quorum.Peer{}, err
	}
	return quorum.Peer{ID: quorum.NodeID(id), Addr: addr, Role: role}, nil
}

// checkAddr checks host:port. Listen addresses may leave the host out and may
// have port 0, any free one.
func checkAddr(addr string, listen bool) error {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("must be host:port")
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 && !listen {
		return fmt.Errorf("the port must be a number up to 65535, not %q", portText)
	}
	if host == "" && !listen {
		return errors.New("the host is missing")
	}
	return nil
}
