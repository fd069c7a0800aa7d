package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// lockCommand asks for an exclusive lock, under a session that it opens.
func lockCommand(name, owner string, ttl time.Duration, wait bool) *commandpb.Command {
	return &commandpb.Command{
		Session: &commandpb.SessionRef{OpenTtlMs: uint64(ttl.Milliseconds())},
		Op: &commandpb.Command_Acquire{Acquire: &commandpb.Acquire{
			Wants: []*commandpb.Want{{Name: name}}, Owner: owner, Wait: wait,
		}},
	}
}

func releaseCommand(name string) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_Release{Release: &commandpb.Release{Names: []string{name}}}}
}

// acquired is what a call of Acquire came back with.
type acquired struct {
	res lease.Result
	err error
}

// wants acquires a lock in the background.
func wants(ctx context.Context, n *Node, cmd *commandpb.Command, token string, wait time.Duration) <-chan acquired {
	got := make(chan acquired, 1)
	go func() {
		res, err := n.Acquire(ctx, cmd, token, wait)
		got <- acquired{res, err}
	}()
	return got
}

// locks acquires a lock, again while there is no leader.
func locks(t testing.TB, n *Node, cmd *commandpb.Command, token string) lease.Result {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		res, err := n.Acquire(t.Context(), cmd, token, patience)
		switch {
		case err == nil && res.Code == tree.OK && res.Hold.Token != 0:
			return res
		case err == nil:
			t.Fatalf("refused: %v", res.Code)
		case !errors.Is(err, lease.ErrNoLeader) || time.Now().After(end):
			t.Fatal(err)
		}
	}
}

// lock is the lock as n has it.
func lock(t testing.TB, n *Node, name string) lease.HeldState {
	t.Helper()
	a, err := n.Read(t.Context(), lease.Read{Kind: lease.ReadHeld, Of: commandpb.Kind_KIND_LOCK, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return a.Held[0]
}

// waiting waits until so many wait for a lock, at n.
func waiting(t testing.TB, n *Node, name string, count int) {
	t.Helper()
	until(t, fmt.Sprintf("%d in the queue", count), func() bool { return lock(t, n, name).Waiting == count })
}

// granted takes a grant from a call, which must be one.
func granted(t testing.TB, got <-chan acquired, ttl time.Duration) lease.Result {
	t.Helper()
	select {
	case a := <-got:
		if a.err != nil || a.res.Code != tree.OK || a.res.Hold.Token == 0 {
			t.Fatalf("not granted: %+v, %v", a.res, a.err)
		}
		if a.res.Remaining <= 0 || a.res.Remaining > ttl || a.res.Session.TTL != ttl || a.res.Session.ID != a.res.Hold.Session {
			t.Fatalf("granted: %+v", a.res)
		}
		return a.res
	case <-time.After(patience):
		t.Fatal("no grant")
	}
	return lease.Result{}
}

// pass lets time pass on a bubble's clock.
func pass(t testing.TB, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		step := min(patience/2, time.Until(end))
		began := time.Now()
		until(t, "later", func() bool { return time.Since(began) >= step })
	}
}

// none says that a call has not come back.
func none(t testing.TB, got <-chan acquired) {
	t.Helper()
	select {
	case a := <-got:
		t.Fatalf("it came back: %+v, %v", a.res, a.err)
	default:
	}
}

func TestAGrantWakesTheFirstWaiter(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		const ttl = 30 * time.Second
		leader, home := c.leader().Node, c.follower().Node
		first := locks(t, leader, lockCommand("l", "a", ttl, false), "")
		if first.Token == "" || first.Remaining <= 0 || first.Hold.Token != first.Zxid {
			t.Fatalf("granted at once: %+v", first)
		}
		b := wants(t.Context(), home, lockCommand("l", "b", ttl, true), clientToken, patience)
		waiting(t, home, "l", 1)
		d := wants(t.Context(), leader, lockCommand("l", "d", ttl, true), "", patience)
		waiting(t, leader, "l", 2)
		if leader.watches.count() != 1 || home.watches.count() != 1 {
			t.Fatal("who waits is not counted as parked")
		}
		released := must(t, home, releaseCommand("l"), first.Token)
		second := granted(t, b, ttl)
		if second.Hold.Token != released.Zxid || second.Zxid != released.Zxid || second.Token != "" {
			t.Fatalf("second: %+v, released at %v", second, released.Zxid)
		}
		none(t, d)
		must(t, leader, releaseCommand("l"), clientToken)
		third := granted(t, d, ttl)
		if third.Token == "" || third.Hold.Token <= second.Hold.Token {
			t.Fatalf("third: %+v", third)
		}
		again, err := home.Acquire(t.Context(), lockCommand("l", "d", ttl, true), third.Token, patience)
		if err != nil || !again.Replayed || again.Hold.Token != third.Hold.Token || again.Remaining <= 0 {
			t.Fatalf("again: %+v, %v", again, err)
		}
		if leader.watches.count()+home.watches.count() != 0 {
			t.Fatal("somebody is still counted as parked")
		}
	})
}

func TestAWaitEndsWithARefusal(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	leader, home := c.leader().Node, c.follower().Node
	const ttl = 30 * time.Second
	holder := locks(t, leader, lockCommand("l", "a", ttl, false), "")
	for _, wait := range []time.Duration{0, 10 * time.Millisecond} {
		res, err := home.Acquire(t.Context(), lockCommand("l", "b", ttl, wait > 0), clientToken, wait)
		if err != nil || res.Code != tree.ErrLockHeld || len(res.Held.Holders) != 1 || res.Place.Position != 1 {
			t.Fatalf("wait %v: %+v, %v", wait, res, err)
		}
		if h := res.Held.Holders[0]; h.Session != holder.Session.ID || h.Remaining <= 0 || h.Remaining > ttl {
			t.Fatalf("holder: %+v", h)
		}
		if _, known := home.known(home.view(), "", clientToken); known != lease.KnownNot {
			t.Fatal("the session of a wait that failed is remembered")
		}
	}
	if lock(t, home, "l").Waiting != 0 {
		t.Fatal("a place is left")
	}
	read := lease.Read{Kind: lease.ReadHeld, Of: commandpb.Kind_KIND_LOCK, Name: "l", At: lease.At{Linearizable: true}}
	a, err := home.Read(t.Context(), read)
	if err != nil || len(a.Held[0].Holders) != 1 || a.Held[0].Holders[0].Remaining <= 0 {
		t.Fatalf("read: %+v, %v", a.Held, err)
	}
}

func TestWaitersAreBounded(t *testing.T) {
	cfg := alone(t, t.TempDir())
	cfg.Waiters = 1
	n := start(t, cfg)
	defer n.end(t)
	locks(t, n.Node, lockCommand("l", "a", time.Minute, false), "")
	ctx, cancel := context.WithCancel(t.Context())
	got := wants(ctx, n.Node, lockCommand("l", "b", time.Minute, true), "", patience)
	waiting(t, n.Node, "l", 1)
	if _, err := n.Acquire(t.Context(), lockCommand("l", "c", time.Minute, true), "", patience); !errors.Is(err, lease.ErrTooManyWaiters) {
		t.Fatalf("one too many: %v", err)
	}
	cancel()
	if a := <-got; !errors.Is(a.err, context.Canceled) {
		t.Fatalf("a client that is gone: %+v, %v", a.res, a.err)
	}
	waiting(t, n.Node, "l", 0)
}

// queuedFor is an acquisition that has a place, as await finds it.
func queuedFor(t testing.TB, n *Node, cmd *commandpb.Command, token string) *acquisition {
	t.Helper()
	a := &acquisition{node: n, cmd: cmd, began: time.Now(), wait: patience, home: n.own.Boot, end: newPlaced()}
	a.settle()
	r, _, err := n.send(t.Context(), cmd, token, a.end)
	if err != nil {
		t.Fatal(err)
	}
	if a.first, err = n.outcome(t.Context(), r); err != nil || !queued(&a.first) {
		t.Fatalf("no place: %+v, %v", a.first, err)
	}
	return a
}

// Leaving and the grant, in both orders (RULES.md R16).
func TestLeavingMeetsTheGrant(t *testing.T) {
	const ttl = 30 * time.Second
	c := newCluster(t, newMemNet(1), nil)
	home := c.follower().Node
	holder := locks(t, home, lockCommand("l", "a", ttl, false), "")

	early := queuedFor(t, home, lockCommand("l", "b", ttl, true), "")
	if res, err := early.leave(t.Context()); err != nil || res.Code != tree.ErrLockHeld {
		t.Fatalf("left before the grant: %+v, %v", res, err)
	}
	late := queuedFor(t, home, lockCommand("l", "c", ttl, true), "")
	must(t, home, releaseCommand("l"), holder.Token)
	got := make(chan acquired, 1)
	res, err := late.leave(t.Context())
	got <- acquired{res, err}
	second := granted(t, got, ttl)
	if second.Token == "" {
		t.Fatalf("granted before it left: %+v", second)
	}

	gone := queuedFor(t, home, lockCommand("l", "d", ttl, true), "")
	must(t, home, releaseCommand("l"), second.Token)
	next := wants(t.Context(), home, lockCommand("l", "e", ttl, true), "", patience)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := <-gone.end.done
	if e.outcome.Code != tree.OK || e.outcome.Hold.Owner != "d" {
		t.Fatalf("the end of the wait: %+v", e)
	}
	if _, err := gone.ended(ctx, e); !errors.Is(err, context.Canceled) {
		t.Fatalf("granted to a client that is gone: %v", err)
	}
	granted(t, next, ttl)
}

// A request that is repeated takes its place over, also at another node.
func TestARepeatedRequestSupersedes(t *testing.T) {
	const ttl = 30 * time.Second
	c := newCluster(t, newMemNet(1), nil)
	leader, home := c.leader().Node, c.follower().Node
	holder := locks(t, leader, lockCommand("l", "a", ttl, false), "")
	first := wants(t.Context(), home, lockCommand("l", "b", ttl, true), clientToken, patience)
	waiting(t, leader, "l", 1)
	second := wants(t.Context(), leader, lockCommand("l", "b", ttl, true), clientToken, patience)
	if a := <-first; a.err != nil || a.res.Code != tree.ErrSuperseded {
		t.Fatalf("the older request: %+v, %v", a.res, a.err)
	}
	must(t, leader, releaseCommand("l"), holder.Token)
	granted(t, second, ttl)
}

// A leader that was cut off confirms no grant (RULES.md R12).
func TestACutOffLeaderConfirmsNothing(t *testing.T) {
	const ttl = 30 * time.Second
	net := newMemNet(1)
	c := newCluster(t, net, nil)
	old := c.leader()
	epoch := old.Soft().Epoch
	holder := locks(t, old.Node, lockCommand("l", "a", ttl, false), "")
	a := queuedFor(t, old.Node, lockCommand("l", "b", ttl, true), "")
	must(t, old.Node, releaseCommand("l"), holder.Token)
	e := <-a.end.done
	net.isolate(old.cfg.ID, true)
	r := renewal{e.outcome.Hold.Session, grantRef{place: a.first.Place.ID, token: e.outcome.Hold.Token, zxid: e.zxid}}
	b := newBatch(false)
	b.add(r)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if answer := old.keeper.touch(ctx, b.request(epoch)); !answer.GetNotLeader() {
		t.Fatalf("confirmed: %v", answer)
	}
	until(t, "another leader", func() bool {
		for _, n := range c.nodes {
			if n != old && leads(n.Soft()) {
				return true
			}
		}
		return false
	})
	net.isolate(old.cfg.ID, false)
	c.agree()
	if res, err := a.ended(t.Context(), e); err != nil || res.Code != tree.OK || res.Remaining <= 0 {
		t.Fatalf("confirmed by the new leader: %+v, %v", res, err)
	}
}

// Nobody who waits is lost when the leader changes.
func TestWaitersOutliveTheLeader(t *testing.T) {
	const ttl, many = 30 * time.Second, 50
	c := newCluster(t, newMemNet(1), nil)
	leader := c.leader()
	var homes []*Node
	for _, n := range c.nodes {
		if n != leader {
			homes = append(homes, n.Node)
		}
	}
	holder := locks(t, homes[0], lockCommand("l", "a", ttl, false), "")
	done := make(chan error, many)
	for i := range many {
		go func() {
			n := homes[i%2]
			res, err := n.Acquire(t.Context(), lockCommand("l", fmt.Sprint(i), ttl, true), "", time.Minute)
			if err == nil && (res.Code != tree.OK || res.Hold.Token == 0) {
				err = res.Code
			}
			if err == nil {
				_, err = n.Write(t.Context(), releaseCommand("l"), res.Token)
			}
			done <- err
		}()
	}
	waiting(t, homes[0], "l", many)
	c.kill(leader.cfg.ID)
	c.leader()
	must(t, homes[1], releaseCommand("l"), holder.Token)
	for range many {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestAcquireIsRefusedWhileDraining(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	must(t, n.Node, putCommand("/a", "x"), "")
	n.end(t)
	if _, err := n.Acquire(t.Context(), lockCommand("l", "a", time.Minute, true), "", patience); !errors.Is(err, lease.ErrShuttingDown) {
		t.Fatalf("after the stop: %v", err)
	}
}

// Who asks for a hold that was broken is told so, also when the session that was
// opened for it has ended with it.
func TestABrokenHoldIsLost(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	held := locks(t, n.Node, lockCommand("l", "a", time.Minute, false), "")
	must(t, n.Node, &commandpb.Command{Op: &commandpb.Command_Break{Break: &commandpb.Break{Name: "l"}}}, "")
	for name, want := range map[string]error{"l": tree.ErrHoldLost, "m": tree.ErrSessionExpired} {
		if _, err := n.Read(t.Context(), lease.Read{Kind: lease.ReadHold, Name: name, Token: held.Token}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	fenced := putCommand("/a", "x")
	fenced.Fences = []*commandpb.Fence{{Name: "l"}}
	if res, err := n.Write(t.Context(), fenced, held.Token); err != nil || res.Code != tree.ErrFenceStale {
		t.Errorf("a fenced write: %v, %v", res.Code, err)
	}
}
