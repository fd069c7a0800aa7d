package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perch/lease"
	"perch/quorum"
)

// often has nodes take snapshots all the time.
func often(cfg *Config) {
	cfg.SegmentBytes, cfg.SnapshotBytes = 64<<10, 32<<10
	cfg.SnapshotEvery, cfg.SnapshotKeep = 20*time.Millisecond, 2
}

// fill writes n values of a kilobyte.
func fill(t testing.TB, n *Node, from, to int) {
	t.Helper()
	data := strings.Repeat("x", 1000)
	for i := from; i < to; i++ {
		must(t, n, putCommand(fmt.Sprintf("/fill/%d", i%500), data), "")
	}
}

func TestSnapshotsReplaceTheLog(t *testing.T) {
	dir := t.TempDir()
	cfg := alone(t, dir)
	often(&cfg)
	n := start(t, cfg)
	fill(t, n.Node, 0, 300)
	until(t, "purged", func() bool {
		fill(t, n.Node, 0, 20)
		s := n.Status()
		return s.Snapshot > 0 && s.LogStart > 0
	})
	want := n.Status()
	n.end(t)
	again := start(t, cfg)
	until(t, "back", func() bool { return again.Status().Applied >= want.Applied && again.Status().Ready })
	if got := again.view(); got.Zxid() == want.Applied && got.Digest() != want.Digest {
		t.Fatalf("the state after the restart differs: %x, was %x", got.Digest(), want.Digest)
	}
	again.end(t)
	if kept, _ := filepath.Glob(filepath.Join(dir, "snap", "*.snap")); len(kept) > 3 {
		t.Fatalf("%d snapshots are kept", len(kept))
	}
}

// The first snapshots purge nothing: the log reaches back to before them, as it
// does once there are as many as are kept.
func TestTheFirstSnapshotsKeepTheLog(t *testing.T) {
	cfg := alone(t, t.TempDir())
	often(&cfg)
	cfg.SnapshotEvery, cfg.SnapshotKeep = time.Hour, 3 // none but those taken here
	n := start(t, cfg)
	defer n.end(t)
	for range n.cfg.SnapshotKeep - 1 {
		fill(t, n.Node, 0, 300)
		if err := n.snaps.take(0); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := n.snaps.store.List()
	if s := n.Status(); err != nil || len(kept) != n.cfg.SnapshotKeep-1 || s.LogStart != 0 {
		t.Fatalf("%d snapshots, the log begins after %v: %v", len(kept), s.LogStart, err)
	}
}

// A follower that was away for longer than the log reaches back gets a
// snapshot, and parked interests at it see what they missed.
func TestAFollowerCatchesUpFromASnapshot(t *testing.T) {
	overBoth(t, often, func(t *testing.T, c *cluster) {
		late := c.follower()
		id := late.cfg.ID
		must(t, late.Node, openCommand(time.Minute), clientToken)
		c.stop(id)
		leader := c.leader()
		away := late.positions.now()
		fill(t, leader.Node, 0, 600)
		until(t, "purged", func() bool {
			fill(t, leader.Node, 0, 50)
			purged := true
			for _, n := range c.nodes {
				purged = purged && n.Status().LogStart > away
			}
			return purged
		})
		c.start(id)
		c.agree()
		late = c.nodes[id]
		if late.Status().Snapshot <= away {
			t.Fatalf("the snapshot is at %v, the node had %v", late.Status().Snapshot, away)
		}
		must(t, late.Node, putCommand("/after", "x"), "")
		touch(t, late.Node, clientToken, 0)
		get(t, late.Node, "/fill/1", lease.At{Linearizable: true})
		// What was installed is what the node starts from.
		c.stop(id)
		c.start(id)
		c.agree()
	})
}

func TestADamagedSnapshotIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	cfg := alone(t, dir)
	cfg.SnapshotBytes, cfg.SnapshotEvery = 32<<10, 20*time.Millisecond
	n := start(t, cfg)
	until(t, "snapshots", func() bool {
		fill(t, n.Node, 0, 50)
		kept, _ := filepath.Glob(filepath.Join(dir, "snap", "*.snap"))
		return len(kept) >= 2
	})
	want := n.positions.now()
	n.end(t)
	kept, _ := filepath.Glob(filepath.Join(dir, "snap", "*.snap"))
	newest := kept[len(kept)-1]
	raw, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(newest, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	again := start(t, cfg)
	until(t, "back", func() bool { return again.positions.now() >= want })
	again.end(t)
}

// TestALostLogIsNotAnEmptyStore: snapshots without their log are no store to
// begin anew with, neither at the first start nor at a later one.
func TestALostLogIsNotAnEmptyStore(t *testing.T) {
	dir := t.TempDir()
	cfg := alone(t, dir)
	often(&cfg)
	n := start(t, cfg)
	until(t, "a snapshot", func() bool {
		fill(t, n.Node, 0, 50)
		return n.Status().Snapshot > 0
	})
	n.end(t)
	if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "but no log") {
			t.Fatalf("opened without its log: %v", err)
		}
	}
}

func TestADamagedLogIsRefused(t *testing.T) {
	dir := t.TempDir()
	n := start(t, alone(t, dir))
	for i := range 50 {
		must(t, n.Node, putCommand("/a", fmt.Sprint(i)), "")
	}
	n.end(t)
	logs, _ := filepath.Glob(filepath.Join(dir, "log", "*"))
	var largest string
	var size int64
	for _, l := range logs {
		if st, err := os.Stat(l); err == nil && st.Size() > size {
			largest, size = l, st.Size()
		}
	}
	raw, err := os.ReadFile(largest)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(raw), "/a") // inside an early record
	raw[at] ^= 1
	if err := os.WriteFile(largest, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(alone(t, dir))
	if err == nil {
		t.Fatal("a damaged log was opened")
	}
	for _, part := range []string{largest, "offset"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %q: %v", part, err)
		}
	}
}

// A wiped voter finds its cluster formed: it does not vote, and says so.
func TestAWipedVoterSaysWhatToDo(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		wiped := c.follower().cfg.ID
		leader := c.leader()
		must(t, leader.Node, putCommand("/a", "x"), "")
		c.stop(wiped)
		c.dirs[wiped] = t.TempDir()
		c.start(wiped)
		var s lease.Status
		until(t, "refusing", func() bool {
			s = c.nodes[wiped].Status()
			return s.Soft.Forming == quorum.Rebuild
		})
		if s.Ready || s.NotReady == "" {
			t.Fatalf("ready %v: %q", s.Ready, s.NotReady)
		}
		t.Log(s.NotReady)
		must(t, leader.Node, putCommand("/b", "x"), "")
	})
}
