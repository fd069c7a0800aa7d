package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"perch/gen/commandpb"
	"perch/tree"
)

func claimCommand(queue string) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_Claim{Claim: &commandpb.Claim{Queue: queue, Count: 1, TtlMs: 30_000, Wait: true}}}
}

func enqueueCommand(queue, data string) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_Enqueue{Enqueue: &commandpb.Enqueue{Queue: queue, Data: []byte(data)}}}
}

func TestClaimsAreWaitedFor(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	leader, home := c.leader().Node, c.follower().Node
	if res, err := home.Acquire(t.Context(), claimCommand("q"), "", time.Millisecond); err != nil || res.Code != tree.OK || len(res.Claimed) != 0 {
		t.Fatalf("nothing came: %+v, %v", res, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	lost := wants(ctx, home, claimCommand("q"), "", patience)
	until(t, "waits", func() bool { return home.places.count() == 1 })
	cancel()
	if a := <-lost; !errors.Is(a.err, context.Canceled) {
		t.Fatalf("a client that is gone: %+v, %v", a.res, a.err)
	}
	until(t, "left", func() bool { return len(leader.view().Homes()) == 0 })
	got := wants(t.Context(), home, claimCommand("q"), "", patience)
	until(t, "waits", func() bool { return len(leader.view().Homes()) == 1 })
	must(t, leader, enqueueCommand("q", "x"), "")
	if a := <-got; a.err != nil || len(a.res.Claimed) != 1 || string(a.res.Claimed[0].Data) != "x" || a.res.Claimed[0].Attempts != 1 {
		t.Fatalf("claimed: %+v, %v", a.res, a.err)
	}
}

// A claim that nobody waits for any more goes back (RULES.md R16).
func TestAClaimForNobodyGoesBack(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	must(t, n.Node, putCommand("/a", "x"), "")
	gone := queuedFor(t, n.Node, claimCommand("q"), "")
	must(t, n.Node, enqueueCommand("q", "x"), "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := gone.ended(ctx, <-gone.end.done); !errors.Is(err, context.Canceled) {
		t.Fatalf("claimed for nobody: %v", err)
	}
	res, err := n.Acquire(t.Context(), claimCommand("q"), "", patience)
	if err != nil || len(res.Claimed) != 1 || res.Claimed[0].Attempts != 1 {
		t.Fatalf("claimed again: %+v, %v", res, err)
	}
}

// What comes due by cluster age is proposed by the leader.
func TestALockDelayEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		n := c.leader().Node
		cmd := lockCommand("l", "a", time.Second, false)
		cmd.GetAcquire().LockDelayMs = 20_000
		locks(t, n, cmd, "")
		got := wants(t.Context(), n, lockCommand("l", "b", time.Minute, true), "", time.Minute)
		waiting(t, n, "l", 1)
		until(t, "expired", func() bool { return lock(t, n, "l").Held == 0 })
		expired := time.Now()
		pass(t, 15*time.Second)
		none(t, got)
		granted(t, got, time.Minute)
		if took := time.Since(expired); took < 20*time.Second-100*time.Millisecond || took > 21*time.Second {
			t.Errorf("granted after %v", took)
		}
	})
}

// A replay of what opened a session has it acknowledged anew, and tells the
// token that the server drew.
func TestReplaysTellTheToken(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	home := c.follower().Node
	keyed := func(cmd *commandpb.Command, key byte) *commandpb.Command {
		hash := make([]byte, 32)
		hash[0] = key
		cmd.Key = &commandpb.Key{Hash: hash, Digest: hash}
		return cmd
	}
	for i, command := range []func() *commandpb.Command{
		func() *commandpb.Command { return keyed(openCommand(time.Minute), 1) },
		func() *commandpb.Command { return keyed(lockCommand("l", "a", time.Minute, true), 2) },
	} {
		first, err := home.Acquire(t.Context(), command(), "", patience)
		if err != nil || first.Code != tree.OK || first.Token == "" || first.Remaining <= 0 {
			t.Fatalf("%d: %+v, %v", i, first, err)
		}
		again, err := home.Acquire(t.Context(), command(), "", patience)
		if err != nil || !again.Replayed || again.Token != first.Token || again.Remaining <= 0 || again.Session.ID != first.Session.ID {
			t.Fatalf("%d again: %+v, %v", i, again, err)
		}
	}
}
