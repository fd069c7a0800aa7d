package sim

import "perch/quorum"

// kept is how many events a state remembers, so that a watcher may come back.
const kept = 16

// watcher is a client that follows every change through some node. Its cursor is
// what it has seen; it survives the node (RULES.md R24, R25).
type watcher struct {
	home    quorum.NodeID
	pos     int // cursor, as a position of the ledger
	expired int // times that the history began behind it
}

// watchers are as many as nodes.
type watchers struct {
	w    *World
	rng  rng
	list []watcher
}

func newWatchers(w *World) watchers {
	t := watchers{w: w, rng: w.rng.fork()}
	for _, n := range w.nodes[1:] {
		t.list = append(t.list, watcher{home: n.id})
	}
	return t
}

// wake serves the watchers of a node whose state has changed: by an entry, a
// snapshot, or a start.
func (t *watchers) wake(n *node) {
	for i := range t.list {
		if t.list[i].home == n.id {
			t.serve(n, &t.list[i])
		}
	}
}

// serve gives a watcher what the node's state remembers behind the cursor. A
// cursor ahead of the state waits; one that the history has lost begins anew.
func (t *watchers) serve(n *node, who *watcher) {
	a := &n.app
	if who.pos > a.pos {
		return
	}
	if who.pos < a.pos-kept {
		who.expired++
		who.pos = a.pos
		return
	}
	from := who.pos
	if t.w.opt.Mutant == "watch-resume" && who.home == n.id && from > 0 && a.pos-from > 1 {
		from--
	}
	for pos := from + 1; pos <= a.pos; pos++ {
		t.check27(n, who, pos, a.events[pos%kept])
	}
}

// check27: the events that a watcher gets are the committed ones, none missing
// and none twice, wherever it came from.
func (t *watchers) check27(n *node, who *watcher, pos int, got quorum.Zxid) {
	next := who.pos + 1
	want := quorum.Zxid(0)
	if next <= t.w.obs.ledger.len() {
		want, _ = t.w.obs.ledger.at(next)
	}
	if pos != next || got != want {
		t.w.fail(27, "a watcher at node %d has seen %d events and gets that of %v; the next is %v", n.id, who.pos, got, want)
	}
	who.pos = next
}

// left sends some of a dead node's watchers to others; the rest wait for it.
func (t *watchers) left(n *node) {
	for i := range t.list {
		if t.list[i].home == n.id && (n.lost() || t.rng.chance(500)) {
			t.move(&t.list[i])
		}
	}
}

// move takes a watcher to a living node.
func (t *watchers) move(who *watcher) {
	first := t.rng.below(len(t.w.nodes) - 1)
	for i := range len(t.w.nodes) - 1 {
		n := t.w.nodes[1+(first+i)%(len(t.w.nodes)-1)]
		if n.core != nil && !n.paused {
			who.home = n.id
			t.serve(n, who)
			return
		}
	}
}

// behind says which watcher of a sound node has not seen everything; false when
// there is none.
func (t *watchers) behind() (home quorum.NodeID, pos int, ok bool) {
	for i := range t.list {
		who := &t.list[i]
		if t.w.nodes[who.home].away() {
			t.move(who)
		}
		if !t.w.nodes[who.home].away() && who.pos != t.w.obs.ledger.len() {
			return who.home, who.pos, true
		}
	}
	return 0, 0, false
}
