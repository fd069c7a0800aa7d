package quorum

import "slices"

// This file is the only one that counts voters.

// peer is what is known of one other node, whatever the role.
type peer struct {
	id     NodeID
	boot   Boot
	heard  uint64 // tick of the last admitted message; 0 for never
	down   bool   // hint: its link is gone
	former []Boot // last lives of the disks that this peer had before
	cloned bool   // two lives with one counter were seen; both are refused (R3)
	note   note
}

// note is the newest notification of a peer.
type note struct {
	at  uint64 // tick of receipt; 0 when there is none
	msg Message
}

func (c *Core) peer(id NodeID) *peer {
	for i := range c.peers {
		if c.peers[i].id == id {
			return &c.peers[i]
		}
	}
	return nil
}

// roleOf is the role that --peers gives a node.
func (c *Core) roleOf(id NodeID) Role {
	for _, p := range c.cfg.Peers {
		if p.ID == id {
			return p.Role
		}
	}
	return 0
}

// voters are the members that decide, sorted by id: those of the configuration
// once formed, those of --peers before.
func (c *Core) voters() []Member {
	if len(c.ctl.Founding) > 0 {
		return c.ctl.Founding
	}
	var ms []Member
	for _, p := range c.cfg.Peers {
		if p.Role == RoleVoter {
			ms = append(ms, Member{ID: p.ID, Role: RoleVoter})
		}
	}
	slices.SortFunc(ms, func(a, b Member) int { return int(a.ID) - int(b.ID) })
	return ms
}

// counts says whether a node on this disk is a voter: a known id on another
// disk is a wiped voter and in no set (R3, R4).
func (c *Core) counts(id NodeID, inc Incarnation) bool {
	for _, m := range c.ctl.Founding {
		if m.ID == id {
			return m.Incarnation == inc && m.Role == RoleVoter
		}
	}
	return false
}

// votes says whether this node itself is in the sets that are compared with a
// quorum.
func (c *Core) votes() bool {
	return c.ctl.Formed && !c.ctl.NeedsRebuild && !c.retired && c.counts(c.cfg.ID, c.ctl.Boot.Incarnation)
}

// quorum says whether the voters for which in holds are a majority. in is asked
// once for every voter, this node included.
func (c *Core) quorum(in func(NodeID) bool) bool {
	vs := c.ctl.Founding
	n := 0
	for _, m := range vs {
		if in(m.ID) {
			n++
		}
	}
	return len(vs) > 0 && n > len(vs)/2
}

// quorumZxid is the highest position that a majority of voters has reached.
func (c *Core) quorumZxid(at func(NodeID) Zxid) Zxid {
	var zs [16]Zxid
	s := zs[:0]
	for _, m := range c.ctl.Founding {
		s = append(s, at(m.ID))
	}
	slices.Sort(s)
	return s[(len(s)-1)/2]
}

// reach is the sorted list of peers heard directly of late.
func (c *Core) reach() []NodeID {
	ids := []NodeID{c.cfg.ID}
	for i := range c.peers {
		if p := &c.peers[i]; p.heard != 0 && c.tick-p.heard < reachTicks {
			ids = append(ids, p.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// reaches says whether a list of reach covers a quorum.
func (c *Core) reaches(ids []NodeID) bool {
	return c.quorum(func(id NodeID) bool { return slices.Contains(ids, id) })
}
