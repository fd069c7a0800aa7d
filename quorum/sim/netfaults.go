package sim

import "perch/quorum"

func (w *World) strikeNetwork(k faultKind, n *node, r *rng) {
	t := &w.net
	other := quorum.NodeID(1 + r.below(len(w.nodes)-1))
	until := w.now + r.around(pick(r, 50*millisecond, 300*millisecond, 1*second))
	switch k {
	case faultCut:
		w.cutHalves(until, r)
	case faultOneWay:
		w.note("nothing from %d reaches %d for %d ms", n.id, other, (until-w.now)/millisecond)
		t.links[n.id][other].cut = until
	case faultIsolate:
		w.note("%d is alone for %d ms", n.id, (until-w.now)/millisecond)
		for i := 1; i < len(w.nodes); i++ {
			t.links[n.id][i].cut, t.links[i][n.id].cut = until, until
		}
	case faultBridge:
		w.bridge(n.id, until)
	case faultRing:
		w.ring(until)
	case faultFlap:
		w.flap(n.id, other, r)
	case faultGap:
		t.links[n.id][other].gap = 1 + r.below(pick(r, 2, 8, 40))
	case faultClog:
		t.links[n.id][other].clog = w.now + r.around(pick(r, 50*millisecond, 300*millisecond, 1*second, 5*second))
	case faultReset:
		t.reset(n.id, other, r.around(20*millisecond))
	case faultReplay:
		for range 1 + r.below(5) {
			t.replay(n.id, other, r)
		}
	}
}

// cutHalves parts the nodes into two groups.
func (w *World) cutHalves(until int64, r *rng) {
	side := r.next()
	for i := 1; i < len(w.nodes); i++ {
		for j := 1; j < len(w.nodes); j++ {
			if side>>i&1 != side>>j&1 {
				w.net.links[i][j].cut = until
			}
		}
	}
	w.note("cut in two for %d ms: side bits %b", (until-w.now)/millisecond, side>>1&(1<<(len(w.nodes)-1)-1))
}

// bridge leaves only links from and to one node.
func (w *World) bridge(hub quorum.NodeID, until int64) {
	w.note("only %d sees the others for %d ms", hub, (until-w.now)/millisecond)
	for i := 1; i < len(w.nodes); i++ {
		for j := 1; j < len(w.nodes); j++ {
			if i != int(hub) && j != int(hub) {
				w.net.links[i][j].cut = until
			}
		}
	}
}

// ring leaves each node only its two neighbours by number. Of three nodes all
// are neighbours; there it is a line.
func (w *World) ring(until int64) {
	count := len(w.nodes) - 1
	w.note("everybody sees only its neighbours for %d ms", (until-w.now)/millisecond)
	for i := 1; i <= count; i++ {
		for j := 1; j <= count; j++ {
			apart := max(i-j, j-i)
			if apart > 1 && (count == 3 || apart < count-1) {
				w.net.links[i][j].cut = until
			}
		}
	}
}

// flap has a link, or all links of a node, fail and come back several times.
func (w *World) flap(n, other quorum.NodeID, r *rng) {
	period := r.between(50*millisecond, pick(r, 100*millisecond, 500*millisecond, 10*second))
	times := 2 + r.below(10)
	if n == other {
		other = 0
	}
	w.note("links of %d to %d (0: all) flap every %d ms, %d times", n, other, period/millisecond, times)
	for i := range times {
		w.at(event{at: w.now + int64(i)*period, kind: evFlap, node: n, from: other, num: uint64(w.now + int64(i)*period + period/2)})
	}
}

// flapped closes both directions until e.num.
func (w *World) flapped(e *event) {
	if w.healed {
		return
	}
	for i := 1; i < len(w.nodes); i++ {
		if e.from == 0 || int(e.from) == i {
			w.net.links[e.node][i].cut, w.net.links[i][e.node].cut = int64(e.num), int64(e.num)
		}
	}
}
