package node

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"perch/lease"
	"perch/tree"
)

// The places of a home that has died go before they are granted in turn
// (RULES.md R17).
func TestPlacesOfADeadHomeGo(t *testing.T) {
	t.Run("a follower", func(t *testing.T) {
		deadHome(t, func(c *cluster) (dead, alive *running) { return c.follower(), c.leader() })
	})
	t.Run("the leader", func(t *testing.T) {
		deadHome(t, func(c *cluster) (dead, alive *running) { return c.leader(), c.follower() })
	})
}

func deadHome(t *testing.T, pick func(*cluster) (dead, alive *running)) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 60 * time.Second
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		c.leader()
		dead, home := pick(c)
		alive := home.Node
		holder := locks(t, alive, lockCommand("l", "a", ttl, false), "")
		for i := range 10 {
			wants(t.Context(), dead.Node, lockCommand("l", fmt.Sprint(i), ttl, true), "", time.Hour)
		}
		waiting(t, alive, "l", 10)
		last := wants(t.Context(), alive, lockCommand("l", "last", ttl, true), "", time.Hour)
		waiting(t, alive, "l", 11)
		pass(t, 10*time.Second)
		waiting(t, alive, "l", 11)
		c.kill(dead.cfg.ID)
		killed := time.Now()
		waiting(t, alive, "l", 1)
		if took := time.Since(killed); took < 2*time.Second || took > 5*time.Second {
			t.Errorf("gone after %v", took)
		}
		must(t, alive, releaseCommand("l"), holder.Token)
		granted(t, last, ttl)
	})
}

// A grant that its home does not confirm is taken back (RULES.md R17).
func TestAnUnconfirmedGrantIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 60 * time.Second
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		leader, home := c.leader().Node, c.follower().Node
		holder := locks(t, leader, lockCommand("l", "a", ttl, false), "")
		deaf := queuedFor(t, home, lockCommand("l", "b", ttl, true), "")
		last := wants(t.Context(), leader, lockCommand("l", "c", ttl, true), "", time.Hour)
		waiting(t, leader, "l", 2)
		released := time.Now()
		must(t, leader, releaseCommand("l"), holder.Token)
		granted(t, last, ttl)
		if took := time.Since(released); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("taken back after %v", took)
		}
		e := <-deaf.end.done
		if res, err := deaf.ended(t.Context(), e); err != nil || res.Code != tree.ErrSessionExpired && res.Code != tree.ErrHoldLost {
			t.Errorf("confirmed too late: %+v, %v", res, err)
		}
	})
}

// A node that stops keeps its clients' places for a while: they ask again
// elsewhere (RULES.md R16).
func TestPlacesOutliveADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 60 * time.Second
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		leader, old := c.leader().Node, c.follower()
		holder := locks(t, leader, lockCommand("l", "a", ttl, false), "")
		a := wants(t.Context(), old.Node, lockCommand("l", "b", ttl, true), clientToken, time.Hour)
		waiting(t, leader, "l", 1)
		b := wants(t.Context(), old.Node, lockCommand("l", "c", ttl, true), "", time.Hour)
		waiting(t, leader, "l", 2)
		stopped := time.Now()
		c.stop(old.cfg.ID)
		for _, got := range []<-chan acquired{a, b} {
			if a := <-got; !errors.Is(a.err, lease.ErrShuttingDown) {
				t.Fatalf("at the drain: %+v, %v", a.res, a.err)
			}
		}
		pass(t, 4*time.Second)
		if lock(t, leader, "l").Waiting != 2 {
			t.Fatal("places have gone with their home")
		}
		again := wants(t.Context(), leader, lockCommand("l", "b", ttl, true), clientToken, time.Hour)
		waiting(t, leader, "l", 1)
		if took := time.Since(stopped); took < 5*time.Second || took > 7*time.Second {
			t.Errorf("the other place has gone after %v", took)
		}
		must(t, leader, releaseCommand("l"), holder.Token)
		granted(t, again, ttl)
	})
}

// The places of a leader that stops are kept by the next one.
func TestPlacesOutliveTheDrainOfTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 60 * time.Second
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		old, other := c.leader(), c.follower().Node
		locks(t, other, lockCommand("l", "a", ttl, false), "")
		wants(t.Context(), old.Node, lockCommand("l", "b", ttl, true), clientToken, time.Hour)
		waiting(t, other, "l", 1)
		c.stop(old.cfg.ID)
		c.leader()
		pass(t, 4*time.Second)
		if lock(t, other, "l").Waiting != 1 {
			t.Fatal("the place has gone with its home")
		}
		waiting(t, other, "l", 0)
	})
}

// What long sessions have left goes over to the next leader (RULES.md R22).
func TestLongSessionsAcrossLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 100 * time.Second
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		first := c.leader()
		home := c.follower().Node
		silent := must(t, home, openCommand(ttl), "").Session.ID
		touched := must(t, home, openCommand(ttl), clientToken).Session.ID
		opened := time.Now()
		pass(t, 45*time.Second)
		until(t, "checkpointed", func() bool { return home.view().Left(touched) != 0 && home.view().Left(silent) <= 60_000 })
		held := touch(t, home, clientToken, 0)
		if held.Remaining < ttl-time.Second {
			t.Fatalf("touched: %+v", held)
		}
		if err := home.positions.await(t.Context(), held.Zxid); err != nil {
			t.Fatal(err)
		}
		if home.view().Left(touched) != 0 || home.view().Left(silent) == 0 {
			t.Fatalf("after the touch: %v and %v left", home.view().Left(touched), home.view().Left(silent))
		}
		renewed := time.Now()
		c.kill(first.cfg.ID)
		if took := goneAfter(home, silent, opened); took < ttl || took > ttl+ttl/10+5*time.Second {
			t.Errorf("the silent one has gone after %v", took)
		}
		if took := goneAfter(home, touched, renewed); took < ttl || took > ttl+ttl/10+5*time.Second {
			t.Errorf("the touched one has gone after %v", took)
		}
	})
}
