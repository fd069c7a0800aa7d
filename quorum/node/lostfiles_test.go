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
	add := func() {
		for _, from := range snapshotFiles(other.cfg.Dir) {
			b, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(filepath.Join(cfg.Dir, "snap", filepath.Base(from)), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// Beside its own they do no harm. Those of the same position are replaced.
	own := snapshotFiles(cfg.Dir)
	for _, name := range own {
		if err := os.Rename(name, name+".away"); err != nil {
			t.Fatal(err)
		}
	}
	add()
	for _, name := range own {
		if err := os.Rename(name+".away", name); err != nil {
			t.Fatal(err)
		}
	}
	again := start(t, cfg)
	until(t, "back", func() bool { return again.view().Zxid() >= want.Zxid() })
	if got := again.view(); got.Zxid() == want.Zxid() && got.Digest() != want.Digest() {
		t.Fatalf("the state is another one: %x, was %x", got.Digest(), want.Digest())
	}
	again.end(t)
	// In the place of its own they are of no use, and so are its own under each
	// other's names.
	own = snapshotFiles(cfg.Dir)
	saved := t.TempDir()
	for _, name := range own {
		if err := os.Rename(name, filepath.Join(saved, filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
	}
	add()
	refused(t, cfg)
	if err := os.RemoveAll(filepath.Join(cfg.Dir, "snap")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(cfg.Dir, "snap"), os.DirFS(saved)); err != nil {
		t.Fatal(err)
	}
	files := snapshotFiles(cfg.Dir)
	for i := range files {
		if err := os.Rename(files[i], files[i]+".away"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range files {
		if err := os.Rename(files[i]+".away", files[(i+1)%len(files)]); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, cfg)
}
