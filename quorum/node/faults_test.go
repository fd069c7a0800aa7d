package node

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faultyLog is a log whose disk can be made to fail.
type faultyLog struct {
	Log
	broken atomic.Bool
}

var errBroken = errors.New("the disk is broken")

func (l *faultyLog) Append(records []quorum.Record) error {
	if l.broken.Load() {
		return errBroken
	}
	return l.Log.Append(records)
}

// A node whose log fails stops, names why, and the others go on.
func TestANodeStopsWhenItsDiskFails(t *testing.T) {
	for _, role := range []string{"leader", "follower"} {
		t.Run(role, func(t *testing.T) {
			c := newCluster(t, newMemNet(1), nil)
			sick := c.leader()
			if role == "follower" {
				sick = c.follower()
			}
			must(t, sick.Node, putCommand("/a", "x"), "")
			log := &faultyLog{Log: sick.wal}
			log.broken.Store(true)
			swapped := make(chan struct{})
			sick.disk.queue.put(diskJob{do: func() { sick.disk.log = log; close(swapped) }})
			<-swapped
			_, _ = sick.Write(t.Context(), putCommand("/b", "x"), "")
			if err := <-sick.ended; !errors.Is(err, errBroken) {
				t.Fatalf("the node ended with %v", err)
			}
			delete(c.nodes, sick.cfg.ID)
			must(t, c.leader().Node, putCommand("/c", "x"), "")
			if _, err := sick.Write(t.Context(), putCommand("/d", "x"), ""); !errors.Is(err, lease.ErrShuttingDown) {
				t.Fatalf("a write at the stopped node: %v", err)
			}
		})
	}
}

func TestAFullDiskRefusesAllButWhatFrees(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	leader, other := c.leader(), c.follower()
	must(t, other.Node, putCommand("/a", "x"), "")
	must(t, other.Node, openCommand(time.Minute), clientToken)
	var free atomic.Uint64
	free.Store(1 << 20)
	leader.space.setFree(func() (uint64, uint64, error) { return free.Load(), 1 << 40, nil })
	full := func(n *running) bool {
		_, err := n.Write(t.Context(), putCommand("/b", "x"), "")
		return errors.Is(err, lease.ErrStorageFull)
	}
	until(t, "refused at the leader", func() bool { return full(leader) })
	until(t, "refused elsewhere", func() bool { return full(other) })
	must(t, other.Node, &commandpb.Command{Op: &commandpb.Command_Delete{Delete: &commandpb.Delete{Path: "/a"}}}, "")
	must(t, other.Node, closeCommand(), clientToken)
	free.Store(1 << 40)
	until(t, "recovered", func() bool { return !full(leader) && !full(other) })
}

// One voter of three with a full disk is not needed, two are.
func TestFullDisksOfNeededVoters(t *testing.T) {
	n := &Node{cfg: Config{ID: 1}}
	n.members.Store(&membership{all: []quorum.Member{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4, Role: quorum.RoleObserver}}})
	s := newSpace(n, t.TempDir())
	now := time.Now()
	if s.decide(now) {
		t.Fatal("full with room everywhere")
	}
	s.reports[4] = spaceReport{low: true, at: now}
	s.reports[2] = spaceReport{low: true, at: now}
	if s.decide(now) {
		t.Fatal("full although a majority has room")
	}
	s.reports[3] = spaceReport{low: true, at: now}
	if !s.decide(now) {
		t.Fatal("not full although two of three have no room")
	}
	if s.decide(now.Add(time.Minute)) {
		t.Fatal("an old report counts")
	}
	s.low.Store(true)
	if !s.decide(now.Add(time.Minute)) {
		t.Fatal("not full although the leader itself is low")
	}
}

// A clean stop under load hands over at once and answers everybody.
func TestACleanStopAnswersEverybody(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		other := c.follower()
		must(t, leader.Node, putCommand("/w", "x"), "")
		var work sync.WaitGroup
		var unknown atomic.Int64
		for i := range 8 {
			work.Go(func() {
				for k := 0; ; k++ {
					_, err := leader.Write(t.Context(), putCommand(fmt.Sprintf("/w/%d-%d", i, k), "x"), "")
					switch {
					case err == nil:
					case errors.Is(err, lease.ErrShuttingDown):
						return
					default:
						unknown.Add(1)
						return
					}
				}
			})
			work.Go(func() {
				err := leader.Await(t.Context(), lease.Interest{Path: "/never", Scope: tree.ScopeNode, Since: leader.positions.now()})
				if !errors.Is(err, lease.ErrShuttingDown) {
					t.Errorf("a parked interest: %v", err)
				}
			})
		}
		until(t, "parked", func() bool { return leader.watches.count() == 8 })
		began := time.Now()
		c.stop(leader.cfg.ID)
		work.Wait()
		t.Logf("stopped in %v, %d writes without an outcome", time.Since(began), unknown.Load())
		if unknown.Load() > 0 {
			t.Errorf("%d writes had no outcome", unknown.Load())
		}
		must(t, other.Node, putCommand("/after", "x"), "")
		t.Logf("written elsewhere %v after the stop began", time.Since(began))
	})
}

func TestNoLeaderIsSaidInTime(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	last := c.follower()
	id := last.cfg.ID
	for other := range c.dirs {
		if other != id {
			c.stop(other)
		}
	}
	until(t, "alone", func() bool { return last.Soft().Leader == 0 })
	if _, err := last.Write(t.Context(), putCommand("/a", "x"), ""); !errors.Is(err, lease.ErrNoLeader) {
		t.Fatalf("a write: %v", err)
	}
	if _, err := last.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/", At: lease.At{Linearizable: true}}); !errors.Is(err, lease.ErrNoLeader) {
		t.Fatalf("a read: %v", err)
	}
	if s := last.Status(); s.Ready || s.NotReady == "" {
		t.Fatalf("ready without a leader: %+v", s)
	}
}

// With messages lost and nodes parted at random nothing acknowledged is lost,
// and all end equal.
func TestLossAndPartitions(t *testing.T) {
	net := newMemNet(7)
	c := newCluster(t, net, nil)
	c.leader()
	var acked sync.Map
	var count atomic.Int64
	var work sync.WaitGroup
	stop := make(chan struct{})
	for id, n := range c.nodes {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				path := fmt.Sprintf("/w/%d-%d", id, i)
				if res, err := n.Write(t.Context(), putCommand(path, "x"), ""); err == nil && res.Code == tree.OK {
					acked.Store(path, true)
					count.Add(1)
				}
			}
		})
	}
	net.mu.Lock()
	net.loss = 0.02
	net.mu.Unlock()
	for turn := range 6 {
		id := quorum.NodeID(turn%3 + 1)
		want := count.Load() + 50
		net.isolate(id, true)
		until(t, "writing without one", func() bool { return count.Load() >= want })
		net.isolate(id, false)
	}
	net.mu.Lock()
	net.loss = 0
	net.mu.Unlock()
	close(stop)
	work.Wait()
	c.agree()
	acked.Range(func(path, _ any) bool {
		for _, n := range c.nodes {
			get(t, n.Node, path.(string), lease.At{})
		}
		return true
	})
	t.Logf("%d writes", count.Load())
}
