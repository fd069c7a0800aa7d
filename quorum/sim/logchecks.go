package sim

import "perch/quorum"

// written sees a record as the core hands it to its disk.
func (o *observer) written(n *node, r *quorum.Record) {
	if o.wrote != nil {
		o.wrote(r)
	}
	if r.Type == quorum.RecordEntry {
		o.check10(n, &r.Entry)
	}
}

// check10: 10 and 1, a zxid stands for one history for ever. The first to
// write it is the established leader of its epoch.
func (o *observer) check10(n *node, e *quorum.Entry) {
	g := o.reign(e.Zxid.Epoch())
	i := int(e.Zxid.Counter()) - 1
	switch {
	case i < 0 || i > len(g.proposed):
		o.w.fail(10, "node %d writes %v; its epoch has %d entries so far", n.id, e.Zxid, len(g.proposed))
	case i < len(g.proposed):
		if g.proposed[i].chain != e.Chain {
			o.w.fail(10, "node %d writes %v with another history than the first", n.id, e.Zxid)
		}
	case !g.established || g.leader != n.id || g.boot != n.disk.img.control.Boot:
		o.w.fail(1, "node %d proposes %v and is not the established leader of the epoch", n.id, e.Zxid)
	default:
		o.check6First(n, g, e)
		o.check17First(n, e)
		p := proposal{chain: e.Chain, kind: e.Kind, origin: e.Origin, age: e.Stamp.Age, write: writeOf(e)}
		if cf, ok := configIn(e); ok {
			p.config = &cf
		}
		g.proposed = append(g.proposed, p)
	}
}

// check17First: 17, a leader that has lost its vote by what it committed proposes
// nothing more.
func (o *observer) check17First(n *node, e *quorum.Entry) {
	if n.core == nil {
		return
	}
	active := n.core.Configuration()
	m, ok := active.Member(n.id)
	if active.Version < e.Zxid && (!ok || m.Role != quorum.RoleVoter) {
		o.w.fail(17, "node %d proposes %v and has had no vote since %v", n.id, e.Zxid, active.Version)
	}
}

// check6First: 6, before its first broadcast a leader knows its whole initial
// history to be committed.
func (o *observer) check6First(n *node, g *reign, e *quorum.Entry) {
	if e.Zxid.Counter() == 1 && n.soft.Commit < g.base {
		o.w.fail(6, "leader %d broadcasts %v before its base %v is committed", n.id, e.Zxid, g.base)
	}
}

// beforeDurable sees a record before it changes the stable image.
func (o *observer) beforeDurable(n *node, r *quorum.Record) {
	im := &n.disk.img
	switch r.Type {
	case quorum.RecordControl:
		o.check8Control(n, &im.control, r.Control)
		o.check24(n, &im.control, r.Control)
	case quorum.RecordTruncate, quorum.RecordInstall:
		p := &o.peers[n.id]
		p.match = o.ledger.contained(im)
		for i := range im.entries {
			if e := &im.entries[i]; r.Type == quorum.RecordInstall || e.Zxid > r.Zxid {
				p.cut[position{e.Zxid, e.Chain}] = true
			}
		}
	}
	if r.Type == quorum.RecordInstall {
		o.check13Install(n, r)
	}
}

// afterDurable sees the image that a record has made.
func (o *observer) afterDurable(n *node, r *quorum.Record) {
	im := &n.disk.img
	o.peers[n.id].ended = max(o.peers[n.id].ended, im.hist.Last())
	if r.Type == quorum.RecordTruncate || r.Type == quorum.RecordInstall {
		o.check11(n, im)
	}
	if r.Type == quorum.RecordControl || r.Type == quorum.RecordEntry {
		o.check14(n, im)
	}
	if r.Type == quorum.RecordCommit && r.Zxid > o.ledger.last() {
		o.w.fail(9, "node %d records %v as committed, which it is not", n.id, r.Zxid)
	}
}

// check8Control: 8, the durable part; and no epoch is promised twice.
func (o *observer) check8Control(n *node, old, c *quorum.Control) {
	if c.AcceptedEpoch < old.AcceptedEpoch || c.CurrentEpoch < old.CurrentEpoch {
		o.w.fail(8, "node %d: aE %d, cE %d follow aE %d, cE %d", n.id, c.AcceptedEpoch, c.CurrentEpoch, old.AcceptedEpoch, old.CurrentEpoch)
	}
	if c.Boot != old.Boot || c.Node != n.id {
		o.w.fail(8, "node %d writes another identity: %v after %v", n.id, c.Boot, old.Boot)
	}
	if c.AcceptedEpoch == 0 || c.NeedsRebuild {
		return
	}
	p := &o.peers[n.id]
	if got, ok := p.promised[c.AcceptedEpoch]; ok && got != c.AcceptedFrom {
		o.w.fail(8, "node %d promises epoch %d to %d after %d", n.id, c.AcceptedEpoch, c.AcceptedFrom.Leader, got.Leader)
	}
	p.promised[c.AcceptedEpoch] = c.AcceptedFrom
}

// check24: R8, a founding list is fixed, formed stores agree, and nobody stops
// being formed.
func (o *observer) check24(n *node, old, c *quorum.Control) {
	var none quorum.ClusterID
	if old.Cluster != none && c.Cluster != old.Cluster || len(old.Founding) > 0 && !sameMembers(old.Founding, c.Founding) {
		o.w.fail(24, "node %d changes its founding list", n.id)
	}
	if old.Formed && !c.Formed {
		o.w.fail(24, "node %d is not formed any more", n.id)
	}
	if old.NeedsRebuild && !c.NeedsRebuild {
		o.granted(n, c)
	}
	if !c.Formed || c.NeedsRebuild {
		return
	}
	if o.cluster == none {
		o.cluster = c.Cluster
		o.configs = []quorum.Configuration{{Members: c.Founding}}
		o.lostBefore(c.Founding)
	}
	if c.Cluster != o.cluster || c.Cluster == none {
		o.w.fail(24, "node %d is formed in a second cluster", n.id)
	}
	if n.wiped && !old.Formed {
		o.w.fail(15, "node %d, whose disk was lost, is formed again", n.id)
	}
}

func sameMembers(a, b []quorum.Member) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// check13Install: 13, an installed snapshot is durable before the record.
func (o *observer) check13Install(n *node, r *quorum.Record) {
	for _, s := range n.disk.snaps {
		if s.meta.Zxid == r.Zxid && s.meta.Chain == r.Chain {
			return
		}
	}
	o.w.fail(13, "node %d records the snapshot %v as installed, which it does not hold", n.id, r.Zxid)
}

// check11: 11, no committed transaction leaves a disk.
func (o *observer) check11(n *node, im *image) {
	if now := o.ledger.contained(im); now < o.peers[n.id].match {
		z, _ := o.ledger.at(now + 1)
		o.w.fail(11, "node %d drops the committed %v", n.id, z)
	}
}

// check14: 14.
func (o *observer) check14(n *node, im *image) {
	c := &im.control
	if c.CurrentEpoch > c.AcceptedEpoch {
		o.w.fail(14, "node %d: cE %d > aE %d", n.id, c.CurrentEpoch, c.AcceptedEpoch)
	}
	if e := im.hist.Last().Epoch(); e > c.AcceptedEpoch && im.hist.Last() != c.Past.Zxid {
		o.w.fail(14, "node %d: its log ends in epoch %d, aE is %d", n.id, e, c.AcceptedEpoch)
	}
}

// applied: 1, 2, 3, 12: what a node delivers is the next committed entry, and
// durable at the node.
func (o *observer) applied(n *node, e *quorum.Entry) {
	if o.w.failure != nil {
		return
	}
	pos := n.app.pos
	if pos > o.ledger.len() {
		o.w.fail(12, "node %d applies %v, which is not committed", n.id, e.Zxid)
		return
	}
	if z, chain := o.ledger.at(pos); z != e.Zxid || chain != e.Chain {
		o.w.fail(2, "node %d applies %v as number %d; committed is %v", n.id, e.Zxid, pos, z)
		return
	}
	if !n.app.bent && n.app.fold != o.ledger.fold(pos) {
		o.w.fail(12, "node %d differs from the replay at %v", n.id, e.Zxid)
	}
	if !n.disk.img.holds(e.Zxid, e.Chain) {
		o.w.fail(12, "node %d applies %v before it is on its disk", n.id, e.Zxid)
	}
}

// installed: 12 and 8 for a state that came as a snapshot.
func (o *observer) installed(n *node, s *snapFile) {
	o.loaded(n, s)
	if s.meta.Zxid < n.soft.Emitted {
		o.w.fail(8, "node %d installs %v below what it has applied, %v", n.id, s.meta.Zxid, n.soft.Emitted)
	}
}

// loaded: 12, a snapshot that a node starts from or installs equals the replay
// of all that is committed up to its zxid.
func (o *observer) loaded(n *node, s *snapFile) {
	if n.astray() {
		return
	}
	pos, ok := o.ledger.find(s.meta.Zxid)
	if !ok || pos != s.state.pos || !s.state.bent && s.state.fold != o.ledger.fold(pos) {
		o.w.fail(12, "node %d loads a snapshot at %v that is not the replay to it", n.id, s.meta.Zxid)
	}
}
