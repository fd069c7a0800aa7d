package sim

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"perch/quorum"
)

// TestSeeds plays a few hundred seeds; make sim plays thousands.
func TestSeeds(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 60
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		play(t, Options{Seed: seed})
	}
}

// TestRegressions plays the seeds that found bugs once. Their mixtures change
// when the simulator draws differently, so the bugs also have schedules.
func TestRegressions(t *testing.T) {
	text, err := os.ReadFile("testdata/regressions.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		var opt Options
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		if _, err := fmt.Sscan(line, &opt.Seed, &opt.Nodes); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		play(t, opt)
	}
}

func play(t *testing.T, opt Options) Report {
	t.Helper()
	r := Run(opt)
	if r.Failure != nil {
		t.Errorf("seed %d, %d nodes: %v", opt.Seed, r.Nodes, r.Failure)
	}
	return r
}

// TestSameSeedSameTrace: assertion 22.
func TestSameSeedSameTrace(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		a, b := Run(Options{Seed: seed}), Run(Options{Seed: seed})
		if a.Trace != b.Trace || a.Events != b.Events {
			t.Errorf("seed %d: %d events with trace %x, then %d with %x", seed, a.Events, a.Trace, b.Events, b.Trace)
		}
	}
	if Run(Options{Seed: 1}).Trace == Run(Options{Seed: 2}).Trace {
		t.Error("two seeds with one trace")
	}
}

// TestTranscriptChangesNothing: watching a run does not move it.
func TestTranscriptChangesNothing(t *testing.T) {
	var out strings.Builder
	quiet, watched := Run(Options{Seed: 5}), Run(Options{Seed: 5, Out: &out})
	if quiet.Trace != watched.Trace || out.Len() == 0 {
		t.Errorf("trace %x without a transcript, %x with one of %d bytes", quiet.Trace, watched.Trace, out.Len())
	}
}

// TestCodecChangesNothing: a run whose messages pass through the codec is the
// same run, so the codec carries everything that a core looks at.
func TestCodecChangesNothing(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		plain, coded := newWorld(Options{Seed: seed}), newWorld(Options{Seed: seed})
		plain.faults.wire, coded.faults.wire = false, true
		if a, b := plain.play(), coded.play(); a.Trace != b.Trace || b.Failure != nil {
			t.Errorf("seed %d: trace %x, through the codec %x: %v", seed, a.Trace, b.Trace, b.Failure)
		}
	}
}

// TestMutantsAreFound: each bug of a driver breaks an assertion within a few
// seeds, so the assertions are awake.
func TestMutantsAreFound(t *testing.T) {
	for _, m := range Mutants[:len(Mutants)-4] { // those of sessions and holds need their schedule
		t.Run(m, func(t *testing.T) {
			for seed := uint64(1); seed <= 300; seed++ {
				if r := Run(Options{Seed: seed, Mutant: m}); r.Failure != nil {
					t.Logf("seed %d: %v", seed, r.Failure)
					return
				}
			}
			t.Error("no seed finds it")
		})
	}
}

// TestRunsDoSomething: the mixtures reach what they are meant to reach.
func TestRunsDoSomething(t *testing.T) {
	var out strings.Builder
	committed, epochs := 0, 0
	for seed := uint64(1); seed <= 120; seed++ {
		r := Run(Options{Seed: seed, Out: &out})
		committed += r.Committed
		epochs += r.Epochs
	}
	if committed < 2000 || epochs < 100 {
		t.Errorf("%d committed in %d epochs", committed, epochs)
	}
	text := out.String()
	for _, want := range []string{
		" TRUNC ", " SNAP ", " DIFF ", "installs the snapshot", "purges its log", "crashes", "simulated: fsync failed",
		"loses its disk", "pauses", "cut in two", "REFUSE", "STEPDOWN", "ends with cause 1", "ends with cause 2",
		"only its neighbours", "flap", "is full", "stands still", "end in a crash", "while it starts", "sets its store aside",
		"raises the level", "start a newer one",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("120 seeds, and never %q", want)
		}
	}
}

// TestRenewalsWithoutElections: with an epoch of 16 counters and a calm network,
// an elected leader renews its epoch again and again and stays (ZAB.md 2.7).
func TestRenewalsWithoutElections(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		w := newWorld(Options{Seed: seed})
		until := w.faults.until
		w.faults = faults{until: until, snapsKept: 1, writes: 1 << 20}
		w.faults.calm()
		w.faults.submit, w.faults.read, w.faults.tuning.CounterLimit = 4*millisecond, 5*millisecond, 16
		r := w.play()
		if r.Failure != nil || r.Epochs != 1 || r.Renewals < r.Committed/16-1 || r.Renewals < 5 {
			t.Errorf("seed %d: %d committed, %d elections, %d renewals: %v", seed, r.Committed, r.Epochs, r.Renewals, r.Failure)
		}
	}
}

// TestQueueOrder: events come by time, then in the order of scheduling.
func TestQueueOrder(t *testing.T) {
	var q queue
	r := rng{state: 9}
	for i := range 2000 {
		q.push(event{at: int64(r.below(50)), num: uint64(i)})
		if r.below(3) == 0 {
			q.pop()
		}
	}
	last := event{at: -1}
	for {
		e, ok := q.pop()
		if !ok {
			return
		}
		if e.at < last.at || e.at == last.at && e.num < last.num {
			t.Fatalf("%d/%d after %d/%d", e.at, e.num, last.at, last.num)
		}
		last = e
	}
}

// TestImageReplay: a disk image refuses what could not be replayed.
func TestImageReplay(t *testing.T) {
	var im image
	first := quorum.Entry{Zxid: quorum.MakeZxid(1, 1), Kind: quorum.EntryCommand}
	first.Chain = quorum.ChainHash(0, &first)
	third := quorum.Entry{Zxid: quorum.MakeZxid(1, 3), Kind: quorum.EntryCommand}
	third.Chain = quorum.ChainHash(first.Chain, &third)
	forged := quorum.Entry{Zxid: quorum.MakeZxid(1, 2), Kind: quorum.EntryCommand, Chain: 1}
	for _, c := range []struct {
		rec quorum.Record
		ok  bool
	}{
		{quorum.Record{Type: quorum.RecordEntry, Entry: first}, true},
		{quorum.Record{Type: quorum.RecordEntry, Entry: third}, false},
		{quorum.Record{Type: quorum.RecordEntry, Entry: forged}, false},
		{quorum.Record{Type: quorum.RecordTruncate, Zxid: third.Zxid}, false},
		{quorum.Record{Type: quorum.RecordTruncate}, true},
		{quorum.Record{Type: 99}, false},
	} {
		if err := im.apply(&c.rec); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.rec, err)
		}
	}
}

// TestLedger compares its lookups with the obvious list.
func TestLedger(t *testing.T) {
	var l ledger
	var zs []quorum.Zxid
	for _, e := range []quorum.Epoch{1, 2, 5} {
		for c := uint32(1); c <= 4; c++ {
			z := quorum.MakeZxid(e, c)
			zs = append(zs, z)
			l.add(z, uint64(z)*3)
		}
	}
	for i, z := range zs {
		if pos, ok := l.find(z); !ok || pos != i+1 || !l.has(z, uint64(z)*3) || l.has(z, 1) {
			t.Errorf("%v: position %d, %v", z, pos, ok)
		}
	}
	for _, z := range []quorum.Zxid{quorum.MakeZxid(1, 5), quorum.MakeZxid(3, 1), quorum.MakeZxid(9, 1)} {
		if _, ok := l.find(z); ok {
			t.Errorf("%v found", z)
		}
	}
	for e, want := range []int{0, 0, 4, 8, 8, 8, 12} {
		if got := l.before(quorum.Epoch(e)); got != want {
			t.Errorf("%d before epoch %d, want %d", got, e, want)
		}
	}
}
