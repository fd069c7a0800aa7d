package sim

import (
	"slices"

	"perch/quorum"
)

// strike is one fault that happens at a time. All strikes of a seed are drawn
// before the run begins, and each has a source of chance of its own: one can be
// left out and the others stay what they are.
type strike struct {
	kind faultKind
	at   int64
	rng  rng
}

// armFaults draws the strikes of the seed and schedules them.
func (w *World) armFaults() {
	for k := range faultKinds {
		w.drawStrikes(k, rng{state: mix(w.strikeSeed, uint64(k))})
	}
	for i := range w.strikes {
		if !w.opt.Cut.skips(i) {
			w.at(event{at: w.opt.Cut.strikeAt(w.strikes[i].at), kind: evFault, num: uint64(i)})
		}
	}
	w.at(event{at: w.opt.Cut.calmAt(w.faults.until), kind: evCalm})
}

func (w *World) drawStrikes(k faultKind, r rng) {
	mean := w.faults.every[k]
	if mean == 0 {
		return
	}
	for at := r.around(mean); at < w.faults.until; at += r.around(mean) {
		w.strikes = append(w.strikes, strike{kind: k, at: at, rng: r.fork()})
	}
}

// strike lets one fault happen.
func (w *World) strike(s *strike) {
	if w.healed {
		return
	}
	r := s.rng
	n := w.nodes[1+r.below(len(w.nodes)-1)]
	switch s.kind {
	case faultCrash:
		n.crashIn = r.below(40)
	case faultCrashAll:
		w.crashAll(&r)
	case faultStorm:
		w.storm(n, &r)
	case faultPause:
		w.pause(n, r.around(pick(&r, 20*millisecond, 150*millisecond, 700*millisecond, max(w.faults.pauseMax, 20*millisecond))))
	case faultFreeze:
		w.freeze(n, r.around(pick(&r, 300*millisecond, 2*second, 60*second)))
	case faultHint:
		other := quorum.NodeID(1 + r.below(len(w.nodes)-1))
		n.take(&event{kind: evHint, from: other, num: uint64(r.below(2))})
	case faultStepDown:
		w.stepDown(n)
	case faultTransfer:
		w.transfer(quorum.NodeID(r.below(len(w.nodes))))
	case faultWall:
		n.skewMs = r.between(-3_600_000, 3_600_000)
	case faultMembers:
		w.operate(n, &r)
	case faultBend:
		w.bend(n)
	case faultWipe, faultWipeEarly, faultRot, faultFull, faultImage, faultRestore:
		w.strikeDisk(s.kind, n, &r)
	default:
		w.strikeNetwork(s.kind, n, &r)
	}
}

func (w *World) crashAll(r *rng) {
	w.note("all crash")
	how := pick(r, keepSome, keepNone, keepAll, keepTorn)
	for _, n := range w.nodes[1:] {
		w.stop(n, how)
	}
}

// storm kills one node, or all, again and again in a short time, mostly in the
// middle of what a start does (A9).
func (w *World) storm(n *node, r *rng) {
	struck := []*node{n}
	if r.chance(400) {
		struck = slices.Clone(w.nodes[1:])
	}
	times := 3 + r.below(pick(r, 3, 30))
	w.note("%d starts in a row end in a crash, of %d nodes", times, len(struck))
	for _, n := range struck {
		n.storm = times
		w.stop(n, keepSome)
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
	r := &n.rng
	mean := pick(r, 1*millisecond, 30*millisecond, 400*millisecond)
	if n.storm > 0 {
		mean = 2 * millisecond
	}
	w.at(event{at: w.now + r.around(mean), kind: evStart, node: n.id})
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

// freeze stops a node's monotonic clock: its process works, and no time passes
// for it (A8).
func (w *World) freeze(n *node, long int64) {
	if n.core == nil || w.now < n.frozen {
		return
	}
	w.note("the clock of %d stands still for %d ms", n.id, long/millisecond)
	n.frozen = w.now + long
}

// transfer asks every node that says it leads to give way: to a node, or to
// whom it likes.
func (w *World) transfer(to quorum.NodeID) {
	for _, n := range w.nodes[1:] {
		if n.core == nil || n.paused || n.soft.State != quorum.StateLeading {
			continue
		}
		err := n.core.Transfer(to)
		w.note("%d is told to give way to %d: %v", n.id, to, err)
		w.obs.look(n)
		n.pump()
	}
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
		w.at(event{at: w.now + n.rng.between(0, 50*millisecond), kind: evStop, node: n.id, life: n.life})
	}
}
