// Command simrun plays seeds of the simulator and says which fail. Its last
// line is "sim: N seeds, N failures, N seeds/min"; it exits with 1 when a seed
// failed. With -sweep it plays all crash points of the stories, and with -same
// it compares traces of seeds played twice; with -explore it walks a tiny world.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"perch/quorum/sim"
)

type settings struct {
	seeds, first, seed uint64
	nodes, workers     int
	mutant, schedule   string
	verbose, shrink    bool
	stop               bool
	same, sweep        bool
	explore            bool
	states             int
	stories            uint64
	story              int64
	point              string
}

func main() {
	var s settings
	flag.Uint64Var(&s.seeds, "seeds", 1000, "how many seeds to play")
	flag.Uint64Var(&s.first, "first", 1, "the first seed")
	flag.Uint64Var(&s.seed, "seed", 0, "play this seed alone and print its transcript if it fails")
	flag.IntVar(&s.nodes, "nodes", 0, "nodes in the cluster; 0: the seed decides")
	flag.IntVar(&s.workers, "workers", runtime.GOMAXPROCS(0), "seeds played at once")
	flag.StringVar(&s.mutant, "mutant", "", "put this bug into the simulated driver")
	flag.StringVar(&s.schedule, "schedule", "", "play the directed schedule in this file alone")
	flag.BoolVar(&s.verbose, "v", false, "print the transcript of a single seed or schedule in any case")
	flag.BoolVar(&s.shrink, "shrink", true, "print a failing single seed as short as it can be made; false: as it is")
	flag.BoolVar(&s.stop, "stop", false, "stop at the first failure")
	flag.BoolVar(&s.same, "same", false, "play every seed twice, on one processor and on two, and compare")
	flag.BoolVar(&s.sweep, "sweep", false, "play the stories of the crash sweep instead of seeds")
	flag.BoolVar(&s.explore, "explore", false, "walk the states of a tiny world instead of seeds")
	flag.IntVar(&s.states, "states", 1_000_000, "how many distinct states to walk")
	flag.Uint64Var(&s.stories, "stories", 200, "how many stories to sweep")
	flag.Int64Var(&s.story, "story", -1, "play this story alone, with its transcript")
	flag.StringVar(&s.point, "point", "", "… and with this crash, as NODE:PLACE:KEPT")
	flag.Parse()
	collectLess()
	os.Exit(run(s, os.Stdout))
}

// collectLess trades memory, of which a run needs little, for a quarter of the
// time. GOGC has its way.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

func run(s settings, out io.Writer) int {
	switch {
	case s.sweep && s.story >= 0:
		return onePoint(s, out)
	case s.sweep:
		return sweep(s, out)
	case s.schedule != "":
		return directed(s, out)
	case s.explore:
		return explore(s, out)
	case s.same:
		return same(s, out)
	case s.seed != 0:
		return one(s, out)
	}
	return many(s, out)
}

// directed plays a schedule.
func directed(s settings, out io.Writer) int {
	text, err := os.ReadFile(s.schedule)
	if err == nil {
		transcript := io.Writer(nil)
		if s.verbose {
			transcript = out
		}
		err = sim.RunSchedule(string(text), transcript)
	}
	if err != nil {
		fmt.Fprintf(out, "schedule fails: %v\n", err)
		return 1
	}
	fmt.Fprintln(out, "schedule holds")
	return 0
}

// one plays a single seed with a transcript.
func one(s settings, out io.Writer) int {
	opt := sim.Options{Seed: s.seed, Nodes: s.nodes, Mutant: s.mutant}
	if s.verbose {
		opt.Out = out
	}
	r := sim.Run(opt)
	if r.Failure != nil && !s.verbose {
		if s.shrink {
			sim.Shrink(opt, out)
		} else {
			opt.Out = out
			sim.Run(opt)
		}
	}
	fmt.Fprintf(out, "seed %d: %d nodes, %d events, %d ms, %d committed in %d epochs, trace %016x\n",
		r.Seed, r.Nodes, r.Events, r.Virtual/1000, r.Committed, r.Epochs, r.Trace)
	if r.Failure != nil {
		fmt.Fprintf(out, "seed %d fails: %v\n", r.Seed, r.Failure)
		return 1
	}
	return 0
}

// many plays a range of seeds on several workers.
func many(s settings, out io.Writer) int {
	var next, played, failed atomic.Uint64
	var mu sync.Mutex
	var healed []int64 // guarded by mu
	began := time.Now()
	var group sync.WaitGroup
	for range max(1, s.workers) {
		group.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= s.seeds || s.stop && failed.Load() > 0 {
					return
				}
				r := sim.Run(sim.Options{Seed: s.first + i, Nodes: s.nodes, Mutant: s.mutant})
				played.Add(1)
				if r.Failure == nil {
					mu.Lock()
					healed = append(healed, r.Healed)
					mu.Unlock()
					continue
				}
				failed.Add(1)
				mu.Lock()
				fmt.Fprintf(out, "seed %d (%d nodes) fails: %v\n  replay: make sim SEED=%d%s\n", r.Seed, r.Nodes, r.Failure, r.Seed, nodesFlag(s.nodes))
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if n := len(healed); n > 0 {
		slices.Sort(healed)
		fmt.Fprintf(out, "in sync after the faults: median %d ms, 99%% within %d ms, worst %d ms\n",
			healed[n/2]/1000, healed[n*99/100]/1000, healed[n-1]/1000)
	}
	rate := float64(played.Load()) / time.Since(began).Minutes()
	fmt.Fprintf(out, "sim: %d seeds, %d failures, %.0f seeds/min\n", played.Load(), failed.Load(), rate)
	if failed.Load() > 0 {
		return 1
	}
	return 0
}

func nodesFlag(nodes int) string {
	if nodes == 0 {
		return ""
	}
	return fmt.Sprintf(" NODES=%d", nodes)
}
