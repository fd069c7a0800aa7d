package sim

// rng is a splitmix64 generator: the only source of chance in a run.
type rng struct{ state uint64 }

func (r *rng) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	return scramble(r.state)
}

func scramble(z uint64) uint64 {
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// fork gives a generator of its own to a part of the world, so that drawing
// more in one part does not move all others.
func (r *rng) fork() rng { return rng{state: r.next()} }

// below draws from [0, n); 0 when n is not positive.
func (r *rng) below(n int) int {
	if n <= 0 {
		return 0
	}
	return int((r.next() >> 32) * uint64(n) >> 32)
}

// between draws from [lo, hi].
func (r *rng) between(lo, hi int64) int64 {
	if hi <= lo {
		return lo
	}
	return lo + int64(r.next()%uint64(hi-lo+1))
}

// chance is true in permille of 1000 cases.
func (r *rng) chance(permille int) bool {
	return permille > 0 && r.below(1000) < permille
}

// around draws a duration near mean with a long tail: mostly mean/2 to 3/2
// mean, sometimes up to six times that.
func (r *rng) around(mean int64) int64 {
	d := r.between(mean/2, mean*3/2)
	if r.below(8) == 0 {
		d *= r.between(1, 4)
	}
	return d
}

// pick draws one of the values.
func pick[T any](r *rng, values ...T) T { return values[r.below(len(values))] }

// mix folds v into the running hash h.
func mix(h, v uint64) uint64 { return scramble(h ^ (v + 0x9e3779b97f4a7c15 + h<<6)) }
