package quorum

import "testing"

// reborn starts node i again on what its disk holds, changed by change.
func (b *bench) reborn(i int, change func(*Control)) {
	b.t.Helper()
	old := b.cores[i]
	st := Restored{Control: old.Control(), Snapshot: old.log.snap, History: old.log.hist.Clone(), Tail: append([]Entry(nil), old.log.tail...)}
	st.Control.Boot.Counter++
	st.Control.Boot.Nonce++
	if change != nil {
		change(&st.Control)
	}
	cfg := old.cfg
	cfg.Seed++
	c, err := New(cfg, st)
	if err != nil {
		b.t.Fatal(err)
	}
	b.cores[i], b.gates[i] = c, Gate{}
	b.applied[i], b.reads[i], b.fails[i] = nil, nil, nil
}

// leads is the index of the established leader; -1 when there is none.
func (b *bench) leads() int {
	for i, c := range b.cores {
		if s := c.Soft(); s.State == StateLeading && s.Established {
			return i
		}
	}
	return -1
}

// RULES.md R4, R7: a voter whose log is damaged is still on the disk that
// founded the cluster, and yet in no set: with it alone a leader is not
// established, commits nothing and confirms no read.
func TestADamagedVoterCountsNowhere(t *testing.T) {
	b := newBench(t, 3)
	b.run(20)
	leader := b.leads()
	damaged, other := (leader+1)%3, (leader+2)%3
	b.reborn(damaged, func(c *Control) { c.NeedsRebuild, c.Spoiled, c.Reason = true, true, "damaged by the test" })
	b.run(20)
	if c := b.cores[damaged]; c.votes() || b.leads() != leader {
		t.Fatalf("node %d votes: %v, leader %d after %d", damaged+1, c.votes(), b.leads()+1, leader+1)
	}
	b.cut = other + 1
	before := b.cores[leader].Soft().Commit
	if err := b.cores[leader].Submit(1, []byte("a")); err != nil {
		t.Fatal(err)
	}
	b.cores[leader].Read(1)
	b.run(4)
	if s := b.cores[leader].Soft(); s.Commit != before || len(b.reads[leader]) != 0 {
		t.Fatalf("with a damaged voter alone: commit %v after %v, reads %v", s.Commit, before, b.reads[leader])
	}
	b.run(600)
	if l := b.leads(); l >= 0 {
		t.Fatalf("node %d leads a damaged voter alone", l+1)
	}
	b.cut = 0
	b.run(200)
	if l := b.leads(); l < 0 || l == damaged {
		t.Fatalf("node %d leads", l+1)
	}
}

// RULES.md R20: the cluster age goes on from leader to leader, also over a start
// of all, and never back along the log.
func TestClusterAgeGoesOn(t *testing.T) {
	b := newBench(t, 3)
	id, age := uint64(0), uint64(0)
	write := func() {
		t.Helper()
		l := b.leads()
		if l < 0 {
			t.Fatal("nobody leads")
		}
		id++
		if err := b.cores[l].Submit(id, []byte("a")); err != nil {
			t.Fatal(err)
		}
		b.run(4)
		es := b.applied[l]
		if len(es) == 0 {
			t.Fatal("nothing was committed")
		}
		got := es[len(es)-1].Stamp.Age
		if got < age || got == 0 {
			t.Fatalf("%v carries the age %d after %d", es[len(es)-1].Zxid, got, age)
		}
		age = got
	}
	b.run(200)
	write()
	b.run(300)
	write()
	if age < 3000 {
		t.Fatalf("age %d ms after 5 s", age)
	}
	b.cut = b.leads() + 1
	b.cores[b.cut-1].StepDown()
	b.run(100)
	write()
	for i := range b.cores {
		b.reborn(i, nil)
	}
	b.cut = 0
	b.run(200)
	id = 0
	write()
}

// RULES.md R3: two lives of one disk with one counter are clones, and both are
// refused until a newer one comes; an older life, and what a disk that was
// replaced still has in some route, is dropped.
func TestLivesOfADisk(t *testing.T) {
	one, two := Incarnation{1}, Incarnation{2}
	for _, tc := range []struct {
		name  string
		boots []Boot
		heard []bool
	}{
		{"a newer life replaces", []Boot{{one, 1, 5}, {one, 2, 6}, {one, 1, 5}}, []bool{true, true, false}},
		{"clones", []Boot{{one, 1, 5}, {one, 1, 6}, {one, 1, 5}, {one, 2, 7}}, []bool{true, false, false, true}},
		{"a replaced disk stays replaced", []Boot{{one, 7, 5}, {two, 1, 6}, {one, 7, 5}, {one, 6, 4}, {two, 1, 6}}, []bool{true, true, false, false, true}},
		{"a disk that was put back", []Boot{{one, 7, 5}, {two, 1, 6}, {one, 8, 9}, {two, 1, 6}, {one, 8, 9}}, []bool{true, true, true, false, true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, 3)
			c := b.cores[0]
			for i, boot := range tc.boots {
				if got := c.admit(&Message{Type: MsgNotify, From: 2, FromBoot: boot}) != nil; got != tc.heard[i] {
					t.Fatalf("message %d, of %v: heard %v", i, boot, got)
				}
			}
		})
	}
}
