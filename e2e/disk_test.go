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

// A voter whose directory was deleted does not vote, and says what to do. The
// two others go on.
func TestDeletedDirectoryIsRefused(t *testing.T) {
	c := startThree(t)
	c.nodes[0].put("/kept", "before")
	wiped := c.follower()
	wiped.kill()
	if err := os.RemoveAll(wiped.dir); err != nil {
		t.Fatal(err)
	}
	wiped.spawn()
	var told string
	eventually(t, patience, "the node refuses and names a remedy", func() error {
		told = ""
		if wiped.alive() {
			a, err := wiped.get("/readyz")
			if err != nil {
				return err
			}
			if a.status == http.StatusOK {
				t.Fatal("the wiped node calls itself ready")
			}
			told = a.body
		}
		if told += wiped.tail(); !strings.Contains(told, "does not vote") {
			return fmt.Errorf("it says: %s", told)
		}
		return nil
	})
	c.leader().put("/kept", "after")
	t.Logf("it says: %s", told)
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

// A follower whose log was damaged while it was down ends in sync, or refuses
// with a message that says file, offset and remedy, and changes nothing: with
// the damage undone it is in sync again. (Nothing else is ever put back: a
// voter's directory from an image is refused, as RULES.md R3 wants it.)
func TestDamagedLog(t *testing.T) {
	c := startThree(t)
	l := &load{root: "/damage", nodes: c.nodes, writers: 4, limit: 400}
	l.start()
	l.done.Wait()
	victim := c.follower()
	cases := []damage{cutTail(1), cutTail(7), cutTail(64), flip(1, 3), flip(1, 2), flip(9, 10)}
	if soak {
		for n := range 300 { // beyond the length of the last record
			cases = append(cases, cutTail(n+1))
		}
		for n := range 64 {
			cases = append(cases, flip(n, 64))
		}
	}
	refused := 0
	for _, d := range cases {
		victim.kill()
		log := newestLog(t, victim.dir)
		whole, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(log, d.do(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		told := victim.damagedStart(d.name)
		if told != "" {
			if refused++; refused <= 10 {
				t.Logf("%s: %s", d.name, told)
			}
			if err := os.WriteFile(log, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			if again := victim.damagedStart(d.name + " and undone"); again != "" {
				t.Fatalf("%s and undone: %s", d.name, again)
			}
		}
		c.sameState() // before: a node that has just caught up may still apply the last write
		l.verify(victim)
	}
	t.Logf("of %d damaged logs %d were refused; the others were in sync again", len(cases), refused)
}

// damagedStart starts the node and returns "" when it ends in sync, or how it
// refused.
func (n *node) damagedStart(what string) string {
	n.t.Helper()
	_ = os.Remove(n.dir + ".log")
	n.spawn()
	refused := ""
	eventually(n.t, patience, what+": the node is in sync or refuses", func() error {
		if !n.alive() {
			if n.cmd.ProcessState.ExitCode() != 1 {
				n.t.Fatalf("%s: %v: %s", what, n.err, n.tail())
			}
			refused = lastLine(n)
			return nil
		}
		a, err := n.get("/readyz")
		if err != nil {
			return err
		}
		if a.status != http.StatusOK {
			return fmt.Errorf("status %d: %s", a.status, a.body)
		}
		return nil
	})
	if refused != "" {
		for _, want := range []string{n.dir, "offset", "With other healthy members"} {
			if !strings.Contains(refused, want) {
				n.t.Errorf("%s: the refusal has no %q: %s", what, want, refused)
			}
		}
	}
	return refused
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
