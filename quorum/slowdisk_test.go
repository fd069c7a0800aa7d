package quorum

import "testing"

// stick lets a node's disk take records and never say that they are durable.
func (b *bench) stick(i int) { b.stuck = i + 1 }

func (b *bench) unstick() {
	i := b.stuck - 1
	b.stuck = 0
	b.cores[i].Stable(b.cores[i].seq)
	b.queue = append(b.queue, b.gates[i].Release(b.cores[i].seq)...)
}

// A majority commits without a follower whose disk hangs. What it takes in
// meanwhile is bounded, and when the disk works again it catches up.
func TestAHungDiskBoundsWhatALearnerTakes(t *testing.T) {
	b := newBench(t, 3)
	b.run(20)
	leader, slow := -1, -1
	for i, c := range b.cores {
		if c.Soft().State == StateLeading {
			leader = i
		} else {
			slow = i
		}
	}
	const limit, batch, writes = 8 << 10, 2 << 10, 300
	b.cores[slow].tun.WindowBytes = limit
	for _, c := range b.cores {
		c.tun.MessageBytes = batch
	}
	b.stick(slow)
	for id := uint64(1); id <= writes; id++ {
		if err := b.cores[leader].Submit(id, make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
		b.run(1)
		if l := &b.cores[slow].log; l.unstable+l.fresh > limit+batch {
			t.Fatalf("%d bytes wait for a disk that hangs, the limit is %d", l.unstable+l.fresh, limit)
		}
	}
	if n := len(b.applied[leader]); n != writes {
		t.Fatalf("the leader applied %d of %d", n, writes)
	}
	if n := len(b.applied[slow]); n != 0 {
		t.Fatalf("%d were applied that are not durable", n)
	}
	b.unstick()
	b.run(400)
	if n := len(b.applied[slow]); n != writes || !b.cores[slow].Soft().Established {
		t.Fatalf("applied %d of %d after the disk came back: %+v", n, writes, b.cores[slow].Soft())
	}
}

// TestABacklogBoundsWhatALearnerTakes: a node that applies slowly takes in no
// more than a window beyond, and catches up afterwards.
func TestABacklogBoundsWhatALearnerTakes(t *testing.T) {
	b := newBench(t, 3)
	b.run(20)
	slow := 0
	for b.cores[slow].Soft().State == StateLeading {
		slow++
	}
	leader := 0
	for b.cores[leader].Soft().State != StateLeading {
		leader++
	}
	c := b.cores[slow]
	c.Backlog(c.tun.WindowBytes + 1)
	before := c.Soft().Last
	for id := uint64(1); id <= 20; id++ {
		if err := b.cores[leader].Submit(id, []byte("x")); err != nil {
			t.Fatal(err)
		}
		b.run(1)
	}
	if c.Soft().Last != before || b.cores[leader].Soft().Commit == before {
		t.Fatalf("took in %v to %v, committed %v", before, c.Soft().Last, b.cores[leader].Soft().Commit)
	}
	c.Backlog(0)
	b.run(10)
	if got, want := c.Soft().Commit, b.cores[leader].Soft().Commit; got != want {
		t.Fatalf("caught up to %v of %v", got, want)
	}
}
