package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// current hands out whichever node runs now under an id.
type current struct {
	mu    sync.Mutex
	nodes map[quorum.NodeID]*running
	next  chan struct{} // closed by the next set
}

func (c *current) set(id quorum.NodeID, n *running) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id] = n
	if c.next != nil {
		close(c.next)
	}
	c.next = make(chan struct{})
}

// get waits until a node runs under id.
func (c *current) get(ctx context.Context, id quorum.NodeID) *Node {
	for {
		c.mu.Lock()
		n, next := c.nodes[id].Node, c.next
		c.mu.Unlock()
		if !n.draining() {
			return n
		}
		select {
		case <-next:
		case <-ctx.Done():
			return n
		}
	}
}

// record is what writers know to be written.
type record struct {
	mu    sync.Mutex
	acked map[string]quorum.Zxid
}

func (r *record) add(path string, z quorum.Zxid) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked[path] = z
}

func (r *record) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.acked)
}

// write creates one node after the other at whichever node runs under id.
func (r *record) write(ctx context.Context, at *current, id quorum.NodeID, name string) {
	for i := 0; ctx.Err() == nil; i++ {
		path := fmt.Sprintf("/w/%s-%d", name, i)
		res, err := at.get(ctx, id).Write(ctx, putCommand(path, "x"), "")
		if err == nil && res.Code == tree.OK {
			r.add(path, res.Zxid)
		}
	}
}

// follow polls all changes below /w, at whichever node runs under id, until the
// record's last write was seen.
func (r *record) follow(ctx context.Context, at *current, id quorum.NodeID, since quorum.Zxid, last func() quorum.Zxid) (map[string]quorum.Zxid, error) {
	created := make(map[string]quorum.Zxid)
	for {
		n := at.get(ctx, id)
		batch, err := n.Events(ctx, lease.EventQuery{Path: "/w", Scope: tree.ScopeSubtree, Since: since, Limit: 100, Floor: patience})
		if errors.Is(err, lease.ErrShuttingDown) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return created, err
		}
		for _, e := range batch.Events {
			if e.Zxid <= since {
				return created, fmt.Errorf("event of %v after %v", e.Zxid, since)
			}
			if _, twice := created[e.Path]; e.Type == tree.EventCreated && twice {
				return created, fmt.Errorf("%s came twice", e.Path)
			}
			if e.Type == tree.EventCreated {
				created[e.Path] = e.Zxid
			}
		}
		since = batch.Cursor
		if z := last(); z != 0 && since >= z {
			return created, nil
		}
		if !batch.More {
			err := n.Await(ctx, lease.Interest{Path: "/w", Scope: tree.ScopeSubtree, Since: since})
			if err != nil && !errors.Is(err, lease.ErrShuttingDown) {
				return created, err
			}
		}
	}
}

// Nodes crash one after the other and all at once, under writers and pollers at
// every node, with snapshots all the while. Nothing acknowledged is lost, every
// poller sees every write once, and all nodes end equal.
func TestCrashesLoseNothing(t *testing.T) {
	overBoth(t, often, func(t *testing.T, c *cluster) {
		c.leader()
		must(t, c.nodes[1].Node, putCommand("/w", "x"), "")
		since := c.nodes[1].positions.now()
		at := &current{nodes: make(map[quorum.NodeID]*running)}
		for id, n := range c.nodes {
			at.set(id, n)
		}
		r := &record{acked: make(map[string]quorum.Zxid)}
		ctx, cancel := context.WithCancel(t.Context())
		var writers, pollers sync.WaitGroup
		ended := make(chan struct{})
		var end quorum.Zxid
		last := func() quorum.Zxid {
			select {
			case <-ended:
				return end
			default:
				return 0
			}
		}
		seen := make([]map[string]quorum.Zxid, 4)
		for id := quorum.NodeID(1); id <= 3; id++ {
			writers.Go(func() { r.write(ctx, at, id, fmt.Sprint(id)) })
			pollers.Go(func() {
				var err error
				if seen[id], err = r.follow(t.Context(), at, id, since, last); err != nil {
					t.Errorf("poller at %d: %v", id, err)
				}
			})
		}
		crash(t, c, at, r)
		cancel()
		writers.Wait()
		c.leader()
		end = must(t, c.nodes[1].Node, putCommand("/w/end", "x"), "").Zxid
		close(ended)
		must(t, c.nodes[1].Node, putCommand("/w/end", "y"), "") // wakes those who have seen the end already
		pollers.Wait()
		c.agree()
		for path, z := range r.acked {
			for id := quorum.NodeID(1); id <= 3; id++ {
				if got := seen[id][path]; got != z {
					t.Fatalf("%s was written at %v, node %d told of %v", path, z, id, got)
				}
				get(t, c.nodes[id].Node, path, lease.At{})
			}
		}
		t.Logf("%d writes", len(r.acked))
	})
}

// crash kills and starts nodes while writes go on in between.
func crash(t *testing.T, c *cluster, at *current, r *record) {
	rng := rand.New(rand.NewPCG(5, 5))
	for turn := range 6 {
		want := r.len() + 60
		until(t, "writing", func() bool { return r.len() >= want })
		ids := []quorum.NodeID{quorum.NodeID(rng.IntN(3) + 1)}
		if turn == 3 {
			ids = []quorum.NodeID{1, 2, 3}
		}
		for _, id := range ids {
			c.kill(id)
		}
		if len(ids) == 1 {
			want = r.len() + 30
			until(t, "writing without one", func() bool { return r.len() >= want })
		}
		for _, id := range ids {
			c.start(id)
			at.set(id, c.nodes[id])
		}
	}
}
