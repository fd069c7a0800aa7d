package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/wal"
)

// rebuilt waits until a node votes again on the disk that it has now.
func (c *cluster) rebuilt(id quorum.NodeID) {
	c.t.Helper()
	until(c.t, fmt.Sprintf("node %d rebuilt", id), func() bool {
		n := c.nodes[id]
		return n.Soft().Established && n.Soft().Refusal == "" && !n.control.Load().NeedsRebuild && n.Soft().State != quorum.StateObserving
	})
}

// damage flips a bit in the middle of the first segment of a log.
func damage(t *testing.T, dir string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no segment in %s: %v", dir, err)
	}
	b, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	end := len(b)
	for end > 0 && b[end-1] == 0 {
		end--
	}
	b[end/2] ^= 4
	if err := os.WriteFile(segments[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ZAB.md 3: a follower, and then the leader, loses its whole directory. Each
// comes back by itself as a voter, so that another one may be lost next.
func TestAWipedVoterIsRebuilt(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, c *cluster) {
		must(t, c.leader().Node, putCommand("/a", "1"), "")
		for i, pick := range []func() *running{c.follower, c.leader} {
			id := pick().cfg.ID
			c.kill(id)
			if err := os.RemoveAll(c.dirs[id]); err != nil {
				t.Fatal(err)
			}
			c.start(id)
			c.rebuilt(id)
			must(t, c.leader().Node, putCommand(fmt.Sprint("/b/", i), "2"), "")
			c.agree()
		}
		last := c.follower().cfg.ID
		c.kill(last)
		must(t, c.leader().Node, putCommand("/c", "3"), "")
		c.start(last)
		c.agree()
	})
}

// A damaged log is set aside with a word on where it is damaged, and the node is
// rebuilt; of what is set aside the newest two are kept.
func TestADamagedStoreIsSetAside(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	for i := range 20 {
		must(t, c.leader().Node, putCommand(fmt.Sprint("/a/", i), "1"), "")
	}
	id := c.follower().cfg.ID
	for round := 1; round <= 3; round++ {
		c.kill(id)
		damage(t, c.dirs[id])
		c.start(id)
		if why := c.nodes[id].control.Load().Reason; !strings.Contains(why, ".log is damaged at offset") {
			t.Errorf("the reason is %q", why)
		}
		c.rebuilt(id)
		c.agree()
	}
	kept, err := asides(c.dirs[id])
	if err != nil || len(kept) != asideKept || kept[1] != 3 {
		t.Errorf("set aside: %v, %v", kept, err)
	}
	if _, err := os.Stat(filepath.Join(c.dirs[id], "set-aside-3", "log", "store")); err != nil {
		t.Error(err)
	}
}

// A directory that is taken back to an older image of itself is refused by the
// others, which know a later start of it, and told so; it is set aside.
func TestAnOlderImageIsRefused(t *testing.T) {
	c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.RebuildAfter = time.Millisecond })
	must(t, c.leader().Node, putCommand("/a", "1"), "")
	id := c.follower().cfg.ID
	image := filepath.Join(t.TempDir(), "image")
	c.kill(id)
	if err := os.CopyFS(image, os.DirFS(c.dirs[id])); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.start(id)
		until(t, "in sync", func() bool { return c.nodes[id].Soft().Established })
		must(t, c.nodes[id].Node, putCommand("/a", "2"), "")
		c.agree()
		c.kill(id)
	}
	c.dirs[id] = image
	cfg := c.config(id)
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); !errors.Is(err, ErrRebuild) {
		t.Fatalf("an older image ran and ended with %v", err)
	}
	c.start(id)
	if why := c.nodes[id].control.Load().Reason; !strings.Contains(why, "older image") {
		t.Errorf("the reason is %q", why)
	}
	c.rebuilt(id)
	c.agree()
	get(t, c.nodes[id].Node, "/a", lease.At{})
}

// The directory of another node, and a damaged store without others to be
// rebuilt from, are refused and left as they are.
func TestWhatIsNotSetAside(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	must(t, c.leader().Node, putCommand("/a", "1"), "")
	one, two := c.follower().cfg.ID, c.leader().cfg.ID
	c.kill(one)
	c.kill(two)
	copied := filepath.Join(t.TempDir(), "copied")
	if err := os.CopyFS(copied, os.DirFS(c.dirs[two])); err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func(){"whole": func() {}, "damaged": func() { damage(t, copied) }} {
		harm()
		cfg := c.config(one)
		cfg.Dir = copied
		if _, err := Open(cfg); !errors.Is(err, wal.ErrForeign) {
			t.Errorf("the %s directory of another node: %v", name, err)
		}
	}
	alone := c.config(two)
	alone.Peers = []quorum.Peer{{ID: two}}
	alone.Dir = copied
	var bad *wal.DamageError
	if _, err := Open(alone); !errors.As(err, &bad) || bad.Remedy == "" || !strings.Contains(err.Error(), bad.File) {
		t.Errorf("a damaged store of a node that is alone: %v", err)
	}
	if ns, err := asides(copied); err != nil || len(ns) != 0 {
		t.Errorf("set aside: %v, %v", ns, err)
	}
	c.start(one)
	c.start(two)
}

// Wherever setting aside is interrupted, the next start carries it on: no store
// comes of it that takes itself for a new one.
func TestSettingAsideIsCarriedOn(t *testing.T) {
	for stop := range 4 {
		c := newCluster(t, newMemNet(1), nil)
		must(t, c.leader().Node, putCommand("/a", "1"), "")
		c.agree()
		id := c.follower().cfg.ID
		c.kill(id)
		cfg := c.config(id)
		a := aside{Dir: "set-aside-1", Reason: "the test says so"}
		steps := []func() error{
			func() error { return writeAside(cfg.Dir, &a) },
			func() error { return os.MkdirAll(filepath.Join(cfg.Dir, a.Dir), 0o700) },
			func() error { return moveAside(cfg.Dir, a.Dir) },
			func() error { return os.MkdirAll(filepath.Join(cfg.Dir, "log"), 0o700) },
		}
		for _, step := range steps[:stop+1] {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		c.start(id)
		if ctl := c.nodes[id].control.Load(); !ctl.NeedsRebuild || ctl.Reason != a.Reason {
			t.Errorf("stopped at %d: needs rebuild %v: %q", stop, ctl.NeedsRebuild, ctl.Reason)
		}
		c.rebuilt(id)
		c.agree()
		if _, err := os.Stat(filepath.Join(cfg.Dir, asideMark)); !os.IsNotExist(err) {
			t.Errorf("stopped at %d: %s is still there: %v", stop, asideMark, err)
		}
	}
}
