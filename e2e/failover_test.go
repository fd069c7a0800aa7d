package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"
)

// The leader is killed again and again under sixteen writers: every write that
// was acknowledged is there on all three nodes, which have equal digests.
func TestLeaderKilledUnderLoad(t *testing.T) {
	c := startThree(t)
	l := &load{root: "/load", nodes: c.nodes, writers: 16, pause: 2 * time.Millisecond}
	l.start()
	defer l.finish()
	kills := scaled(5, 20)
	for range kills {
		beat := time.NewTimer(3 * time.Second) // the rhythm of the kills, not a proof of anything
		l.waitAcked(t, 100)
		leader := c.leader()
		leader.kill()
		leader.spawn()
		<-beat.C
	}
	l.waitAcked(t, 100)
	l.finish()
	c.waitReady()
	c.sameState()
	for _, n := range c.nodes {
		l.verify(n)
	}
	t.Logf("%d kills of the leader, %d writes acknowledged, none lost; the longest pause was %v",
		kills, l.acked.Load(), l.longest.Round(time.Millisecond))
}

// All three are killed at once under load and started again.
func TestAllKilledUnderLoad(t *testing.T) {
	c := startThree(t)
	for round := range scaled(2, 10) {
		l := &load{root: fmt.Sprintf("/round%d", round), nodes: c.nodes, writers: 16}
		l.start()
		l.waitAcked(t, 1000)
		for _, n := range c.nodes {
			n.signal(syscall.SIGKILL)
		}
		for _, n := range c.nodes {
			n.wait()
		}
		l.finish()
		c.spawnAll()
		began := time.Now()
		c.waitReady()
		took := time.Since(began)
		c.sameState()
		for _, n := range c.nodes {
			l.verify(n)
		}
		t.Logf("all three killed after %d acknowledged writes, ready again after %v, none lost", l.acked.Load(), took.Round(time.Millisecond))
	}
}

// A follower that was away for many writes catches up.
func TestFollowerCatchesUp(t *testing.T) {
	c := startThree(t)
	away := c.follower()
	away.signal(syscall.SIGTERM)
	if code := away.wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	var rest []*node
	for _, n := range c.nodes {
		if n != away {
			rest = append(rest, n)
		}
	}
	l := &load{root: "/missed", nodes: rest, writers: 32, limit: scaled(20_000, 200_000)}
	l.start()
	l.done.Wait()
	if got := l.acked.Load(); got < int64(l.limit)*9/10 {
		t.Fatalf("only %d of %d writes were acknowledged by the two others", got, l.limit)
	}
	_, goal, err := rest[0].position()
	if err != nil {
		t.Fatal(err)
	}
	away.spawn()
	began := time.Now()
	away.waitReady()
	if _, have, err := away.position(); err != nil || have+1024 < goal {
		t.Errorf("it calls itself ready at %d, while the others were at %d: %v", have, goal, err)
	}
	t.Logf("%d writes missed, ready again after %v", l.acked.Load(), time.Since(began).Round(time.Millisecond))
	c.sameState()
	l.verify(away)
}

// Leadership goes round the cluster under load, asked for at any node. No write
// fails, and each is there once; the pause of writes is measured.
func TestLeadershipTransferredUnderLoad(t *testing.T) {
	c := startThree(t)
	l := &load{root: "/moved", nodes: c.nodes, writers: 8}
	l.start()
	defer l.finish()
	var pauses []time.Duration
	for turn := range scaled(6, 20) {
		l.waitAcked(t, 100)
		l.takeLongest()
		from := c.leader()
		to := c.nodes[(turn+1)%3]
		if to == from {
			to = c.nodes[(turn+2)%3]
		}
		at := c.nodes[turn%3]
		a, err := send(t.Context(), http.MethodPost, at.url()+"/v1/cluster/transfer", fmt.Sprintf(`{"to":"%d"}`, to.id))
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("from %d to %d, asked at %d: status %d, %v: %s", from.id, to.id, at.id, a.status, err, a.body)
		}
		if got := c.leader(); got != to {
			t.Fatalf("node %d leads, not %d", got.id, to.id)
		}
		l.waitAcked(t, 100)
		pauses = append(pauses, l.takeLongest())
	}
	l.finish()
	c.sameState()
	for _, r := range l.records {
		if r.zxid == 0 {
			t.Errorf("the write of %s failed", r.path)
		}
	}
	for _, n := range c.nodes {
		l.verify(n)
	}
	slices.Sort(pauses)
	t.Logf("%d transfers under %d acknowledged writes, none failed; writes paused for %v in the median, %v at most",
		len(pauses), l.acked.Load(), pauses[len(pauses)/2].Round(time.Millisecond), pauses[len(pauses)-1].Round(time.Millisecond))
}
