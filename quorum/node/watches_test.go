package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

func TestWakeConcernsOnlyTheInterested(t *testing.T) {
	created := func(p string) tree.Event { return tree.Event{Zxid: 1, Type: tree.EventCreated, Path: p} }
	changed := func(p string) tree.Event { return tree.Event{Zxid: 1, Type: tree.EventChanged, Path: p} }
	deleted := func(p string) tree.Event { return tree.Event{Zxid: 1, Type: tree.EventDeleted, Path: p} }
	for _, tc := range []struct {
		path  string
		scope tree.Scope
		event tree.Event
		wakes bool
	}{
		{"/a", tree.ScopeNode, created("/a"), true},
		{"/a", tree.ScopeNode, changed("/a"), true},
		{"/a", tree.ScopeNode, deleted("/a"), true},
		{"/a", tree.ScopeNode, created("/a/b"), false},
		{"/a", tree.ScopeNode, created("/ab"), false},
		{"/", tree.ScopeNode, changed("/"), true},
		{"/a", tree.ScopeChildren, created("/a/b"), true},
		{"/a", tree.ScopeChildren, deleted("/a/b"), true},
		{"/a", tree.ScopeChildren, changed("/a/b"), false},
		{"/a", tree.ScopeChildren, created("/a/b/c"), false},
		{"/a", tree.ScopeChildren, deleted("/a"), true},
		{"/a", tree.ScopeChildren, created("/a"), false},
		{"/", tree.ScopeChildren, created("/a"), true},
		{"/a", tree.ScopeSubtree, changed("/a"), true},
		{"/a", tree.ScopeSubtree, changed("/a/b/c"), true},
		{"/a", tree.ScopeSubtree, changed("/ab"), false},
		{"/", tree.ScopeSubtree, changed("/x/y"), true},
	} {
		w := newWatches(1)
		b, err := w.join(tc.path, tc.scope)
		if err != nil {
			t.Fatal(err)
		}
		w.wake([]tree.Event{tc.event})
		woken := false
		select {
		case <-b.wake:
			woken = true
		default:
		}
		if want := (tree.Interest{Path: tc.path, Scope: tc.scope}).Wants(&tc.event); woken != tc.wakes || want != tc.wakes {
			t.Errorf("%v %s, event %v of %s: woken %v, wanted %v", tc.scope, tc.path, tc.event.Type, tc.event.Path, woken, want)
		}
		w.leave(b)
		if len(w.buckets) != 0 || w.count() != 0 {
			t.Errorf("something is left behind: %d buckets, %d parked", len(w.buckets), w.count())
		}
	}
}

func TestWatchesAreBounded(t *testing.T) {
	w := newWatches(2)
	for range 2 {
		if _, err := w.join("/a", tree.ScopeNode); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.join("/b", tree.ScopeNode); !errors.Is(err, lease.ErrTooManyWaiters) {
		t.Fatalf("a third waiter: %v", err)
	}
	w.close()
	if _, err := w.join("/b", tree.ScopeNode); !errors.Is(err, lease.ErrShuttingDown) {
		t.Fatalf("after close: %v", err)
	}
}

// follow polls an interest from since on until it has seen want events.
func follow(ctx context.Context, n *Node, i lease.Interest, want int) ([]tree.Event, error) {
	var seen []tree.Event
	for len(seen) < want {
		if err := n.Await(ctx, i); err != nil {
			return seen, err
		}
		batch, err := n.Events(ctx, lease.EventQuery{Path: i.Path, Scope: i.Scope, Since: i.Since, Limit: 10})
		if err != nil {
			return seen, err
		}
		seen = append(seen, batch.Events...)
		i.Since = batch.Cursor
	}
	return seen, nil
}

// Every waiter sees every event once, though parks and changes race: a wake-up
// that is lost shows as a time-out.
func TestNoWakeUpIsLost(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	must(t, n.Node, putCommand("/w/x", "0"), "")
	since := n.positions.now()
	const changes, waiters = 300, 8
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var work sync.WaitGroup
	for _, i := range []lease.Interest{
		{Path: "/w/x", Scope: tree.ScopeNode, Since: since}, {Path: "/w", Scope: tree.ScopeSubtree, Since: since},
	} {
		for range waiters {
			work.Go(func() {
				seen, err := follow(ctx, n.Node, i, changes)
				if err != nil || len(seen) != changes {
					t.Errorf("%s: %d events, %v", i.Path, len(seen), err)
					return
				}
				for k := 1; k < len(seen); k++ {
					if seen[k].Stat.Version != seen[k-1].Stat.Version+1 {
						t.Errorf("version %d after %d", seen[k].Stat.Version, seen[k-1].Stat.Version)
					}
				}
			})
		}
	}
	for i := range changes {
		must(t, n.Node, putCommand("/w/x", fmt.Sprint(i)), "")
	}
	work.Wait()
}

func TestTenThousandWaitersAreWoken(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	res := must(t, n.Node, putCommand("/w", "0"), "")
	const waiters = 10_000
	var work sync.WaitGroup
	for range waiters {
		work.Go(func() {
			if err := n.Await(t.Context(), lease.Interest{Path: "/w", Scope: tree.ScopeNode, Since: res.Zxid}); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "parked", func() bool { return n.watches.count() == waiters })
	began := time.Now()
	must(t, n.Node, putCommand("/w", "1"), "")
	work.Wait()
	t.Logf("%d waiters woken in %v", waiters, time.Since(began))
	if n.watches.count() != 0 {
		t.Fatalf("%d are still parked", n.watches.count())
	}
}

func TestAwaitAnswersAtOnce(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	first := must(t, n.Node, putCommand("/a", "0"), "")
	must(t, n.Node, putCommand("/b", "0"), "")
	if err := n.Await(t.Context(), lease.Interest{Path: "/b", Scope: tree.ScopeNode, Since: first.Zxid}); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	future := lease.Interest{Path: "/b", Scope: tree.ScopeNode, Since: n.positions.now() + 100}
	if err := n.Await(gone, future); !errors.Is(err, context.Canceled) {
		t.Fatalf("a waiter without patience: %v", err)
	}
	parked := make(chan error, 1)
	go func() { parked <- n.Await(t.Context(), future) }()
	until(t, "parked", func() bool { return n.watches.count() == 1 })
	must(t, n.Node, putCommand("/b", "1"), "") // before its since: it parks again
	n.end(t)
	if err := <-parked; !errors.Is(err, lease.ErrShuttingDown) {
		t.Fatalf("a parked waiter at the stop: %v", err)
	}
}

func TestEventsGoOnAtAnotherNode(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		other := c.follower()
		start, err := other.Events(t.Context(), lease.EventQuery{Path: "/e", Scope: tree.ScopeSubtree, Now: true})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			must(t, leader.Node, putCommand(fmt.Sprintf("/e/%d", i), "x"), "")
		}
		var seen []tree.Event
		cursor := start.Cursor
		for turn := 0; len(seen) < 21; turn++ { // /e itself too
			n := leader
			if turn%2 == 1 {
				n = other
			}
			batch, err := n.Events(t.Context(), lease.EventQuery{
				Path: "/e", Scope: tree.ScopeSubtree, Since: cursor, Limit: 3, Floor: patience,
			})
			if err != nil {
				t.Fatal(err)
			}
			seen, cursor = append(seen, batch.Events...), batch.Cursor
		}
		for i := 1; i < len(seen); i++ {
			if seen[i].Zxid < seen[i-1].Zxid {
				t.Fatalf("%v after %v", seen[i].Zxid, seen[i-1].Zxid)
			}
		}
	})
}

func TestAFutureThatNeverWasIsLost(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		n := c.follower()
		must(t, n.Node, putCommand("/a", "0"), "")
		beyond := n.positions.now() + quorum.MakeZxid(1, 0)
		if _, err := n.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/a", At: lease.At{Floor: beyond, Wait: patience}}); !errors.Is(err, tree.ErrHistoryLost) {
			t.Fatalf("a read: %v", err)
		}
		batch, err := n.Events(t.Context(), lease.EventQuery{Path: "/a", Scope: tree.ScopeNode, Since: beyond, Floor: patience})
		if !errors.Is(err, tree.ErrHistoryLost) || batch.Cursor == 0 || batch.Cursor >= beyond {
			t.Fatalf("a cursor: %v at %v", err, batch.Cursor)
		}
	})
}
