package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"perch/quorum/sim"
)

// sweep plays every crash point of a range of stories. Its last line is
// "sweep: N stories, N crash points, N failures".
func sweep(s settings, out io.Writer) int {
	var next, points, failed atomic.Uint64
	var mu sync.Mutex
	began := time.Now()
	report := func(err error, replay string) {
		failed.Add(1)
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, "%v\n  replay: bin/simrun -sweep %s\n", err, replay)
	}
	var group sync.WaitGroup
	for range max(1, s.workers) {
		group.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= s.stories || s.stop && failed.Load() > 0 {
					return
				}
				found, err := sim.CrashPoints(i)
				if err != nil {
					report(err, fmt.Sprintf("-story %d", i))
				}
				for _, p := range found {
					points.Add(1)
					if err := sim.PlayCrash(p, nil); err != nil {
						report(err, fmt.Sprintf("-story %d -point %v", i, p))
					}
				}
			}
		})
	}
	group.Wait()
	fmt.Fprintf(out, "sweep: %d stories, %d crash points, %d failures, %.0f s\n",
		min(next.Load(), s.stories), points.Load(), failed.Load(), time.Since(began).Seconds())
	return exitCode(failed.Load())
}

// onePoint plays a single crash point, or a story without any, with a transcript.
func onePoint(s settings, out io.Writer) int {
	p, err := sim.CrashPoint{Story: uint64(s.story)}, error(nil)
	if s.point != "" {
		p, err = sim.ParseCrashPoint(p.Story, s.point)
	}
	if err == nil {
		err = sim.PlayCrash(p, out)
	}
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	return 0
}

func exitCode(failed uint64) int {
	if failed > 0 {
		return 1
	}
	return 0
}
