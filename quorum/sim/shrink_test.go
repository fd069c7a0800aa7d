package sim

import (
	"strings"
	"testing"
)

// TestShrink: a failing seed becomes less than half as long, still fails by the
// same assertion, says what was left out, and does so again when asked again.
func TestShrink(t *testing.T) {
	full, shrunk := 0, 0
	for _, mutant := range []string{"lost-fsync", "promise-to-all", "ack-ahead"} {
		opt := Options{Seed: failingSeed(t, mutant), Mutant: mutant}
		var long, short, again strings.Builder
		opt.Out = &long
		first := Run(opt)
		r := Shrink(opt, &short)
		Shrink(opt, &again)
		if r.Failure == nil || class(r.Failure) != class(first.Failure) {
			t.Errorf("%s, seed %d: %v; shrunk: %v", mutant, opt.Seed, first.Failure, r.Failure)
		}
		if short.String() != again.String() {
			t.Errorf("%s, seed %d: two shrunk transcripts", mutant, opt.Seed)
		}
		if !strings.HasPrefix(short.String(), "# seed ") || !strings.Contains(short.String(), "\n# left out: ") ||
			!strings.Contains(short.String(), "VIOLATION") {
			t.Errorf("%s, seed %d: %.300s", mutant, opt.Seed, short.String())
		}
		full += strings.Count(long.String(), "\n")
		shrunk += strings.Count(short.String(), "\n")
	}
	if shrunk*2 > full {
		t.Errorf("transcripts of %d lines were shrunk to %d", full, shrunk)
	}
}

func failingSeed(t *testing.T, mutant string) uint64 {
	t.Helper()
	for seed := uint64(1); seed <= 300; seed++ {
		if Run(Options{Seed: seed, Mutant: mutant}).Failure != nil {
			return seed
		}
	}
	t.Fatalf("no seed finds %s", mutant)
	return 0
}

// TestShrinkOfASoundSeed: nothing is printed of a seed that does not fail.
func TestShrinkOfASoundSeed(t *testing.T) {
	var out strings.Builder
	if r := Shrink(Options{Seed: 1}, &out); r.Failure != nil || out.Len() > 0 {
		t.Errorf("%v: %s", r.Failure, out.String())
	}
}

// TestCutChangesOnlyWhatIsLeftOut: without its last strike a run is the same up
// to that strike.
func TestCutChangesOnlyWhatIsLeftOut(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		var whole, cut strings.Builder
		r := Run(Options{Seed: seed, Out: &whole})
		if r.Strikes == 0 {
			continue
		}
		last := 0
		for i, at := range r.strikes {
			if at >= r.strikes[last] {
				last = i
			}
		}
		Run(Options{Seed: seed, Out: &cut, Cut: &Cut{Strikes: map[int]bool{last: true}}})
		before := func(text string) string {
			var lines []string
			for line := range strings.Lines(text) {
				if line >= clock(r.strikes[last]) {
					break
				}
				lines = append(lines, line)
			}
			return strings.Join(lines, "")
		}
		if a, b := before(whole.String()), before(cut.String()); a != b || a == "" {
			t.Errorf("seed %d: the run differs before its last strike at %s", seed, clock(r.strikes[last]))
		}
	}
}

// TestEveryFaultHasAName: the header of a shrunk transcript names what strikes.
func TestEveryFaultHasAName(t *testing.T) {
	for k, name := range faultNames {
		if name == "" {
			t.Errorf("fault %d has no name", k)
		}
	}
}
