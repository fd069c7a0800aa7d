package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

const clientToken = "0123456789abcdef0123456789abcdef"

func closeCommand() *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_CloseSession{CloseSession: &commandpb.CloseSession{}}}
}

// touch renews, again while there is no leader.
func touch(t testing.TB, n *Node, token string, ttl time.Duration) lease.Held {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		held, err := n.Touch(t.Context(), nil, token, ttl)
		if err == nil {
			return held
		}
		if !errors.Is(err, lease.ErrNoLeader) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func exists(n *Node, path string) bool {
	_, _, err := n.view().Read(lease.Read{Kind: lease.ReadStat, Path: path}, lease.Cursor{}, wall())
	return err == nil
}

func TestSessionLivesWhileTouchedAndEndsAfter(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		c.leader()
		home := c.follower().Node
		opened := must(t, home, openCommand(time.Second), "")
		if !opened.Opened || opened.Token == "" || opened.Remaining <= 0 || opened.Remaining > time.Second {
			t.Fatalf("opened: %+v", opened)
		}
		must(t, home, ephemeralCommand("/mine"), opened.Token)
		end := time.Now().Add(2500 * time.Millisecond)
		for time.Now().Before(end) {
			held := touch(t, home, opened.Token, 0)
			if held.ID != opened.Session.ID || held.Remaining <= 0 || held.Remaining > time.Second || held.Ephemerals != 1 {
				t.Fatalf("held: %+v", held)
			}
			if !exists(home, "/mine") {
				t.Fatal("gone although its session was renewed in time")
			}
			time.Sleep(100 * time.Millisecond) // a client's own pace
		}
		until(t, "expired", func() bool { return !exists(home, "/mine") })
		if _, err := home.Touch(t.Context(), nil, opened.Token, 0); !errors.Is(err, tree.ErrSessionExpired) {
			t.Fatalf("a touch after the end: %v", err)
		}
		if _, err := home.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/", Token: opened.Token}); !errors.Is(err, tree.ErrSessionExpired) {
			t.Fatalf("a read after the end: %v", err)
		}
		batch, err := home.view().Events(lease.EventQuery{Path: "/mine", Scope: tree.ScopeNode}, tree.Bounds{}, 0)
		if err != nil || batch.Events[len(batch.Events)-1].Cause != tree.CauseSessionExpired {
			t.Fatalf("events: %+v, %v", batch.Events, err)
		}
		c.agree()
	})
}

func TestGatheredTouchesKeepASession(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		c.leader()
		home := c.follower().Node
		opened := must(t, home, openCommand(time.Second), clientToken)
		if opened.Token != "" {
			t.Fatal("a token was drawn beside the client's")
		}
		for range 40 {
			home.TouchLater(nil, clientToken)
			time.Sleep(60 * time.Millisecond) // a client's own pace
		}
		if _, ok := home.view().Session(opened.Session.ID); !ok {
			t.Fatal("the session has ended")
		}
	})
}

// A new leader knows nothing of touches: every session has its whole TTL again,
// and is kept by touches at the new one.
func TestSessionsOutliveTheirLeader(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		home := c.follower().Node
		opened := must(t, home, openCommand(3*time.Second), clientToken)
		must(t, home, ephemeralCommand("/mine"), clientToken)
		c.kill(leader.cfg.ID)
		for range 20 {
			touch(t, home, clientToken, 0)
			time.Sleep(50 * time.Millisecond) // a client's own pace
		}
		if _, ok := home.view().Session(opened.Session.ID); !ok {
			t.Fatal("the session has ended")
		}
		res := must(t, home, closeCommand(), clientToken)
		if exists(home, "/mine") || len(res.Ended) != 1 {
			t.Fatalf("after the close: %+v", res)
		}
		if held, err := home.Touch(t.Context(), nil, clientToken, 0); !errors.Is(err, tree.ErrSessionExpired) || held.Zxid < res.Zxid {
			t.Fatalf("a touch after the close: %v at %v", err, held.Zxid)
		}
	})
}

func TestTouchSetsTheTTL(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		c.leader()
		home := c.follower().Node
		must(t, home, openCommand(2*time.Second), clientToken)
		if held := touch(t, home, clientToken, time.Minute); held.TTL != time.Minute || held.Remaining <= 50*time.Second {
			t.Fatalf("held: %+v", held)
		}
		if held, err := home.Touch(t.Context(), nil, clientToken, time.Millisecond); !errors.Is(err, tree.ErrInvalidArgument) || held.Zxid == 0 {
			t.Fatalf("a TTL out of bounds: %v at %v", err, held.Zxid)
		}
	})
}

// A token that a node has not heard of yet is looked up where it is known.
func TestATokenIsKnownEverywhere(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		must(t, leader.Node, openCommand(time.Minute), clientToken)
		for _, n := range c.nodes {
			if held := touch(t, n.Node, clientToken, 0); held.TTL != time.Minute {
				t.Fatalf("held: %+v", held)
			}
		}
		for _, token := range []string{"short", "unknown-unknown-unknown-unknown", "ps1_0000000000000001_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
			if _, err := leader.Touch(t.Context(), nil, token, 0); !errors.Is(err, tree.ErrSessionExpired) {
				t.Fatalf("token %q: %v", token, err)
			}
		}
	})
}

// A leader that was cut off acknowledges no touch (RULES.md R12).
func TestACutOffLeaderAcknowledgesNothing(t *testing.T) {
	net := newMemNet(1)
	c := newCluster(t, net, nil)
	old := c.leader()
	must(t, old.Node, openCommand(time.Minute), clientToken)
	net.isolate(old.cfg.ID, true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if held, err := old.Touch(ctx, nil, clientToken, 0); !errors.Is(err, lease.ErrNoLeader) {
		t.Fatalf("a touch at a cut off leader: %+v, %v", held, err)
	}
	if _, err := old.Read(ctx, lease.Read{Kind: lease.ReadNode, Path: "/", At: lease.At{Linearizable: true}}); !errors.Is(err, lease.ErrNoLeader) && !errors.Is(err, lease.ErrNoQuorum) {
		t.Fatalf("a linearizable read at a cut off leader: %v", err)
	}
	if _, err := old.Read(ctx, lease.Read{Kind: lease.ReadNode, Path: "/"}); err != nil {
		t.Fatalf("a local read: %v", err)
	}
	if _, err := old.Write(ctx, putCommand("/lost", "x"), ""); !errors.Is(err, lease.ErrNoLeader) {
		t.Fatalf("a write at a node without a leader: %v", err)
	}
	net.isolate(old.cfg.ID, false)
	c.agree()
}

func TestSessionsAreListedInPages(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		first, second := c.leader().Node, c.follower().Node
		want := make(map[quorum.Zxid]bool)
		for range 7 {
			want[must(t, first, openCommand(time.Minute), "").Session.ID] = true
		}
		q := lease.Read{Kind: lease.ReadSessions, Limit: 3, At: lease.At{Linearizable: true}}
		for turn := 0; ; turn++ {
			n := first
			if turn%2 == 1 {
				n = second // passes it on to the node that pins the state
			}
			a, err := n.Read(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range a.Sessions {
				if !want[s.ID] {
					t.Fatalf("session %v is unknown or came twice", s.ID)
				}
				delete(want, s.ID)
			}
			if a.NextPage == "" {
				break
			}
			q.PageToken = a.NextPage
			must(t, first, openCommand(time.Minute), "") // not in the pinned state
		}
		if len(want) != 0 {
			t.Fatalf("%d sessions are missing", len(want))
		}
	})
}
