package sim

// drift gives the node a clock of its own: fast or slow by at most that, in
// permille (A8).
func (n *node) drift(most int64) {
	n.rate = 1000 + n.rng.between(-most, most)
	n.tickEvery = n.tickEvery * 1000 / n.rate
}

// fastest is the rate of the fastest clock, in permille.
func (w *World) fastest() int64 {
	rate := int64(1000)
	for _, n := range w.nodes[1:] {
		rate = max(rate, n.rate)
	}
	return rate
}

// shortest is how long a time to live lasts at least: it passes on the clock of
// a leader, which may be the fastest.
func (w *World) shortest(ttlMs int64) int64 { return ttlMs * millisecond * 1000 / w.fastest() }
