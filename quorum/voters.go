package quorum

import "slices"

// This file is the only one that knows who is a member, and the only one that
// counts voters. Members come from the log: from the founding list, or from the
// last configuration in it. While a configuration is not known to be committed,
// it and the one before it are both in force, and a quorum is a majority of each
// (ZAB.md 2.9).

// peer is what is known of one other node, whatever the role.
type peer struct {
	id     NodeID
	boot   Boot
	heard  uint64 // tick of the last admitted message; 0 for never
	down   bool   // hint: its link is gone
	former []Boot // last lives of the disks that this peer had before
	cloned bool   // two lives with one counter were seen; both are refused (R3)
	kept   bool   // its boot stands in Control.Seen …
	keptAt uint64 // … durably once this step is stable
	rival  uint64 // tick at which another of its disks spoke; 0 for never
	note   note
}

// note is the newest notification of a peer.
type note struct {
	at  uint64 // tick of receipt; 0 when there is none
	msg Message
}

func (c *Core) peer(id NodeID) *peer {
	for _, p := range c.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// inForce are the configurations that a quorum is a majority of: the active one,
// and one that is not known to be committed yet, or nil. A leader proposes one
// only when the one before it is committed, so all but the last are.
func (c *Core) inForce() (active, pending *Configuration) {
	active = &c.founding
	cs := c.log.configs
	for i := range cs {
		if i+1 < len(cs) || cs[i].Version <= c.log.hint {
			active = &cs[i]
		} else {
			pending = &cs[i]
		}
	}
	if c.gossip.Version > active.Version {
		active = &c.gossip
		if pending != nil && pending.Version <= active.Version {
			pending = nil
		}
	}
	return active, pending
}

// Configuration is the active configuration: the newest that this node knows to
// be committed. The founding one has version 0; before there is one it is empty.
func (c *Core) Configuration() Configuration {
	active, _ := c.inForce()
	return Configuration{Version: active.Version, Members: slices.Clone(active.Members)}
}

// Members are all members of the configurations in force, by id. Who is in both
// stands there as in the newer one.
func (c *Core) Members() []Member {
	active, pending := c.inForce()
	if pending == nil {
		return slices.Clone(active.Members)
	}
	ms := slices.Clone(pending.Members)
	for _, m := range active.Members {
		if _, ok := pending.Member(m.ID); !ok {
			ms = append(ms, m)
		}
	}
	slices.SortFunc(ms, func(a, b Member) int { return int(a.ID) - int(b.ID) })
	return ms
}

// peersChanged follows a change of the members: messages are taken from those of
// the configurations in force and of --peers.
func (c *Core) peersChanged() {
	c.memberships++
	members := c.Members()
	known := func(id NodeID) bool {
		return slices.ContainsFunc(members, func(m Member) bool { return m.ID == id }) ||
			slices.ContainsFunc(c.cfg.Peers, func(p Peer) bool { return p.ID == id })
	}
	c.peers = slices.DeleteFunc(c.peers, func(p *peer) bool { return !known(p.id) })
	add := func(id NodeID) {
		if id != c.cfg.ID && c.peer(id) == nil {
			p := &peer{id: id}
			p.recall(c.ctl.Seen)
			c.peers = append(c.peers, p)
		}
	}
	for _, m := range members {
		add(m.ID)
	}
	for _, p := range c.cfg.Peers {
		add(p.ID)
	}
	slices.SortFunc(c.peers, func(a, b *peer) int { return int(a.id) - int(b.id) })
	for _, p := range c.peers {
		p.kept = slices.Contains(c.ctl.Seen, Life{p.id, p.boot})
		c.remember(p)
	}
	if c.r.state == StateLeading {
		c.dismiss()
	}
}

// listed is the line of --peers for a node; without a role when there is none.
func (c *Core) listed(id NodeID) Peer {
	for _, p := range c.cfg.Peers {
		if p.ID == id {
			return p
		}
	}
	return Peer{}
}

// roleOf is the role of a node in the configurations in force, 0 for none. Who
// votes in one of them is a voter. Before there is a configuration the role is
// that of --peers.
func (c *Core) roleOf(id NodeID) Role {
	active, pending := c.inForce()
	if len(active.Members) == 0 {
		return c.listed(id).Role
	}
	m, _ := active.Member(id)
	if pending == nil || m.Role == RoleVoter {
		return m.Role
	}
	if n, ok := pending.Member(id); ok {
		return n.Role
	}
	return m.Role
}

// founders are those that must be present when a cluster forms, by id: the
// voters, and the observers that will be members from the beginning.
func (c *Core) founders() []Member {
	if len(c.ctl.Founding) > 0 {
		return c.ctl.Founding
	}
	var ms []Member
	for _, p := range c.cfg.Peers {
		ms = append(ms, Member{ID: p.ID, Role: p.Role})
	}
	slices.SortFunc(ms, func(a, b Member) int { return int(a.ID) - int(b.ID) })
	return ms
}

// counts says whether a node on this disk is a voter of a configuration in
// force: a known id on another disk is a wiped voter and in no set (R3, R4).
func (c *Core) counts(id NodeID, inc Incarnation) bool {
	active, pending := c.inForce()
	return active.votes(id, inc) || pending != nil && pending.votes(id, inc)
}

func (cf *Configuration) votes(id NodeID, inc Incarnation) bool {
	m, ok := cf.Member(id)
	return ok && m.Role == RoleVoter && m.Incarnation == inc
}

// votes says whether this node itself is in the sets that are compared with a
// quorum.
func (c *Core) votes() bool {
	return c.ctl.Formed && !c.ctl.NeedsRebuild && !c.retired && c.counts(c.cfg.ID, c.ctl.Boot.Incarnation)
}

// voters are the ids that vote in a configuration in force.
func (c *Core) voters() []NodeID {
	var ids []NodeID
	for _, m := range c.Members() {
		if c.roleOf(m.ID) == RoleVoter {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// quorum says whether the voters for which in holds are a majority of every
// configuration in force. A voter counts only on the disk that the configuration
// names.
func (c *Core) quorum(in func(NodeID) bool) bool {
	return c.majorities(func(m *Member) bool { return c.incarnation(m.ID) == m.Incarnation && in(m.ID) })
}

// majorities says whether in holds for a majority of the voters of every
// configuration in force.
func (c *Core) majorities(in func(*Member) bool) bool {
	active, pending := c.inForce()
	return active.majority(in) && (pending == nil || pending.majority(in))
}

func (cf *Configuration) majority(in func(*Member) bool) bool {
	n, all := 0, 0
	for i := range cf.Members {
		m := &cf.Members[i]
		if m.Role != RoleVoter {
			continue
		}
		all++
		if in(m) {
			n++
		}
	}
	return all > 0 && n > all/2
}

// incarnation is the disk on which a node is known; of nobody while the life
// that is known there is not durably remembered (R3).
func (c *Core) incarnation(id NodeID) Incarnation {
	if id == c.cfg.ID {
		return c.ctl.Boot.Incarnation
	}
	if c.r.state == StateLeading {
		if l := c.learner(id); l != nil {
			return c.durably(l.boot, l.keptAt)
		}
	}
	if p := c.peer(id); p != nil {
		return c.durably(p.boot, p.keptAt)
	}
	return Incarnation{}
}

func (c *Core) durably(b Boot, keptAt uint64) Incarnation {
	if keptAt > c.stable {
		return Incarnation{}
	}
	return b.Incarnation
}

// quorumZxid is the highest position that a quorum has reached. What stands
// before a configuration that is not committed needs a majority of the active
// one alone; the configuration and what follows needs both.
func (c *Core) quorumZxid(at func(NodeID) Zxid) Zxid {
	active, pending := c.inForce()
	z := c.reached(active, at)
	if pending == nil || z < pending.Version {
		return z
	}
	if n := c.reached(pending, at); n >= pending.Version {
		return min(z, n)
	}
	if pending.Version.Counter() == 1 {
		return 0 // what stands before it is the base, which was committed otherwise
	}
	return pending.Version - 1
}

func (c *Core) reached(cf *Configuration, at func(NodeID) Zxid) Zxid {
	var zs [MaxVoters]Zxid
	s := zs[:0]
	for i := range cf.Members {
		m := &cf.Members[i]
		switch {
		case m.Role != RoleVoter:
		case c.incarnation(m.ID) == m.Incarnation:
			s = append(s, at(m.ID))
		default:
			s = append(s, 0)
		}
	}
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[(len(s)-1)/2]
}

// reach is the sorted list of peers heard directly of late.
func (c *Core) reach() []NodeID {
	ids := []NodeID{c.cfg.ID}
	for _, p := range c.peers {
		if p.heard != 0 && c.tick-p.heard < reachTicks {
			ids = append(ids, p.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// reaches says whether a list of reach covers a quorum. On which disks its nodes
// are only its owner knows: where one node sees all others, nobody else does.
func (c *Core) reaches(ids []NodeID) bool {
	return c.majorities(func(m *Member) bool { return slices.Contains(ids, m.ID) })
}
