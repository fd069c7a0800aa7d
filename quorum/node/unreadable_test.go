package node

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"perch/quorum"
	"perch/quorum/wal"
)

// A leader that cannot read what a learner needs stops and says where its log is
// damaged; the others go on, and the learner gets its entries from them.
func TestALeaderWithAnUnreadableLogStops(t *testing.T) {
	c := newCluster(t, newMemNet(7), func(cfg *Config) { cfg.Tuning = quorum.Tuning{CacheBytes: 1} })
	sick := c.leader()
	late := c.follower().cfg.ID
	c.stop(late)
	fill(t, sick.Node, 0, 40)
	flip(t, sick.cfg.Dir, "/fill/20")
	c.start(late)
	var damage *wal.DamageError
	if err := <-sick.ended; !errors.As(err, &damage) {
		t.Fatalf("the node ended with %v", err)
	}
	delete(c.nodes, sick.cfg.ID)
	fill(t, c.leader().Node, 40, 41)
	c.agree()
}

// flip changes a bit behind the first place where a log holds text.
func flip(t *testing.T, dir, text string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "log", "*"))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(b, []byte(text))
		if at < 0 {
			continue
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{b[at+50] ^ 1}, int64(at+50)); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no log holds %q", text)
}
