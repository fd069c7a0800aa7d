package sim

import (
	"testing"

	"perch/quorum"
)

// partial is a network in which not everybody sees everybody, for long.
type partial struct {
	name  string
	nodes int
	cut   func(w *World, until int64, r *rng)
}

var partials = []partial{
	{"one of three sees both others", 3, func(w *World, until int64, r *rng) { w.bridge(someID(w, r), until) }},
	{"one of five sees all others", 5, func(w *World, until int64, r *rng) { w.bridge(someID(w, r), until) }},
	{"two of five do not see each other", 5, func(w *World, until int64, r *rng) {
		a, b := 1+r.below(5), 1+r.below(5)
		w.net.links[a][b].cut, w.net.links[b][a].cut = until, until
	}},
	{"a ring of five", 5, func(w *World, until int64, r *rng) { w.ring(until) }},
	{"one does not hear another", 3, func(w *World, until int64, r *rng) {
		w.net.links[1+r.below(3)][1+r.below(3)].cut = until
	}},
}

func someID(w *World, r *rng) quorum.NodeID { return quorum.NodeID(1 + r.below(len(w.nodes)-1)) }

// TestNoElectionStorm: while a node that is connected to all others lets the
// cluster work, at most one new epoch begins in 10 s, whoever leads when the
// links fail (RELIABILITY.md A3); and writes go on.
func TestNoElectionStorm(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 8
	}
	const settled, cutFor = 2 * second, 30 * second
	for _, p := range partials {
		t.Run(p.name, func(t *testing.T) {
			for seed := uint64(1); seed <= seeds; seed++ {
				w := newWorld(Options{Seed: seed, Nodes: p.nodes, Observers: -1, Spares: -1})
				r := w.rng.fork()
				w.faults = faults{
					until: settled + cutFor, writes: 1 << 30, loss: pick(&r, 0, 0, 5), delay: pick[int64](&r, 300, 2000),
					fsync: pick[int64](&r, 300, 3000), submit: 50 * millisecond, snapsKept: 2,
					past: w.faults.past,
				}
				w.begin()
				w.playUntil(settled)
				p.cut(w, settled+cutFor, &r)
				epochs, committed := w.promised(), w.obs.ledger.len()
				w.playUntil(settled + cutFor)
				if n := w.promised() - epochs; n > 3 {
					t.Errorf("seed %d: %d epochs in 30 s", seed, n)
				}
				if n := w.obs.ledger.len() - committed; n < 200 {
					t.Errorf("seed %d: %d writes committed in 30 s", seed, n)
				}
				if w.failure != nil {
					t.Errorf("seed %d: %v", seed, w.failure)
				}
			}
		})
	}
}

// playUntil plays up to a time.
func (w *World) playUntil(end int64) {
	for w.failure == nil && len(w.queue.heap) > 0 && w.queue.heap[0].at <= end {
		e, _ := w.queue.pop()
		w.step(&e)
	}
}

// promised is the highest epoch that a disk has promised.
func (w *World) promised() (e quorum.Epoch) {
	for _, n := range w.nodes[1:] {
		e = max(e, n.disk.img.control.AcceptedEpoch)
	}
	return e
}
