package sim

import (
	"slices"

	"perch/quorum"
)

// Digests (RULES.md R5): a fault bends the state of one node, silently, and the
// observer demands that the node is found and stops, and that nobody stops
// without such a fault.

// bend makes the state of n wrong from here on, as a bit that flips in memory or
// an apply that is not deterministic would. Once a run, and only when the rest
// can go on without the node.
func (w *World) bend(n *node) {
	if w.bent > 0 || n.lost() || n.disk.hurt() || !w.spare() {
		return
	}
	w.bendState(n)
}

func (w *World) bendState(n *node) {
	if n.core == nil || n.app.pos == 0 {
		return
	}
	w.bent++
	n.bent, n.app.bent = true, true
	n.app.fold ^= n.rng.next() | 1
	w.note("the state of %d is wrong from its entry %d on", n.id, n.app.pos)
}

// checkpoint reports the digest where the driver has to.
func (n *node) checkpoint(z quorum.Zxid) {
	if every := n.w.faults.digestEvery; every > 0 && z.Counter()%every == 0 {
		n.report(z)
	}
}

func (n *node) report(z quorum.Zxid) { n.core.Digest(z, n.app.fold) }

// rest reports the digest of a state that has not moved for a tick.
func (n *node) rest() {
	if len(n.unapplied) > 0 || n.app.pos == 0 {
		return
	}
	if n.restAt != n.app.pos {
		n.restAt, n.rested = n.app.pos, false
		return
	}
	if !n.rested {
		n.rested = true
		z, _ := n.w.obs.ledger.at(n.app.pos)
		n.report(z)
	}
}

// spread ends a run in which another node took over a bent state: a snapshot is
// taken on trust, and from there on a majority may be wrong.
func (w *World) spread(n *node, s *snapFile) bool {
	if !s.state.bent {
		return false
	}
	w.note("%d takes over a wrong state; there is nothing to check any more", n.id)
	w.heal.done = true
	return true
}

// mismatched: 26, only a node whose state is wrong stops.
func (o *observer) mismatched(n *node, m *quorum.Mismatch) {
	o.w.note("%d finds its state wrong at %v", n.id, m.Zxid)
	if !n.app.bent {
		o.w.fail(26, "node %d stops for its digest at %v, and its state is right", n.id, m.Zxid)
	}
}

// doubts: 26, nobody doubts without cause, and who stopped takes part in nothing.
func (o *observer) doubts(n *node, s *quorum.Soft) {
	if s.Doubt == quorum.DoubtNone {
		return
	}
	if o.w.bent == 0 && !n.wiped {
		o.w.fail(26, "node %d doubts its state, and all states are right: %s", n.id, s.Refusal)
	}
	if s.Doubt == quorum.DoubtRebuild && s.State == quorum.StateLeading {
		o.w.fail(26, "node %d leads with a state that was found wrong", n.id)
	}
}

// verdicts: 26, what a leader says of digests is true.
func (o *observer) verdicts(n *node, m *quorum.Message) {
	for _, v := range m.Digests {
		pos, ok := o.ledger.find(v.Zxid)
		if !ok || m.Type == quorum.MsgPing && o.ledger.fold(pos) != v.Digest {
			o.w.fail(26, "node %d says that the digest at %v is %x", n.id, v.Zxid, v.Digest)
		}
		if m.Type == quorum.MsgPong && !n.app.bent && o.w.bent == 0 && o.ledger.fold(pos) != v.Digest {
			o.w.fail(26, "node %d reports a wrong digest at %v", n.id, v.Zxid)
		}
	}
}

// readsInDoubt: 26, no read is answered from a state in doubt.
func (o *observer) readsInDoubt(n *node, r *quorum.Ready) {
	if len(r.Reads) > 0 && r.Soft.Doubt != quorum.DoubtNone {
		o.w.fail(26, "node %d answers a read while its state is in doubt", n.id)
	}
}

// outcome is what a client hears of its write when its home has applied it:
// nothing is answered from a state in doubt.
func (n *node) outcome() outcome {
	if n.core.Soft().Doubt != quorum.DoubtNone {
		return writeUnknown
	}
	return writeApplied
}

// unfound says whether a wrong state has not been found yet, or is disputed
// still.
func (n *node) unfound() bool {
	return n.core != nil && (n.app.bent && !n.lost() || n.soft.Doubt == quorum.DoubtDisputed)
}

// unseen says whether a state was made wrong after its node had reported it: it
// is found when the state has moved on, so somebody has to write.
func (w *World) unseen() bool {
	return slices.ContainsFunc(w.nodes[1:], func(n *node) bool { return n.core != nil && n.app.bent && !n.lost() && n.rested })
}

// undecidable says whether a dispute must wait for an operator: a voter that
// could decide it lacks what only a snapshot would bring, and a snapshot of a
// disputed state is no witness.
func (w *World) undecidable() bool {
	start := quorum.Zxid(0)
	for _, n := range w.nodes[1:] {
		if n.soft.Doubt == quorum.DoubtDisputed && n.soft.State == quorum.StateLeading {
			start = n.disk.img.hist.Start()
		}
	}
	for _, n := range w.nodes[1:] {
		if start > 0 && n.disk.img.hist.Last() < start {
			return true
		}
	}
	return false
}

// doubts says whether the nodes named stand so to their own states.
func (s *Schedule) doubts(args []string) bool {
	want := map[string]quorum.Doubt{
		"stopped": quorum.DoubtRebuild, "disputed": quorum.DoubtDisputed, "sound": quorum.DoubtNone,
	}[args[0]]
	for _, a := range args[1:] {
		n, err := s.node(a)
		if err != nil || n.core == nil || n.core.Soft().Doubt != want {
			return false
		}
	}
	return true
}
