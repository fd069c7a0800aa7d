package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A voter whose directory was deleted is rebuilt from the others and votes again
// by itself; the leader too. Then another one may be lost.
func TestDeletedDirectoryIsRebuilt(t *testing.T) {
	c := startThree(t)
	for i, pick := range []func() *node{c.follower, c.leader} {
		c.leader().put("/kept", fmt.Sprint("before ", i))
		wiped := pick()
		wiped.kill()
		if err := os.RemoveAll(wiped.dir); err != nil {
			t.Fatal(err)
		}
		wiped.spawn()
		wiped.waitReady()
		if told := wiped.tail(); !strings.Contains(told, "another one") {
			t.Errorf("it does not say that it is rebuilt: %s", told)
		}
		c.sameState()
	}
	c.follower().kill()
	c.leader().put("/kept", "after")
}

// A directory that is taken back to an older image of itself is refused by the
// others, set aside and rebuilt, without anybody's help.
func TestAnOlderImageIsRebuilt(t *testing.T) {
	c := startThree(t)
	c.leader().put("/kept", "old")
	n := c.follower()
	n.kill()
	image := n.dir + ".image"
	copyDir(t, n.dir, image)
	for range 2 {
		n.spawn()
		n.waitReady()
		c.leader().put("/kept", "new")
		c.sameState()
		n.kill()
	}
	copyDir(t, image, n.dir)
	n.spawn()
	eventually(t, patience, "the image is set aside", func() error {
		if _, err := os.Stat(filepath.Join(n.dir, "set-aside-1", "log")); err != nil {
			return err
		}
		return nil
	})
	n.waitReady()
	if told := n.tail(); !strings.Contains(told, "older image") {
		t.Errorf("it does not say why: %s", told)
	}
	c.sameState()
	if got := n.must(http.StatusOK, http.MethodGet, "/v1/nodes/kept", "").body; got != "new" {
		t.Errorf("got %q", got)
	}
}

// lastLine is the last thing that a node wrote.
func lastLine(n *node) string {
	lines := strings.Split(strings.TrimSpace(n.tail()), "\n")
	return lines[len(lines)-1]
}

// damage is done to the log of a stopped node.
type damage struct {
	name string
	do   func(text []byte) []byte
}

// cutTail cuts the log so many bytes before the end of what is written in it.
// (Behind that a log may have space in reserve, full of zeros.)
func cutTail(bytes int) damage {
	return damage{fmt.Sprintf("last %d bytes cut", bytes), func(text []byte) []byte {
		return text[:max(written(text)-bytes, 0)]
	}}
}

// flip inverts a bit at a fraction of what is written in the log.
func flip(numerator, denominator int) damage {
	return damage{fmt.Sprintf("bit flipped at %d/%d", numerator, denominator), func(text []byte) []byte {
		text[written(text)*numerator/denominator] ^= 0x10
		return text
	}}
}

func written(text []byte) int { return len(bytes.TrimRight(text, "\x00")) }

// A follower whose log was damaged while it was down ends in sync: what looks
// torn is cut, and else the store is set aside, with a message that says file and
// offset, and rebuilt. The write after that needs it: the third node is down.
func TestDamagedLog(t *testing.T) {
	c := startThree(t)
	l := &load{root: "/damage", nodes: c.nodes, writers: 4, limit: 400}
	l.start()
	l.done.Wait()
	victim := c.follower()
	cases := []damage{cutTail(1), cutTail(64), flip(1, 3), flip(1, 2), flip(9, 10)}
	if soak {
		for n := range 300 { // beyond the length of the last record
			cases = append(cases, cutTail(n+1))
		}
		for n := range 64 {
			cases = append(cases, flip(n, 64))
		}
	}
	rebuilt := 0
	for _, d := range cases {
		victim.kill()
		log := newestLog(t, filepath.Join(victim.dir, "log"))
		whole, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(log, d.do(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(victim.dir + ".log")
		victim.spawn()
		victim.waitReady()
		if told := victim.tail(); strings.Contains(told, "was set aside") {
			rebuilt++
			for _, want := range []string{log, "damaged at offset"} {
				if !strings.Contains(told, want) {
					t.Errorf("%s: it does not say %q: %s", d.name, want, told)
				}
			}
		} else if strings.HasPrefix(d.name, "bit") {
			t.Errorf("%s: it was not set aside: %s", d.name, told)
		}
		c.sameState() // before: a node that has just caught up may still apply the last write
		l.verify(victim)
	}
	if kept, err := filepath.Glob(filepath.Join(victim.dir, "set-aside-*")); err != nil || len(kept) != min(rebuilt, 2) {
		t.Errorf("set aside: %v, %v", kept, err)
	}
	t.Logf("of %d damaged logs %d were rebuilt; the others were in sync again", len(cases), rebuilt)
	for _, n := range c.nodes {
		if n != victim && n != c.leader() {
			n.kill()
			break
		}
	}
	c.leader().put("/damage/last", "with the one that was rebuilt")
}

// newestLog is the file that records were last added to.
func newestLog(t *testing.T, dir string) string {
	t.Helper()
	var logs []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".log" {
			logs = append(logs, path)
		}
		return err
	})
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log in %s: %v", dir, err)
	}
	return slices.Max(logs)
}

// A second process on a directory that is in use is refused, and the first
// does not notice.
func TestTwoProcessesOnOneDirectory(t *testing.T) {
	n := startOne(t)
	code, out := runToEnd(t, nil, "serve", "--http", "127.0.0.1:0", "--data", n.dir)
	if code != 1 || !strings.Contains(out, "in use by another process") || !strings.Contains(out, n.dir) {
		t.Errorf("exit code %d: %s", code, out)
	}
	n.put("/still", "here")
}

// What one process acknowledged, the next one has: after a clean stop and after
// a kill.
func TestRestartKeepsEverything(t *testing.T) {
	n := startOne(t)
	for i := range 3 {
		value := fmt.Sprint("value ", i)
		n.put("/kept", value)
		if i%2 == 0 {
			n.kill()
		} else {
			n.signal(syscall.SIGTERM)
			if code := n.wait(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
		}
		n.spawn()
		n.waitReady()
		if got := n.must(http.StatusOK, http.MethodGet, "/v1/nodes/kept", "").body; got != value {
			t.Fatalf("got %q, want %q", got, value)
		}
	}
}
