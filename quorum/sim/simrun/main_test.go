package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// TestSameTrace: assertion 22 of ZAB.md section 6. One seed has one trace,
// however many processors and workers there are.
func TestSameTrace(t *testing.T) {
	s := settings{first: 1, seeds: 200}
	if testing.Short() {
		s.seeds = 20
	}
	if os.Getenv("PERCH_SOAK") != "" {
		s.seeds = 1000
	}
	var out strings.Builder
	if same(s, &out) != 0 {
		t.Error(out.String())
	}
	t.Log(strings.TrimSpace(out.String()))
}

// TestSameTraceBites: traces of other seeds are other traces.
func TestSameTraceBites(t *testing.T) {
	a, b := traces(settings{first: 1, seeds: 5}, 1), traces(settings{first: 2, seeds: 4}, 2)
	for i, trace := range b {
		if trace != a[i+1] || trace == a[i] {
			t.Errorf("traces %x, from the second seed on %x", a, b)
		}
	}
}

// TestExitCodes: what fails ends with 1, and says how it is played again.
func TestExitCodes(t *testing.T) {
	var out strings.Builder
	bad := settings{first: 1, seeds: 20, workers: 2, mutant: "send-before-fsync"}
	if many(bad, &out) != 1 || !strings.Contains(out.String(), "replay: make sim SEED=") {
		t.Errorf("a bug, and no failure:\n%s", out.String())
	}
	var seed uint64
	if _, err := fmt.Sscanf(out.String(), "seed %d ", &seed); err != nil {
		t.Errorf("the first line names no seed: %v", err)
	}
	if one(settings{seed: seed}, io.Discard) != 0 || one(settings{seed: seed, mutant: bad.mutant}, io.Discard) != 1 {
		t.Errorf("seed %d alone ends with the wrong code", seed)
	}
	if onePoint(settings{story: 3, point: "1:4:lost"}, io.Discard) != 0 || onePoint(settings{story: 3, point: "1:4:melted"}, io.Discard) != 1 {
		t.Error("a single crash point ends with the wrong code")
	}
	out.Reset()
	if sweep(settings{stories: 1, workers: 1}, &out) != 0 || !strings.HasPrefix(out.String(), "sweep: 1 stories, ") {
		t.Errorf("a sweep of one story: %s", out.String())
	}
}

// TestExplore: walks share what they have seen, and a bug ends with 1 and with
// the way to it.
func TestExplore(t *testing.T) {
	var out strings.Builder
	s := settings{explore: true, states: 100, workers: 2, first: 1}
	if run(s, &out) != 0 || !strings.Contains(out.String(), " distinct states, depth ") || !strings.Contains(out.String(), ", 0 violations") {
		t.Errorf("100 states: %s", out.String())
	}
	out.Reset()
	s = settings{explore: true, states: 60_000, workers: 1, first: 0, mutant: "ack-ahead", verbose: true}
	if run(s, &out) != 1 || !strings.Contains(out.String(), "VIOLATION") || !strings.Contains(out.String(), "replay: ") {
		t.Errorf("a bug: %s", out.String())
	}
}
