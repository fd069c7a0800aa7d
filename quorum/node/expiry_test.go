package node

import (
	"testing"
	"testing/synctest"
	"time"

	"perch/lease"
	"perch/quorum"
)

// goneAfter waits until the session is gone at n and says how long that took
// from began on.
func goneAfter(n *Node, id quorum.Zxid, began time.Time) time.Duration {
	for {
		if _, ok := n.view().Session(id); !ok {
			return time.Since(began)
		}
		time.Sleep(time.Millisecond) // of the bubble's clock
	}
}

// The bounds of an expiry in a steady cluster (RULES.md part D), on a clock
// that stands still while anybody works.
func TestExpiryKeepsItsBounds(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 10 * time.Second, 40 * time.Second} {
		t.Run(ttl.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
				c.leader()
				home := c.follower().Node
				opened := must(t, home, openCommand(ttl), clientToken)
				time.Sleep(ttl / 2)
				sent := time.Now()
				held := touch(t, home, clientToken, 0)
				if held.Remaining > ttl || held.Remaining < ttl-100*time.Millisecond {
					t.Errorf("remaining %v of %v", held.Remaining, ttl)
				}
				late := min(ttl/10, time.Second) + 250*time.Millisecond
				if took := goneAfter(home, opened.Session.ID, sent); took < ttl || took > ttl+late {
					t.Errorf("gone after %v, TTL %v", took, ttl)
				}
			})
		})
	}
}

// After a change of leader a session has its whole TTL again.
func TestExpiryStartsAnewWithALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 5 * time.Second
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		dead := c.leader()
		home := c.follower().Node
		opened := must(t, home, openCommand(ttl), clientToken)
		time.Sleep(ttl - time.Second)
		killed := time.Now()
		c.kill(dead.cfg.ID)
		took := goneAfter(home, opened.Session.ID, killed)
		if took < ttl || took > ttl+2*time.Second {
			t.Errorf("gone %v after the leader died, TTL %v", took, ttl)
		}
	})
}

// Sessions that are opened again by their token are acknowledged by a touch.
func TestOpeningAgainRenews(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	first := must(t, n.Node, openCommand(time.Minute), clientToken)
	again := must(t, n.Node, openCommand(time.Minute), clientToken)
	if again.Opened || again.Session.ID != first.Session.ID || again.Remaining <= 0 || again.Remaining > time.Minute {
		t.Fatalf("opened again: %+v", again)
	}
	byUse := ephemeralCommand("/e")
	if res := must(t, n.Node, byUse, clientToken); res.Opened || res.Remaining != 0 {
		t.Fatalf("a use: %+v", res)
	}
	a, err := n.Read(t.Context(), lease.Read{Kind: lease.ReadSession, Token: clientToken})
	if err != nil || len(a.Sessions) != 1 || a.Sessions[0].Ephemerals != 1 {
		t.Fatalf("self: %+v, %v", a.Sessions, err)
	}
}

// Settings of a new cluster come from a command, so that all states begin
// equal.
func TestANewClusterIsSeededByItsLeader(t *testing.T) {
	settings := lease.DefaultSettings()
	settings.ValueBytes = 4096
	c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Settings = settings })
	c.leader()
	until(t, "seeded", func() bool {
		for _, n := range c.nodes {
			if n.Status().Settings != settings {
				return false
			}
		}
		return true
	})
	c.agree()
}
