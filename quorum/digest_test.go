package quorum

import (
	"slices"
	"testing"
)

// written commits n commands and gives the last position, which every node has
// applied.
func (b *bench) written(n int) Zxid {
	b.t.Helper()
	l := b.leads()
	if l < 0 {
		b.t.Fatal("nobody leads")
	}
	last := b.cores[l].requests.last
	for id := last + 1; id <= last+uint64(n); id++ {
		if err := b.cores[l].Submit(id, []byte{byte(id)}); err != nil {
			b.t.Fatal(err)
		}
	}
	b.run(8)
	return b.cores[l].Soft().Commit
}

// report has each node say that its state at z has the digest given.
func (b *bench) report(z Zxid, digests ...uint64) {
	for i, d := range digests {
		if d != 0 {
			b.cores[i].Digest(z, d)
		}
	}
	b.run(10)
}

func (b *bench) doubts() (ds []Doubt) {
	for _, c := range b.cores {
		ds = append(ds, c.Soft().Doubt)
	}
	return ds
}

// RULES.md R5: what becomes of three nodes by what they report.
func TestDigestsAreJudged(t *testing.T) {
	const sound, disputed, stopped = DoubtNone, DoubtDisputed, DoubtRebuild
	for _, tc := range []struct {
		name    string
		reports []uint64 // 0: says nothing
		want    []Doubt
		agreed  bool
	}{
		{"all equal", []uint64{7, 7, 7}, []Doubt{sound, sound, sound}, true},
		{"two equal, one silent", []uint64{7, 0, 7}, []Doubt{sound, sound, sound}, true},
		{"one alone", []uint64{0, 7, 0}, []Doubt{sound, sound, sound}, false},
		{"a minority differs", []uint64{7, 8, 7}, []Doubt{sound, stopped, sound}, true},
		{"the leader differs", []uint64{7, 7, 8}, []Doubt{sound, sound, stopped}, true},
		{"two differ, one silent", []uint64{7, 0, 8}, []Doubt{disputed, disputed, disputed}, false},
		{"all differ", []uint64{7, 8, 9}, []Doubt{disputed, disputed, disputed}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, 3)
			b.run(20)
			if b.leads() != 2 {
				t.Fatalf("node %d leads", b.leads()+1)
			}
			z := b.written(3)
			b.report(z, tc.reports...)
			b.run(60) // a leader that has stopped has a successor by now
			if got := b.doubts(); !slices.Equal(got, tc.want) {
				t.Errorf("doubts %v, want %v", got, tc.want)
			}
			for i, c := range b.cores {
				if tc.want[i] == stopped {
					if ctl := c.Control(); !ctl.NeedsRebuild || !ctl.Spoiled || ctl.Reason == "" || c.votes() {
						t.Errorf("node %d goes on: %+v", i+1, ctl)
					}
				} else if got := c.Soft().Agreed == z; got != tc.agreed {
					t.Errorf("node %d knows of agreement: %v", i+1, got)
				}
			}
		})
	}
}

// RULES.md R5: in a dispute nothing is proposed and no read is answered; what
// was asked meanwhile goes on when it is over, and the minority stops then.
func TestADisputeHoldsEverythingUp(t *testing.T) {
	b := newBench(t, 3)
	b.run(20)
	z := b.written(2)
	b.report(z, 7, 0, 8)
	id := b.cores[1].requests.last + 1
	if err := b.cores[1].Submit(id, []byte("x")); err != nil {
		t.Fatal(err)
	}
	b.cores[1].Read(1)
	b.cores[2].Read(1)
	b.run(100)
	if s := b.cores[2].Soft(); s.Last != z || len(b.reads[1])+len(b.reads[2]) > 0 {
		t.Fatalf("in dispute: last %v after %v, reads %v, %v", s.Last, z, b.reads[1], b.reads[2])
	}
	b.report(z, 0, 7, 0)
	b.run(100)
	if got, want := b.doubts(), []Doubt{DoubtNone, DoubtNone, DoubtRebuild}; !slices.Equal(got, want) {
		t.Fatalf("doubts %v, want %v", got, want)
	}
	if len(b.reads[1]) == 0 || len(b.applied[1]) != 3 {
		t.Errorf("afterwards node 2 has answered %v and applied %d", b.reads[1], len(b.applied[1]))
	}
	if len(b.reads[2]) > 0 {
		t.Errorf("the node that has stopped answers %v", b.reads[2])
	}
}

// A node that stops ends the requests of its clients and takes no more.
func TestAStoppedNodeEndsItsRequests(t *testing.T) {
	b := newBench(t, 3)
	b.run(20)
	z := b.written(1)
	b.cut = 1 // so that its requests wait
	for id := uint64(1); id <= 3; id++ {
		if err := b.cores[0].Submit(id, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	b.cores[0].settle(Checkpoint{z, 7})
	b.cores[0].Digest(z, 8)
	b.settle()
	if err := b.cores[0].Submit(4, []byte("x")); err != ErrDoubt {
		t.Errorf("a later request: %v", err)
	}
	if got := len(b.fails[0]); got != 3 || len(b.cores[0].requests.list) != 0 {
		t.Errorf("%d requests have ended, %d have not", got, len(b.cores[0].requests.list))
	}
}

// What is reported of positions before an installed snapshot was another state's.
func TestDigestsBeforeASnapshotAreNotThisStates(t *testing.T) {
	b := newBench(t, 1)
	b.run(20)
	z := b.written(4)
	c := b.cores[0]
	c.Digest(z-2, 5)
	c.digests.replaced(SnapMeta{Zxid: z - 1, Digest: 6})
	c.Digest(z-2, 5)
	c.Digest(z+1, 5) // nobody has applied that
	c.Digest(z, 9)
	want := checkpoints{{z - 1, 6}, {z, 9}}
	if !slices.Equal(c.digests.own, want) {
		t.Errorf("kept %v, want %v", c.digests.own, want)
	}
}

// checkpoints against the obvious: a sorted map of bounded size.
func TestCheckpoints(t *testing.T) {
	var cs checkpoints
	seen := map[Zxid]uint64{}
	rng := uint64(1)
	for i := range 3 * checkpointsKept {
		rng = rng*6364136223846793005 + 1
		c := Checkpoint{Zxid(i/2*10) + Zxid(rng>>60), rng}
		if _, ok := seen[c.Zxid]; !ok {
			seen[c.Zxid] = c.Digest
		}
		cs.add(c)
		if len(cs) > checkpointsKept || !slices.IsSortedFunc(cs, func(a, b Checkpoint) int { return int(a.Zxid) - int(b.Zxid) }) {
			t.Fatalf("after %d: %v", i, cs)
		}
		for _, k := range cs {
			if d, ok := cs.at(k.Zxid); !ok || d != k.Digest || seen[k.Zxid] != d {
				t.Fatalf("at %v: %x, %v; first seen %x", k.Zxid, d, ok, seen[k.Zxid])
			}
		}
	}
	if n := cs.newest(5); len(n) != 5 || n[4].Zxid != cs.last() {
		t.Errorf("newest %v of %v", n, cs)
	}
	if _, ok := cs.at(cs.last() + 1); ok {
		t.Error("found what is not there")
	}
}
