package quorum

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// Forming is one durable step (R8): a store that has heard every listed voter
// unformed records the founding list once and for ever; it is formed when every
// listed voter has reported that same list.

// foundingID is the cluster id: the hash of the founding list.
func foundingID(ms []Member) (id ClusterID) {
	h := sha256.New()
	for _, m := range ms {
		var b [3]byte
		binary.BigEndian.PutUint16(b[:], uint16(m.ID))
		b[2] = byte(m.Role)
		h.Write(b[:])
		h.Write(m.Incarnation[:])
	}
	copy(id[:], h.Sum(nil))
	return id
}

func (c *Core) formState() FormState {
	switch {
	case c.ctl.NeedsRebuild:
		return Rebuild
	case c.ctl.Formed:
		return Formed
	case len(c.ctl.Founding) > 0:
		return Founding
	}
	return Unformed
}

// form takes the steps of R8 that what was heard allows.
func (c *Core) form() {
	if c.ctl.Formed || c.ctl.NeedsRebuild || c.listed(c.cfg.ID).Role != RoleVoter {
		return
	}
	if len(c.ctl.Founding) == 0 && !c.found() {
		return
	}
	if c.confirmed() {
		c.setControl(func(ctl *Control) { ctl.Formed = true })
		c.enterLooking()
	}
}

// found records the founding list once every listed voter was heard without a
// cluster, on an equal list of peers, and restored from the same state or from
// none (R9).
func (c *Core) found() bool {
	var list []Member
	for _, m := range c.founders() {
		if p := c.peer(m.ID); m.Role == RoleVoter {
			m.Incarnation = c.ctl.Boot.Incarnation
			if m.ID != c.cfg.ID {
				if p.note.at == 0 || p.note.msg.ConfigHash != c.cfg.ConfigHash || p.note.msg.Forming > Founding || p.note.msg.Past != c.ctl.Past {
					return false
				}
				m.Incarnation = p.boot.Incarnation
			}
		}
		list = append(list, m)
	}
	for _, p := range c.peers {
		if n := &p.note; n.at != 0 && n.msg.Forming == Founding && !slices.Equal(n.msg.Founding, list) {
			return false
		}
	}
	c.setControl(func(ctl *Control) { ctl.Founding, ctl.Cluster = list, foundingID(list) })
	c.peersChanged()
	c.notifyAll()
	return true
}

// confirmed says whether every listed voter has reported this store's list; one
// that is formed with it has heard all others report it.
func (c *Core) confirmed() bool {
	all := true
	for _, v := range c.ctl.Founding {
		if v.ID == c.cfg.ID || v.Role != RoleVoter {
			continue
		}
		p := c.peer(v.ID)
		same := p != nil && p.note.at != 0 && slices.Equal(p.note.msg.Founding, c.ctl.Founding)
		if same && p.note.msg.Forming == Formed {
			return true
		}
		all = all && same
	}
	return all
}

// adopt joins a store that has founded nothing to a cluster that is formed: as a
// learner, or, if the cluster knows this node as a voter on another disk, as one
// that was wiped or exchanged and must be rebuilt (ZAB.md 3). A store that has
// recorded other founders never changes them (R8): it is given up for an empty one.
func (c *Core) adopt(m *Message) {
	if m.Forming != Formed || c.ctl.Cluster != (ClusterID{}) && c.ctl.NeedsRebuild || c.ctl.Formed || len(m.Founding) == 0 || c.listsMe(m.Founding) {
		return
	}
	if c.ctl.Past != (Past{}) && c.ctl.Past != m.Past {
		return // what it was restored from is no part of that cluster's history
	}
	if len(c.ctl.Founding) > 0 {
		c.Spoil("the cluster was formed without this store, which had recorded other founders")
		return
	}
	as, listed := m.Config.Member(c.cfg.ID)
	foreign := listed && as.Role == RoleVoter && as.Incarnation != c.ctl.Boot.Incarnation
	c.setControl(func(ctl *Control) {
		ctl.Cluster, ctl.Founding, ctl.Past = foundingID(m.Founding), m.Founding, m.Past
		ctl.Formed = !foreign && !ctl.NeedsRebuild
		if foreign && !ctl.NeedsRebuild {
			ctl.NeedsRebuild = true
			ctl.Reason = "the cluster was formed without this store: its data directory is empty or another one"
		}
	})
	c.listen(m)
	c.peersChanged()
	c.enterLooking()
}

// listen takes the newest committed configuration from a peer's notification:
// who was away for long finds the members of today by it (ZAB.md 2.9).
func (c *Core) listen(m *Message) {
	if m.Forming != Formed || !c.knowsCluster() || m.Cluster != c.ctl.Cluster {
		return
	}
	if active, _ := c.inForce(); m.Config.Version > active.Version {
		c.gossip = m.Config
		c.peersChanged()
	}
}

// overhear takes from a stranger only the newest committed configuration, and
// gives it: so a node that was away while all others were replaced finds them,
// and one that was removed meanwhile, or was never added, is told.
func (c *Core) overhear(m *Message) {
	stranger := m.From != c.cfg.ID && c.peer(m.From) == nil && (m.To == 0 || m.To == c.cfg.ID)
	if m.Type != MsgNotify || !stranger || c.halt != nil || c.retired || !c.ctl.Formed {
		return
	}
	if m.Cluster != c.ctl.Cluster && m.Cluster != (ClusterID{}) {
		return
	}
	c.listen(m)
	if active, _ := c.inForce(); m.State == StateLooking && (m.Forming < Formed || m.Config.Version < active.Version) {
		c.send(c.notification(m.From), c.claim())
	}
}

// refusal says in words why this node does not take part.
func (c *Core) refusal() string {
	switch {
	case c.retired:
		return "this node is stopping"
	case c.doubt() == DoubtRebuild:
		return c.ctl.Reason + "; it serves nothing and does not vote until it is rebuilt"
	case c.ctl.NeedsRebuild:
		return c.rebuilding()
	case c.ctl.Formed && c.roleOf(c.cfg.ID) == 0 && c.wasMember():
		return fmt.Sprintf("node %d was removed from the cluster: stop it, or add it again with POST /v1/cluster/members", c.cfg.ID)
	case c.ctl.Formed && c.roleOf(c.cfg.ID) == 0:
		return fmt.Sprintf("node %d is not a member of the cluster: add it with POST /v1/cluster/members", c.cfg.ID)
	case c.doubt() == DoubtDisputed:
		return c.disputeText()
	case c.ctl.Formed:
		return ""
	}
	return c.formingRefusal()
}

// wasMember says whether this node is in a configuration of its log.
func (c *Core) wasMember() bool {
	_, was := c.founding.Member(c.cfg.ID)
	for i := range c.log.configs {
		_, is := c.log.configs[i].Member(c.cfg.ID)
		was = was || is
	}
	return was
}

func (c *Core) formingRefusal() string {
	var missing []NodeID
	for _, v := range c.founders() {
		if v.ID == c.cfg.ID || v.Role != RoleVoter {
			continue
		}
		p := c.peer(v.ID)
		switch {
		case p == nil || p.note.at == 0:
			missing = append(missing, v.ID)
		case p.note.msg.ConfigHash != c.cfg.ConfigHash && p.note.msg.Forming <= Founding:
			return fmt.Sprintf("node %d was started with another list of --peers; give every node the same list", p.id)
		case p.note.msg.Forming <= Founding && p.note.msg.Past != c.ctl.Past:
			return c.otherPast(p)
		case p.note.msg.Forming == Formed && c.ctl.Past != (Past{}) && p.note.msg.Past != c.ctl.Past:
			return fmt.Sprintf("this data directory was restored from the state at %v, and node %d belongs to a cluster that has formed without it: "+
				"start this node on an empty data directory, or the whole cluster on restored ones", c.ctl.Past.Zxid, p.id)
		case p.note.msg.Forming == Rebuild:
			return fmt.Sprintf("node %d belongs to a cluster that was formed before and waits to be rebuilt from it; no other cluster forms with it", p.id)
		case len(c.ctl.Founding) > 0 && p.boot.Incarnation != v.Incarnation,
			p.note.msg.Forming == Founding && !c.listsMe(p.note.msg.Founding):
			return fmt.Sprintf("node %d lists other stores than this one as founders; nothing was stored yet: delete the data directories of all voters and start them again", p.id)
		}
	}
	if len(missing) > 0 {
		return fmt.Sprintf("waiting for voters %v to form the cluster; every listed voter must be present the first time", missing)
	}
	return "forming the cluster"
}

// otherPast says in words that a cluster cannot form of this store and a peer's,
// since not both were restored from one state.
func (c *Core) otherPast(p *peer) string {
	const remedy = "nothing was stored yet: restore the same file into empty data directories of all voters, or start all of them on empty ones"
	own, other := c.ctl.Past, p.note.msg.Past
	switch {
	case other == (Past{}):
		return fmt.Sprintf("this data directory was restored from the state at %v, and that of node %d is empty; %s", own.Zxid, p.id, remedy)
	case own == (Past{}):
		return fmt.Sprintf("the data directory of node %d was restored from the state at %v, and this one is empty; %s", p.id, other.Zxid, remedy)
	}
	return fmt.Sprintf("this data directory was restored from the state at %v with digest %016x (epochs up to %d), and that of node %d from %v with %016x (up to %d); %s",
		own.Zxid, own.Digest, own.Epoch, p.id, other.Zxid, other.Digest, other.Epoch, remedy)
}

func (c *Core) listsMe(list []Member) bool {
	return slices.ContainsFunc(list, func(m Member) bool {
		return m.ID == c.cfg.ID && m.Incarnation == c.ctl.Boot.Incarnation
	})
}
