package main

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"perch/quorum/sim"
)

// same plays every seed twice, once on one processor by one worker and once on
// two by three, and compares the traces. Its last line is
// "same: N seeds, N differ".
func same(s settings, out io.Writer) int {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	alone := traces(s, 1)
	runtime.GOMAXPROCS(2)
	together := traces(s, 3)
	differ := uint64(0)
	for i := range alone {
		if alone[i] != together[i] {
			differ++
			fmt.Fprintf(out, "seed %d: trace %016x on one processor, %016x on two\n", s.first+uint64(i), alone[i], together[i])
		}
	}
	fmt.Fprintf(out, "same: %d seeds, %d differ\n", len(alone), differ)
	return exitCode(differ)
}

// traces plays a range of seeds on several workers.
func traces(s settings, workers int) []uint64 {
	all := make([]uint64, s.seeds)
	var next atomic.Uint64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < s.seeds; i = next.Add(1) - 1 {
				all[i] = sim.Run(sim.Options{Seed: s.first + i, Nodes: s.nodes, Mutant: s.mutant}).Trace
			}
		})
	}
	group.Wait()
	return all
}
