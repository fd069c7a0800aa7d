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
	const segment, store = "log/0000000000000001.log", "log/store"
	for name, s := range map[string]struct {
		from *node
		file string
		want string
	}{
		"the segment of another member":     {other, segment, "belongs to node 2"},
		"the superblock of another member":  {other, store, "belongs to node 2"},
		"the segment of another cluster":    {stranger, segment, "incarnation"},
		"the superblock of another cluster": {stranger, store, "incarnation"},
	} {
		copyDir(t, own, victim.dir)
		b, err := os.ReadFile(filepath.Join(s.from.dir, s.file))
		if err == nil {
			err = os.WriteFile(filepath.Join(victim.dir, s.file), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		victim.refuses(name, filepath.Join(victim.dir, s.file), s.want)
		// Without the number of the node nobody can say which of two files is the wrong one.
		whose := strings.TrimPrefix(s.want, "belongs to ")
		if code, out := runToEnd(t, nil, "log", "verify", victim.dir); code != 1 || !strings.Contains(out, s.file) || !strings.Contains(out, whose) {
			t.Errorf("%s: perch log verify: exit code %d:\n%s", name, code, out)
		}
	}
	copyDir(t, other.dir, victim.dir)
	victim.refuses("the directory of another member", victim.dir, "belongs to node 2, this is node 3", "--data directory of its own")
	copyDir(t, own, victim.dir)
	other.spawn()
	victim.spawn()
	c.waitReady()
	c.sameState()
	l.verify(victim)
}

// refuses starts a node that must not start, says all of want, and leaves its
// directory alone.
func (n *node) refuses(what string, want ...string) {
	n.t.Helper()
	before := contents(n.t, n.dir)
	n.spawn()
	if code := n.wait(); code != 1 {
		n.t.Errorf("%s: exit code %d", what, code)
	}
	told := lastLine(n)
	for _, text := range want {
		if !strings.Contains(told, text) {
			n.t.Errorf("%s: it does not say %q: %s", what, text, told)
		}
	}
	if contents(n.t, n.dir) != before {
		n.t.Errorf("%s: files were changed", what)
	}
}
