package sim

import "perch/quorum"

// armFaults schedules the first strike of every kind that the seed has.
func (w *World) armFaults() {
	for k := range faultKinds {
		w.armFault(k)
	}
	w.at(event{at: w.faults.until, kind: evCalm})
}

func (w *World) armFault(k faultKind) {
	mean := w.faults.every[k]
	if mean == 0 {
		return
	}
	if at := w.now + w.rng.around(mean); at < w.faults.until {
		w.at(event{at: at, kind: evFault, num: uint64(k)})
	}
}

// strike lets one fault happen and schedules the next of its kind.
func (w *World) strike(k faultKind) {
	if w.healed {
		return
	}
	w.armFault(k)
	r := &w.rng
	n := w.nodes[1+r.below(len(w.nodes)-1)]
	switch k {
	case faultCrash:
		n.crashIn = r.below(40)
	case faultCrashAll:
		w.note("all crash")
		how := pick(r, keepSome, keepNone, keepAll)
		for _, n := range w.nodes[1:] {
			w.stop(n, how)
		}
	case faultPause:
		w.pause(n, r.around(pick(r, 20*millisecond, 150*millisecond, 700*millisecond, max(w.faults.pauseMax, 20*millisecond))))
	case faultHint:
		other := quorum.NodeID(1 + r.below(len(w.nodes)-1))
		n.take(&event{kind: evHint, from: other, num: uint64(r.below(2))})
	case faultStepDown:
		w.stepDown(n)
	case faultWall:
		n.skewMs = r.between(-3_600_000, 3_600_000)
	case faultWipe:
		w.wipe(n)
	case faultWipeEarly:
		w.wipeEarly(n)
	default:
		w.strikeNetwork(k, n)
	}
}

func (w *World) strikeNetwork(k faultKind, n *node) {
	t, r := &w.net, &w.rng
	other := quorum.NodeID(1 + r.below(len(w.nodes)-1))
	until := w.now + r.around(pick(r, 50*millisecond, 300*millisecond, 1*second))
	switch k {
	case faultCut:
		w.cutHalves(until)
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
	case faultClog:
		t.links[n.id][other].clog = until
	case faultReset:
		t.reset(n.id, other, r.around(20*millisecond))
	case faultReplay:
		for range 1 + r.below(5) {
			t.replay(n.id, other)
		}
	}
}

// cutHalves parts the nodes into two groups.
func (w *World) cutHalves(until int64) {
	side := w.rng.next()
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

// stop kills a node and has it start again after a while.
func (w *World) stop(n *node, how survival) {
	if n.core == nil {
		return
	}
	n.crash(how)
	if w.script {
		return
	}
	r := &w.rng
	back := w.now + r.around(pick(r, 1*millisecond, 30*millisecond, 400*millisecond))
	w.at(event{at: back, kind: evStart, node: n.id})
	for _, p := range w.nodes[1:] {
		if p != n && p.core != nil && r.chance(300) {
			w.at(event{at: w.now + r.around(2000), kind: evHint, node: p.id, life: p.life, from: n.id})
		}
	}
}

func (w *World) pause(n *node, long int64) {
	if n.core == nil || n.paused {
		return
	}
	w.note("%d pauses for %d ms", n.id, long/millisecond)
	n.paused = true
	w.at(event{at: w.now + long, kind: evResume, node: n.id, life: n.life})
}

// stepDown is SIGTERM: the node hands over, and is gone a little later.
func (w *World) stepDown(n *node) {
	if n.core == nil || n.paused {
		return
	}
	w.note("%d is told to stop", n.id)
	n.core.StepDown()
	w.obs.look(n)
	n.pump()
	if n.core != nil {
		w.at(event{at: w.now + w.rng.between(0, 50*millisecond), kind: evStop, node: n.id, life: n.life})
	}
}

// wipe takes a node's disk away, once a run and only when the rest can go on
// without it.
func (w *World) wipe(n *node) {
	for _, p := range w.nodes[1:] {
		if p.wiped || !p.disk.img.control.Formed {
			return
		}
	}
	w.stop(n, keepNone)
	if n.core == nil {
		n.wipe()
	}
}

// wipeEarly takes a disk away before any store is formed, twice at most. The
// others may wait for its list for ever then, rightly: the remedy is to delete
// all directories (R8). What must not happen is that two clusters are formed.
func (w *World) wipeEarly(n *node) {
	if w.obs.cluster != (quorum.ClusterID{}) || w.early == 2 || !n.disk.exists {
		return
	}
	w.stop(n, keepSome)
	if w.obs.cluster != (quorum.ClusterID{}) {
		return // the crash has kept the record that forms it
	}
	w.early++
	n.w.note("%d loses its disk before a cluster is formed", n.id)
	n.disk = disk{}
	w.obs.peers[n.id].promised = map[quorum.Epoch]quorum.Promise{}
}
