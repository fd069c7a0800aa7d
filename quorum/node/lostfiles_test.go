package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perch/quorum/wal"
)

// written makes a node in dir that has taken snapshots and purged its log, ends
// it, and returns its configuration and the status at its end.
func written(t *testing.T, dir string) (Config, *running) {
	t.Helper()
	cfg := alone(t, dir)
	often(&cfg)
	n := start(t, cfg)
	until(t, "purged, with two snapshots", func() bool {
		fill(t, n.Node, 0, 40)
		return n.Status().LogStart > 0 && len(snapshotFiles(dir)) >= 2
	})
	n.end(t)
	return cfg, n
}

func snapshotFiles(dir string) []string {
	files, _ := filepath.Glob(filepath.Join(dir, "snap", "*.snap"))
	return files
}

// refused opens a node, which must fail because no snapshot and log belong
// together, with what a person or a program needs to go on.
func refused(t *testing.T, cfg Config) {
	t.Helper()
	var damage *wal.DamageError
	n, err := Open(cfg)
	if err == nil {
		_ = n.Close()
		t.Fatal("it was opened")
	}
	if !errors.As(err, &damage) || damage.File != filepath.Join(cfg.Dir, "snap") ||
		!strings.Contains(damage.Reason, "no whole snapshot reaches back") || damage.Remedy == "" {
		t.Fatalf("%#v: %v", damage, err)
	}
}

// TestTheOldestSegmentIsMissed: the log itself cannot tell a lost first segment
// from one that was purged, but no snapshot reaches back to the second.
func TestTheOldestSegmentIsMissed(t *testing.T) {
	cfg := alone(t, t.TempDir())
	cfg.SegmentBytes, cfg.SnapshotEvery = 64<<10, time.Hour
	n := start(t, cfg)
	fill(t, n.Node, 0, 200)
	n.end(t)
	first := filepath.Join(cfg.Dir, "log", "0000000000000001.log")
	if err := os.Rename(first, first+".away"); err != nil {
		t.Fatal(err)
	}
	refused(t, cfg)
	if err := os.Rename(first+".away", first); err != nil {
		t.Fatal(err)
	}
	again := start(t, cfg)
	until(t, "back", func() bool { return again.Status().Applied >= n.Status().Applied })
	again.end(t)
}

// TestSnapshotsOfOthers: a snapshot is used only if it stands under its own
// name and the log holds its position with the same chain hash.
func TestSnapshotsOfOthers(t *testing.T) {
	_, other := written(t, t.TempDir())
	cfg, mine := written(t, t.TempDir())
	want := mine.view()
	snaps, own := filepath.Join(cfg.Dir, "snap"), t.TempDir()
	copyFiles(t, snaps, own)

	// Those of another cluster beside its own do no harm; nor do they replace one.
	copyFiles(t, filepath.Join(other.cfg.Dir, "snap"), snaps)
	copyFiles(t, own, snaps)
	again := start(t, cfg)
	until(t, "back", func() bool { return again.view().Zxid() >= want.Zxid() })
	if got := again.view(); got.Zxid() == want.Zxid() && got.Digest() != want.Digest() {
		t.Fatalf("the state is another one: %x, was %x", got.Digest(), want.Digest())
	}
	again.end(t)

	// In the place of its own they are of no use.
	clean(t, snaps)
	copyFiles(t, filepath.Join(other.cfg.Dir, "snap"), snaps)
	refused(t, cfg)

	// And so are its own under each other's names.
	clean(t, snaps)
	files, _ := filepath.Glob(filepath.Join(own, "*.snap"))
	if len(files) < 2 {
		t.Fatalf("%d snapshots", len(files))
	}
	for i, from := range files {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(snaps, filepath.Base(files[(i+1)%len(files)])), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	refused(t, cfg)
}

// copyFiles copies what is in one directory into another, over what is there.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func clean(t *testing.T, dir string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
}
