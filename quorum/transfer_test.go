package quorum

import (
	"errors"
	"testing"
)

// A transfer reaches every voter, one after the other, and loses nothing.
func TestTransferRoundTheCluster(t *testing.T) {
	b := newBench(t, 3)
	b.run(20)
	id := uint64(0)
	for turn := range 6 {
		from := b.leads()
		to := (from + 1) % 3
		for range 5 {
			id++
			for _, c := range b.cores {
				if err := c.Submit(id, []byte{byte(turn)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := b.cores[from].Transfer(NodeID(to + 1)); err != nil {
			t.Fatal(err)
		}
		b.run(8)
		if b.leads() != to {
			t.Fatalf("node %d leads, not %d", b.leads()+1, to+1)
		}
	}
	b.run(8)
	for i := range b.cores {
		if len(b.applied[i]) != 3*int(id) || len(b.fails[i]) != 0 {
			t.Fatalf("node %d applied %d of %d, failures %v", i+1, len(b.applied[i]), 3*id, b.fails[i])
		}
	}
}

// What Transfer refuses, and whom it chooses.
func TestTransferRefusals(t *testing.T) {
	b := newBench(t, 3)
	b.run(20)
	leader := b.leads()
	one, two := (leader+1)%3, (leader+2)%3
	c := b.cores[leader]
	if err := b.cores[one].Transfer(NodeID(two + 1)); !errors.Is(err, ErrNotLeading) {
		t.Fatalf("by a follower: %v", err)
	}
	if err := c.Transfer(NodeID(leader + 1)); err != nil || b.leads() != leader {
		t.Fatalf("to itself: %v", err)
	}
	if err := c.Transfer(99); !errors.Is(err, ErrNotSynced) {
		t.Fatalf("to a stranger: %v", err)
	}
	b.stick(one)
	if err := c.Submit(1, []byte("a")); err != nil {
		t.Fatal(err)
	}
	b.run(4)
	if err := c.Transfer(NodeID(one + 1)); err != nil || c.Soft().Heir != NodeID(one+1) {
		t.Fatalf("to one that lags: %v, %+v", err, c.Soft())
	}
	if err := c.Transfer(NodeID(two + 1)); !errors.Is(err, ErrTransferring) {
		t.Fatalf("while another is under way: %v", err)
	}
	b.run(transferTicks + 2)
	if s := c.Soft(); s.Heir != 0 || b.leads() != leader {
		t.Fatalf("not given up: %+v", s)
	}
	if err := c.Transfer(0); err != nil {
		t.Fatal(err)
	}
	b.run(8)
	if b.leads() != two {
		t.Fatalf("node %d leads, not the best one, %d", b.leads()+1, two+1)
	}
}
