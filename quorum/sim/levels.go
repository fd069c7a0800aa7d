package sim

import "perch/quorum"

// Programs of two ages work in one cluster (RULES.md R6): an old one knows level
// 1, a new one level 2. What a command means depends on the level of the state at
// its position, never on the program; a program that meets a level that it does
// not know stops.

const (
	oldLevel uint32 = 1
	newLevel uint32 = 2
)

// drawLevel says which program the node starts with: its operator replaces old
// ones as time goes by, and sometimes goes back.
func (n *node) drawLevel() {
	switch r := &n.rng; {
	case !n.w.faults.levels || n.level == 0:
		n.level = newLevel
		if n.w.faults.levels && r.chance(300) {
			n.level = oldLevel
		}
	case n.outdated:
		n.level = newLevel
	case n.w.healed:
	case n.level == oldLevel && r.chance(500):
		n.level = newLevel
	case n.level == newLevel && r.chance(200):
		n.level = oldLevel
	}
	n.outdated = false
	n.knew = n.knew || n.level == newLevel
}

// tooNew ends a life whose program does not know the level of the state; the
// operator starts a newer one next time.
func (n *node) tooNew(level uint32) bool {
	if level <= n.level {
		return false
	}
	n.w.note("%d stops: the cluster speaks level %d, this program knows %d; start a newer one", n.id, level, n.level)
	n.outdated = true
	return true
}

// level is what a program must know to apply such a command.
func (k writeKind) level() uint32 {
	if k == writeRaises || k == writeNew {
		return newLevel
	}
	return oldLevel
}

// raise is the keeper's part: a leader proposes the higher level once every
// member has reported that it knows it.
func (n *node) raise() {
	k := &n.keeper
	if !n.w.faults.levels || n.app.level >= newLevel || n.level < newLevel || k.raised {
		return
	}
	for _, p := range n.core.Peers() {
		if p.Level < newLevel && n.w.opt.Mutant != "raise-early" {
			return
		}
	}
	k.raised = true
	n.w.obs.check28Raise(n)
	n.w.note("%d raises the level to %d", n.id, newLevel)
	n.w.clients.put(n, write{kind: writeRaises})
}

// check28Raise: R6, no level is proposed that a member's program never knew.
func (o *observer) check28Raise(n *node) {
	for _, p := range o.w.nodes[1:] {
		if p.life > 0 && !p.knew {
			o.w.fail(28, "leader %d raises the level to %d, which no program of node %d has known", n.id, newLevel, p.id)
		}
	}
}

// check28: R6, a command of a level comes after that level was raised.
func (o *observer) check28(n *node, e *quorum.Entry, kind writeKind) {
	if kind == writeNew && n.app.level < newLevel {
		o.w.fail(28, "node %d applies %v, a command of level %d, at level %d", n.id, e.Zxid, newLevel, n.app.level)
	}
}

// kindOf says what the entry behind a position is about.
func (w *World) kindOf(e *quorum.Entry) writeKind {
	if number := writeOf(e); number >= 0 && number < len(w.clients.writes) {
		return w.clients.writes[number].kind
	}
	return writePlain
}
