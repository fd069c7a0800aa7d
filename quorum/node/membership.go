package node

import (
	"fmt"
	"slices"
	"strings"

	"perch/quorum"
	"perch/quorum/natsnet"
)

// membership is who takes part, as the core last told. It is never changed.
type membership struct {
	version quorum.Zxid     // of the active configuration
	all     []quorum.Member // of the configurations in force, or of --peers before there is one; with addresses
	peers   []quorum.Peer   // whom the transport admits and dials
}

type members interface {
	Members() []quorum.Member
	Configuration() quorum.Configuration
}

// membershipOf asks the core. The log knows the members before the transport
// starts, so that they are found again however old the list in --peers is.
func membershipOf(cfg *Config, core members) *membership {
	m := &membership{version: core.Configuration().Version, all: core.Members()}
	if len(m.all) == 0 {
		for _, p := range cfg.Peers {
			m.all = append(m.all, quorum.Member{ID: p.ID, Role: p.Role, Addr: p.Addr})
		}
		slices.SortFunc(m.all, func(a, b quorum.Member) int { return int(a.ID) - int(b.ID) })
	}
	for i := range m.all {
		if at := &m.all[i]; at.Addr == "" {
			at.Addr = cfg.listed(at.ID).Addr
		}
	}
	m.peers = peersOf(cfg, m.all)
	return m
}

// listed is the line of --peers for a node; the zero Peer when there is none.
func (c *Config) listed(id quorum.NodeID) quorum.Peer {
	for _, p := range c.Peers {
		if p.ID == id {
			return p
		}
	}
	return quorum.Peer{}
}

// peersOf are the members at the addresses of the configuration, and whoever
// stands in --peers at those: a node that has moved may be known from either.
// This node listens where its own line of --peers says.
func peersOf(cfg *Config, members []quorum.Member) []quorum.Peer {
	own := cfg.listed(cfg.ID)
	if i := slices.IndexFunc(members, func(m quorum.Member) bool { return m.ID == cfg.ID }); own.Addr == "" && i >= 0 {
		own.Addr = members[i].Addr
	}
	peers := []quorum.Peer{own}
	for _, m := range members {
		if m.ID == cfg.ID {
			continue
		}
		p := quorum.Peer{ID: m.ID, Addr: m.Addr, Role: m.Role}
		if natsnet.CheckAddr(p.Addr, cfg.private()) != nil || addressed(peers, p.Addr) {
			p.Addr = "" // admitted, and dialled by nobody
		}
		peers = append(peers, p)
	}
	for _, p := range cfg.Peers {
		if p.ID != cfg.ID && !addressed(peers, p.Addr) {
			peers = append(peers, p)
		}
	}
	return peers
}

func addressed(peers []quorum.Peer, addr string) bool {
	return slices.ContainsFunc(peers, func(p quorum.Peer) bool { return p.Addr == addr })
}

// private says whether node-to-node connections may leave this machine.
func (c *Config) private() bool { return c.PeerTLS != nil || c.PeerInsecure }

// rank is the place of a node among the members, from 0, and how many there are,
// itself included.
func (m *membership) rank(id quorum.NodeID) (rank, of int) {
	of = 1
	for _, at := range m.all {
		if at.ID < id {
			rank++
		}
		if at.ID != id {
			of++
		}
	}
	return rank, of
}

// regroup follows a change of the members.
func (l *loop) regroup() {
	n := l.node
	m := membershipOf(&n.cfg, l.core)
	n.members.Store(m)
	n.publishPeers(l.core)
	if n.net != nil {
		n.net.SetPeers(m.peers)
	}
	active := l.core.Configuration()
	if len(active.Members) == 0 {
		return
	}
	if !l.compared && n.cfg.differs(active.Members) {
		l.log.Warn("--peers differs from the committed members, which decide", "members", memberList(m.all))
	} else if active.Version != l.version {
		l.log.Info("the members are", "members", memberList(m.all), "version", active.Version.String())
	}
	l.compared, l.version = true, active.Version
}

// differs says whether --peers has other members than the committed ones, or
// other roles or addresses (RULES.md R11).
func (c *Config) differs(members []quorum.Member) bool {
	return len(members) != len(c.Peers) || slices.ContainsFunc(members, func(m quorum.Member) bool {
		p := c.listed(m.ID)
		return p.Role != m.Role || m.Addr != "" && p.Addr != m.Addr
	})
}

// memberList prints members as --peers does.
func memberList(ms []quorum.Member) string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = fmt.Sprintf("%d=%s", m.ID, m.Addr)
		if m.Role == quorum.RoleObserver {
			lines[i] += ":observer"
		}
	}
	return strings.Join(lines, ",")
}
