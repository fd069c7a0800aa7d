package node

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// One writer counts up; readers at all nodes never see less than what was
// acknowledged before they asked, nor less than an answer before, while leaders
// come and go.
func TestReadsAreLinearizableThroughFailover(t *testing.T) {
	net := newMemNet(3)
	c := newCluster(t, net, nil)
	c.leader()
	var acked, answers atomic.Int64
	var work sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	home := c.nodes[1].Node
	must(t, home, putCommand("/n", "0"), "")
	work.Go(func() {
		for i := int64(1); ctx.Err() == nil; {
			res, err := home.Write(ctx, putCommand("/n", strconv.FormatInt(i, 10)), "")
			if err == nil && res.Code == tree.OK {
				acked.Store(i)
				i++ // one without an outcome is written again: the value is the same
			}
		}
	})
	for id := range c.nodes {
		work.Go(func() { readUp(ctx, t, c.nodes[id].Node, &acked, &answers) })
	}
	for turn := range 6 {
		id := quorum.NodeID(turn%3 + 1)
		reads, writes := answers.Load()+200, acked.Load()
		if id != 1 { // the writer's home
			writes += 50
		}
		net.isolate(id, true)
		until(t, "going on without one", func() bool { return answers.Load() >= reads && acked.Load() >= writes })
		net.isolate(id, false)
	}
	cancel()
	work.Wait()
	t.Logf("%d writes, %d reads", acked.Load(), answers.Load())
}

func readUp(ctx context.Context, t *testing.T, n *Node, acked, answers *atomic.Int64) {
	for ctx.Err() == nil {
		least := acked.Load()
		a, err := n.Read(ctx, lease.Read{Kind: lease.ReadNode, Path: "/n", At: lease.At{Linearizable: true}})
		if err != nil {
			continue
		}
		got, err := strconv.ParseInt(string(a.Node.Data), 10, 64)
		if err != nil || got < least {
			t.Errorf("node %d read %q after %d was acknowledged", n.cfg.ID, a.Node.Data, least)
			return
		}
		for seen := acked.Load(); got > seen && !acked.CompareAndSwap(seen, got); seen = acked.Load() {
			// what anybody has read, everybody who asks later must read
		}
		answers.Add(1)
	}
}

func TestAFloorIsWaitedFor(t *testing.T) {
	net := newMemNet(1)
	c := newCluster(t, net, nil)
	leader, late := c.leader(), c.follower()
	net.isolate(late.cfg.ID, true)
	res := must(t, leader.Node, putCommand("/a", "x"), "")
	q := lease.Read{Kind: lease.ReadNode, Path: "/a", At: lease.At{Floor: res.Zxid, Wait: patience}}
	got := make(chan error, 1)
	go func() {
		_, err := late.Read(t.Context(), q)
		got <- err
	}()
	until(t, "waiting", func() bool {
		late.positions.mu.Lock()
		defer late.positions.mu.Unlock()
		return len(late.positions.waiting) > 0
	})
	net.isolate(late.cfg.ID, false)
	if err := <-got; err != nil {
		t.Fatalf("a read that waited for its floor: %v", err)
	}
	net.isolate(late.cfg.ID, true)
	res = must(t, leader.Node, putCommand("/a", "y"), "")
	q.At = lease.At{Floor: res.Zxid}
	if _, err := late.Read(t.Context(), q); err != lease.ErrNotCaughtUp {
		t.Fatalf("a floor that does not come: %v", err)
	}
	batch, err := late.Events(t.Context(), lease.EventQuery{Path: "/a", Scope: tree.ScopeNode, Since: res.Zxid, Floor: time.Millisecond})
	if err != nil || batch.Cursor != res.Zxid || len(batch.Events) != 0 {
		t.Fatalf("a cursor that does not come: %+v, %v", batch, err)
	}
}
