package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// writers write at every node until stop, each path once, and report what
// failed. Each write must have an effect exactly once: its node is created.
type writers struct {
	stop    context.CancelFunc
	work    sync.WaitGroup
	done    atomic.Int64
	mu      sync.Mutex
	paths   []string
	longest atomic.Int64 // nanoseconds between two answers at one writer
}

func (c *cluster) write(t *testing.T) *writers {
	ctx, stop := context.WithCancel(context.Background())
	w := &writers{stop: stop}
	for id, n := range c.nodes {
		for k := range 2 {
			w.work.Go(func() {
				for i, last := 0, time.Now(); ctx.Err() == nil; i++ {
					path := fmt.Sprintf("/w/%d-%d-%d", id, k, i)
					res, err := n.Write(t.Context(), putCommand(path, "x"), "")
					if err != nil || res.Code != tree.OK {
						t.Errorf("write %s: %v, %v", path, err, res.Code)
						return
					}
					w.done.Add(1)
					w.mu.Lock()
					w.paths = append(w.paths, path)
					w.mu.Unlock()
					if gap := time.Since(last); gap > time.Duration(w.longest.Load()) {
						w.longest.Store(int64(gap))
					}
					last = time.Now()
				}
			})
		}
	}
	t.Cleanup(w.end)
	return w
}

func (w *writers) end() { w.stop(); w.work.Wait() }

// verify checks that every write is there, and was applied once: a second time
// would have raised the version.
func (w *writers) verify(t *testing.T, n *Node) {
	t.Helper()
	for _, path := range w.paths {
		got, _, err := n.view().Read(lease.Read{Kind: lease.ReadStat, Path: path}, lease.Cursor{}, wall())
		if err != nil || got.Node.Stat.Version != 0 {
			t.Errorf("%s: %v, version %d", path, err, got.Node.Stat.Version)
		}
	}
}

// ZAB.md 2.7: an epoch of 50 counters is renewed again and again under load. The
// leader stays, no request fails, and nothing is lost or done twice.
func TestEpochsAreRenewedUnderLoad(t *testing.T) {
	overBoth(t, func(c *Config) { c.Tuning.CounterLimit = 50 }, func(t *testing.T, c *cluster) {
		leader := c.leader()
		first := leader.Soft().Epoch
		w := c.write(t)
		token := must(t, leader.Node, openCommand(5*time.Second), "").Token
		until(t, "20 epochs", func() bool { return leader.Soft().Epoch >= first+20 })
		if _, err := c.follower().Touch(t.Context(), nil, token, 0); err != nil {
			t.Errorf("a session did not live through it: %v", err)
		}
		w.end()
		if s := leader.Soft(); s.State != quorum.StateLeading {
			t.Errorf("the leader is %+v", s)
		}
		t.Logf("%d writes in %d epochs, the longest at one writer took %v", w.done.Load(), leader.Soft().Epoch-first, time.Duration(w.longest.Load()))
		c.agree()
		w.verify(t, leader.Node)
	})
}

// Leadership goes round the cluster under load, asked for at any node: no request
// fails, and whoever asked knows the new leader.
func TestTransferUnderLoad(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		c.leader()
		w := c.write(t)
		for turn := range 12 {
			to := quorum.NodeID(turn%3 + 1)
			at := c.nodes[quorum.NodeID(turn/3%3+1)]
			if err := at.Transfer(t.Context(), nil, to); err != nil {
				t.Fatalf("to %d, asked at %d: %v", to, at.cfg.ID, err)
			}
			if s := at.Soft(); s.Leader != to || !s.Established {
				t.Fatalf("node %d answers and follows %d: %+v", at.cfg.ID, s.Leader, s)
			}
		}
		was := c.leader().cfg.ID
		if err := c.follower().Transfer(t.Context(), nil, 0); err != nil {
			t.Fatal(err)
		}
		if now := c.leader().cfg.ID; now == was {
			t.Errorf("%d leads as before", now)
		}
		before := w.done.Load()
		until(t, "writing on", func() bool { return w.done.Load() > before+20 })
		w.end()
		t.Logf("%d writes, the longest at one writer took %v", w.done.Load(), time.Duration(w.longest.Load()))
		c.agree()
		w.verify(t, c.leader().Node)
	})
}

// What a transfer refuses.
func TestTransferRefusals(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	leader := c.leader()
	at := c.follower()
	if err := at.Transfer(t.Context(), nil, 9); !errors.Is(err, lease.ErrNoMember) {
		t.Errorf("to a stranger: %v", err)
	}
	if err := at.Transfer(t.Context(), nil, leader.cfg.ID); err != nil {
		t.Errorf("to the leader: %v", err)
	}
	away := quorum.NodeID(6) - leader.cfg.ID - at.cfg.ID
	c.net.isolate(away, true)
	until(t, "missed", func() bool {
		return errors.Is(at.Transfer(t.Context(), nil, away), lease.ErrNotCaughtUp)
	})
	if s := leader.Soft(); s.State != quorum.StateLeading || !s.Established {
		t.Errorf("the leader is %+v", s)
	}
	c.net.isolate(away, false)
	c.net.isolate(at.cfg.ID, true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	until(t, "led by nobody", func() bool { return at.Soft().Leader == 0 })
	if err := at.Transfer(ctx, nil, away); !errors.Is(err, lease.ErrNoLeader) {
		t.Errorf("without a leader: %v", err)
	}
}
