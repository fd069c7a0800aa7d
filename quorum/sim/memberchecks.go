package sim

import "perch/quorum"

// majority says whether in holds for a majority of the voters.
func majority(cf *quorum.Configuration, in func(*quorum.Member) bool) bool {
	count := 0
	for i := range cf.Members {
		if m := &cf.Members[i]; m.Role == quorum.RoleVoter && in(m) {
			count++
		}
	}
	return 2*count > cf.Voters()
}

// configOf is the configuration that a node takes for the active one. It must be
// committed.
func (o *observer) configOf(n *node) *quorum.Configuration {
	own := n.core.Configuration()
	for i := range o.configs {
		if cf := &o.configs[i]; cf.Version == own.Version && sameMembers(cf.Members, own.Members) {
			return cf
		}
	}
	if len(own.Members) > 0 {
		o.w.fail(16, "node %d acts on the members of %v, which are not committed", n.id, own.Version)
	}
	return &own
}

// check16: 16 and 9, the configuration that was just committed has a majority of
// the voters before it and of its own; see onQuorum.
func (o *observer) check16(z quorum.Zxid) {
	r := o.byEpoch[z.Epoch()]
	if r == nil || int(z.Counter()) > len(r.proposed) || r.proposed[z.Counter()-1].config == nil {
		return
	}
	o.onQuorum(z)
	o.configs = append(o.configs, *r.proposed[z.Counter()-1].config)
	o.onQuorum(z)
}

// onQuorum: 9 and 15, disks of a quorum hold z. Of a store that was lost it is
// asked what it held: an ack that it sent may come late, and the disks that
// remain of a quorum meet every quorum of those that still count. A store that
// waits for its grant is not asked.
func (o *observer) onQuorum(z quorum.Zxid) {
	if o.w.failure != nil {
		return
	}
	_, chain := o.ledger.at(o.ledger.len())
	cf := &o.configs[len(o.configs)-1]
	held := majority(cf, func(m *quorum.Member) bool {
		im := o.w.nodes[m.ID].store(m.Incarnation)
		return im != nil && countable(im, z) && im.holds(z, chain)
	})
	if !held {
		o.w.fail(9, "%v is committed and not on the disks of a quorum of %d voters, of version %v", z, cf.Voters(), cf.Version)
	}
}

// countable says whether a store may be counted for z. What a spoiled one had
// acknowledged before it was found out stays counted: its log is no worse.
func countable(im *image, z quorum.Zxid) bool {
	return !im.control.NeedsRebuild || im.control.Spoiled && z <= im.out
}

// check15Base: 15 and 16, those that make a leader have its epoch and its
// initial history, and none of them waits for its grant. A configuration that the
// initial history holds is committed with it and needs both majorities.
func (o *observer) check15Base(n *node, r *reign) {
	own := n.core.Configuration()
	var before *quorum.Configuration
	for i := range o.configs {
		if o.configs[i].Version <= own.Version {
			before = &o.configs[i]
		}
	}
	holds := func(m *quorum.Member) bool {
		im := o.w.nodes[m.ID].store(m.Incarnation)
		return im != nil && countable(im, r.base) && im.control.CurrentEpoch >= r.epoch && im.holds(r.base, r.baseChain)
	}
	if before == nil || !majority(before, holds) || !majority(&own, holds) {
		o.w.fail(15, "leader %d of epoch %d is established without a quorum of disks that count", n.id, r.epoch)
	}
}

// granted: 15, a store stops to be one that needs rebuilding only when a
// committed configuration names it.
func (o *observer) granted(n *node, c *quorum.Control) {
	for i := range o.configs {
		m, _ := o.configs[i].Member(n.id)
		if m.Role == quorum.RoleObserver || m.Incarnation == c.Boot.Incarnation {
			o.w.note("%d is rebuilt and counts again", n.id)
			n.wiped = false
			return
		}
	}
	o.w.fail(15, "node %d counts again without a grant", n.id)
}

// lostBefore marks the founders whose disks are gone already when the cluster is
// formed with them.
func (o *observer) lostBefore(founders []quorum.Member) {
	for _, m := range founders {
		n := o.w.nodes[m.ID]
		if m.Role == quorum.RoleVoter && n.disk.img.control.Boot.Incarnation != m.Incarnation {
			n.wiped = true
			n.formers = append(n.formers, image{control: quorum.Control{Boot: quorum.Boot{Incarnation: m.Incarnation}}})
		}
	}
}
