package sim

import "perch/quorum"

// ticked: R23, what a tick does to a leader's lease clock.
func (o *observer) ticked(n *node, before quorum.Soft) {
	p := &o.peers[n.id]
	p.ticks++
	s := n.core.Soft()
	if s.Commit != p.commit || s.Last == s.Commit || s.Epoch != before.Epoch {
		p.moved, p.commit = p.ticks, s.Commit
	}
	leads := s.State == quorum.StateLeading && before.State == quorum.StateLeading && s.Epoch == before.Epoch
	if !leads || s.LeaseMs == before.LeaseMs {
		return
	}
	if s.LeaseMs < before.LeaseMs || s.LeaseMs-before.LeaseMs > 100 {
		o.w.fail(23, "lease clock of leader %d goes from %d to %d ms in a tick", n.id, before.LeaseMs, s.LeaseMs)
	}
	if !o.freshQuorum(n, s.Epoch) {
		o.w.fail(23, "lease clock of leader %d advances without a fresh quorum", n.id)
	}
	if p.ticks-p.moved > 110 {
		o.w.fail(23, "lease clock of leader %d advances although %v is uncommitted for a second", n.id, s.Last)
	}
}

// freshQuorum says whether a quorum answered a ping of the epoch within the
// longest follower time-out, counted in the leader's own ticks.
func (o *observer) freshQuorum(n *node, e quorum.Epoch) bool {
	p := &o.peers[n.id]
	return majority(o.configOf(n), func(m *quorum.Member) bool {
		return m.ID == n.id || p.heardIn[m.ID] == e && p.ticks-p.heard[m.ID] <= max(p.window, 20)+2
	})
}
