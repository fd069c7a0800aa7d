package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// copyDir copies what is in one directory into another.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// Files of another member, or of the same number in another cluster, in the
// place of a node's own: it refuses, says whose they are, and changes nothing.
// With its own files it is in sync again.
func TestSwappedFiles(t *testing.T) {
	c := startThree(t)
	l := &load{root: "/swapped", nodes: c.nodes, writers: 4, limit: 100}
	l.start()
	l.done.Wait()
	stranger := newNode(t)
	stranger.args = []string{"--id", "3", "--http", stranger.addr, "--data", stranger.dir}
	stranger.spawn()
	stranger.waitReady()
	other, victim := c.nodes[1], c.nodes[2]
	for _, n := range []*node{other, victim, stranger} {
		n.signal(syscall.SIGTERM)
		n.wait()
	}
	own := victim.dir + ".own"
	copyDir(t, victim.dir, own)
	segment := "log/0000000000000001.log"
	for _, s := range []struct {
		name  string
		from  *node
		files []string // none: the whole directory
		want  []string
	}{
		{"the directory of another member", other, nil, []string{victim.dir, "belongs to node 2, this is node 3", "--data directory of its own"}},
		{"the segment of another member", other, []string{segment}, []string{segment, "belongs to node 2"}},
		{"the superblock of another member", other, []string{"log/store"}, []string{"log/store", "belongs to node 2"}},
		{"the segment of another cluster", stranger, []string{segment}, []string{segment, "incarnation"}},
		{"the superblock of another cluster", stranger, []string{"log/store"}, []string{"log/store", "incarnation"}},
	} {
		if s.files == nil {
			copyDir(t, s.from.dir, victim.dir)
		} else {
			copyDir(t, own, victim.dir)
			for _, name := range s.files {
				b, err := os.ReadFile(filepath.Join(s.from.dir, name))
				if err == nil {
					err = os.WriteFile(filepath.Join(victim.dir, name), b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		before := contents(t, victim.dir)
		victim.spawn()
		if code := victim.wait(); code != 1 {
			t.Errorf("%s: exit code %d", s.name, code)
		}
		told := lastLine(victim)
		for _, want := range s.want {
			if !strings.Contains(told, want) {
				t.Errorf("%s: it does not say %q: %s", s.name, want, told)
			}
		}
		if contents(t, victim.dir) != before {
			t.Errorf("%s: files were changed", s.name)
		}
		// What is wrong with a whole directory is only whose it is.
		if code, out := runToEnd(t, nil, "log", "verify", victim.dir); s.files != nil && (code != 1 || !strings.Contains(out, s.want[0])) {
			t.Errorf("%s: perch log verify: exit code %d:\n%s", s.name, code, out)
		}
	}
	copyDir(t, own, victim.dir)
	other.spawn()
	victim.spawn()
	c.waitReady()
	c.sameState()
	l.verify(victim)
}
