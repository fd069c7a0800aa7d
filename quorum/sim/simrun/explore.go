package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"perch/quorum/sim"
)

// states is a set of states that several walks have seen.
type states struct {
	shards [64]struct {
		mu   sync.Mutex
		seen map[uint64]struct{} // guarded by mu
	}
}

// first adds a state and says whether it was not there.
func (s *states) first(state uint64) bool {
	shard := &s.shards[state%uint64(len(s.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.seen == nil {
		shard.seen = map[uint64]struct{}{}
	}
	before := len(shard.seen)
	shard.seen[state] = struct{}{}
	return len(shard.seen) > before
}

const (
	leap       = 20     // after so many new states a walk goes back to a random place
	walkStates = 20_000 // many walks see more different things than a long one
)

// walkOf is the walk of a number. In those with odd ones a leader renews its
// epoch in place after each write.
func walkOf(s settings, number uint64) sim.ExploreOptions {
	opt := sim.ExploreOptions{Seed: number, States: min(walkStates, s.states), Bounds: sim.TinyWorld, Leap: leap, Mutant: s.mutant}
	opt.Bounds.Renew = int(number % 2)
	return opt
}

// explore walks a tiny world again and again, each time in another order, until
// so many distinct states were seen. Its last line is
// "explore: N distinct states, depth N, N violations".
func explore(s settings, out io.Writer) int {
	var all states
	var mu sync.Mutex // guards the rest
	var sum sim.Exploration
	next, failed := s.first, uint64(0)
	more := func() (walk uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, sum.New < s.states && failed == 0
	}
	done := func(walk uint64, r *sim.Exploration) {
		mu.Lock()
		defer mu.Unlock()
		sum.New, sum.Steps = sum.New+r.New, sum.Steps+r.Steps
		sum.Depth, sum.Epochs = max(sum.Depth, r.Depth), max(sum.Epochs, r.Epochs)
		if r.Failure == nil {
			return
		}
		failed++
		fmt.Fprintf(out, "walk %d: %v\n", walk, r.Failure)
		for _, action := range r.Path {
			fmt.Fprintf(out, "  %s\n", action)
		}
		fmt.Fprintf(out, "  replay: bin/simrun -explore -workers 1 -first %d -v\n", walk)
	}
	began := time.Now()
	var group sync.WaitGroup
	for range max(1, s.workers) {
		group.Go(func() {
			for {
				walk, ok := more()
				if !ok {
					return
				}
				opt := walkOf(s, walk)
				opt.First = all.first
				if s.verbose {
					opt.Out = out
				}
				r := sim.Explore(opt)
				done(walk, &r)
			}
		})
	}
	group.Wait()
	b := sim.TinyWorld
	fmt.Fprintf(out, "3 nodes, %d writes, %d crashes, %d elections, %d roles given up; up to %d epochs on a way; %d actions tried in %.0f s\n",
		b.Writes, b.Crashes, b.Elections, b.GiveUps, sum.Epochs, sum.Steps, time.Since(began).Seconds())
	fmt.Fprintf(out, "explore: %d distinct states, depth %d, %d violations\n", sum.New, sum.Depth, failed)
	return exitCode(failed)
}
