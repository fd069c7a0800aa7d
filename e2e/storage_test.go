package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tmpfs mounts a file system of a size at dir. Only root may do that.
func tmpfs(t *testing.T, dir string, mebibytes int) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: a full disk. Only root may mount a file system with a size; run this test as root")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mebibytes))
	if errors.Is(err, syscall.EPERM) {
		t.Skip("NOT TESTED: a full disk. This machine allows no mount, not even to root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// onSmallDisk is a quorum of one whose data directory is a file system of its
// own; it is not started yet. Its output goes elsewhere.
func onSmallDisk(t *testing.T, mebibytes int) *node {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "node1")
	tmpfs(t, dir, mebibytes) // first, so that it goes after the process
	n := newNode(t)
	n.dir = dir
	n.args = []string{"--http", n.addr, "--data", dir}
	return n
}

// filler takes space on the disk of a node; 0 mebibytes: all that is left.
func (n *node) filler(mebibytes int) (path string) {
	n.t.Helper()
	path = filepath.Join(n.dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	for page := make([]byte, 4096); err == nil; {
		if info, _ := f.Stat(); mebibytes > 0 && info.Size() >= int64(mebibytes)<<20 {
			return path
		}
		_, err = f.Write(page)
	}
	if mebibytes > 0 || !errors.Is(err, syscall.ENOSPC) {
		n.t.Fatal(err)
	}
	return path
}

func (n *node) try(method, path, body string, header ...string) reply {
	n.t.Helper()
	a, err := send(context.Background(), method, n.url()+path, body, header...)
	if err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// At the low-space mark a node refuses what adds and lets through what removes,
// and takes writes again as soon as there is space, without a restart.
func TestLowSpace(t *testing.T) {
	n := onSmallDisk(t, 96)
	n.spawn()
	n.waitReady()
	pid := n.cmd.Process.Pid
	n.put("/kept", "before")
	n.put("/goes", "before")
	session := []string{"Perch-Session", "0123456789abcdef0123456789abcdef"}
	n.must(http.StatusCreated, http.MethodPut, "/v1/nodes/mine?mode=ephemeral&ttl_ms=60000", "x", session...)
	for range scaled(1, 5) {
		filler := n.filler(50)
		eventually(t, patience, "writes are refused", func() error {
			if a := n.try(http.MethodPut, "/v1/nodes/kept", "more"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "storage_full") {
				return fmt.Errorf("status %d: %s", a.status, a.body)
			}
			return nil
		})
		n.must(http.StatusOK, http.MethodGet, "/v1/nodes/kept", "")
		if a := n.try(http.MethodDelete, "/v1/nodes/goes", ""); a.status/100 != 2 && a.status != http.StatusNotFound {
			t.Errorf("a delete on a full disk: status %d: %s", a.status, a.body)
		}
		if a := n.try(http.MethodDelete, "/v1/sessions/self", "", session...); a.status/100 != 2 && a.status != http.StatusGone {
			t.Errorf("the end of a session on a full disk: status %d: %s", a.status, a.body)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "writes are taken again", func() error {
			if a := n.try(http.MethodPut, "/v1/nodes/kept", "after"); a.status/100 != 2 {
				return fmt.Errorf("status %d: %s", a.status, a.body)
			}
			return nil
		})
	}
	if !n.alive() || n.cmd.Process.Pid != pid {
		t.Error("it is another process")
	}
}

// A log that cannot be written any more stops its node, which names file and
// error; with space again everything is there that was acknowledged.
func TestFullDiskStopsTheNode(t *testing.T) {
	n := onSmallDisk(t, 96)
	n.spawn()
	n.waitReady()
	// So long that deleting them, which is let through, needs another step of
	// the log file.
	name := func(i int) string { return fmt.Sprintf("/f/%s%04d", strings.Repeat("x", 240), i) }
	const nodes = 1200
	for i := range nodes {
		n.put(name(i), "x")
	}
	filler := n.filler(0)
	deleted := 0
	for ; deleted < nodes; deleted++ {
		a, err := send(context.Background(), http.MethodDelete, n.url()+"/v1/nodes"+name(deleted), "")
		if err != nil || a.status/100 != 2 {
			break // of this one nobody knows
		}
	}
	if code := n.wait(); code != 1 {
		t.Fatalf("exit code %d", code)
	}
	told := lastLine(n)
	for _, want := range []string{filepath.Join(n.dir, "log") + "/", ".log: no space left on device"} {
		if !strings.Contains(told, want) {
			t.Errorf("it does not say %q: %s", want, told)
		}
	}
	if deleted == 0 || deleted == nodes {
		t.Fatalf("%d of %d were deleted before the disk was full", deleted, nodes)
	}
	t.Logf("after %d deletes: %s", deleted, told)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if code, out := runToEnd(t, nil, "log", "verify", n.dir); code != 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
	n.spawn()
	n.waitReady()
	for i := range nodes {
		status := n.try(http.MethodGet, "/v1/nodes"+name(i), "").status
		if i < deleted && status != http.StatusNotFound || i > deleted && status != http.StatusOK {
			t.Fatalf("node %d: status %d; %d were deleted", i, status, deleted)
		}
	}
	n.put("/after", "x")
}

// injected starts a node's process under strace, which has some system calls
// fail: fault is as strace's -e inject takes it, and when in it counts the calls
// of each thread. With a path only calls on that file are looked at. What was
// seen is in the file dir.trace.
func (n *node) injected(fault, path string) {
	n.t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		n.t.Skip("NOT TESTED: failing system calls. There is no strace; `make test` installs it")
	}
	trace := n.dir + ".trace"
	_ = os.Remove(trace)
	// -D: the node is the child of the test, and strace gets out of the way.
	n.wrap = []string{strace, "-D", "-f", "-y", "-q", "-o", trace, "-e", "trace=fdatasync,fsync,pwrite64,pread64,ftruncate",
		"-e", "inject=" + fault}
	if path != "" {
		n.wrap = append(n.wrap, "-P", path)
	}
	n.t.Cleanup(func() {
		if text, _ := os.ReadFile(trace); n.t.Failed() && len(text) > 0 {
			n.t.Logf("the end of what node %d called:\n%s", n.id, text[max(0, len(text)-2000):])
		}
	})
	n.spawn()
	n.wrap = nil
}

// afterInjection returns the first call that failed, and the calls that were
// begun behind it on files below dir and change or sync something. The process
// has ended.
func (n *node) afterInjection(dir string) (failed string, later []string) {
	n.t.Helper()
	var text []byte
	eventually(n.t, patience, "strace has written everything", func() (err error) {
		end := fmt.Sprintf("%-5d +++ exited", n.cmd.Process.Pid) // its first thread, which is the last to be told of
		if text, err = os.ReadFile(n.dir + ".trace"); err == nil && !strings.Contains(string(text), end) {
			err = errors.New("its end is not there yet")
		}
		return err
	})
	for line := range strings.Lines(string(text)) {
		switch {
		case failed == "" && strings.Contains(line, "INJECTED"):
			failed = line
		case failed != "" && strings.Contains(line, "<"+dir) && !strings.Contains(line, " pread64("):
			later = append(later, line)
		}
	}
	return failed, later
}

// A write or sync of the log that fails stops the node at once: it names file
// and error, touches its log no more, never syncs again what may be lost, and
// what the quorum has acknowledged is there when it comes back.
func TestFailingDisk(t *testing.T) {
	c := newCluster(t)
	l := &load{root: "/eio", nodes: c.nodes, writers: 4}
	faults := []struct{ inject, told string }{
		{"fdatasync:error=EIO:when=50", "input/output error"},
		{"pwrite64:error=ENOSPC:when=60", "no space left on device"},
		{"fdatasync:error=EIO:when=35", "input/output error"},
		{"pwrite64:error=EIO:when=45", "input/output error"},
		{"fdatasync:error=ENOSPC:when=71", "no space left on device"},
		{"pwrite64:error=EDQUOT:when=80", "disk quota exceeded"},
	}
	for i, fault := range faults[:scaled(2, len(faults))] {
		victim := c.nodes[i%3]
		if i > 0 {
			victim.signal(syscall.SIGTERM)
			victim.wait()
		}
		victim.injected(fault.inject, "")
		if i == 0 { // this one may lead
			c.spawnAll()
			victim.waitReady()
			l.start()
		}
		victim.stopsFor(fault.inject, fault.told)
		l.waitAcked(t, 20) // by the other two
		victim.spawn()
		victim.waitReady()
	}
	l.finish()
	c.sameState()
	for _, n := range c.nodes {
		l.verify(n)
	}
	t.Logf("%d writes were acknowledged", l.acked.Load())
}

// stopsFor waits for the end of a node of whose calls one is made to fail.
func (n *node) stopsFor(inject, told string) {
	n.t.Helper()
	if code := n.wait(); code != 1 {
		n.t.Fatalf("%s: exit code %d", inject, code)
	}
	log := filepath.Join(n.dir, "log") + "/"
	if line := lastLine(n); !strings.Contains(line, log) || !strings.Contains(line, ": "+told) {
		n.t.Errorf("%s: it does not say %s and %q: %s", inject, log, told, line)
	} else {
		n.t.Log(line)
	}
	if failed, later := n.afterInjection(log); failed == "" || len(later) > 0 {
		n.t.Errorf("%s: after %q it went on with %q", inject, failed, later)
	}
}

// A disk that cannot be read is neither damage nor an empty store: the node
// does not start, says what failed, and changes nothing.
func TestUnreadableDisk(t *testing.T) {
	n := startOne(t)
	n.put("/kept", "here")
	n.signal(syscall.SIGTERM)
	n.wait()
	before := contents(t, n.dir)
	for _, name := range []string{"store", "watermark", "0000000000000001.log"} {
		path := filepath.Join(n.dir, "log", name)
		n.injected("pread64:error=EIO", path)
		if code := n.wait(); code != 1 {
			t.Fatalf("exit code %d", code)
		}
		if told := lastLine(n); !strings.Contains(told, path) || !strings.Contains(told, ": input/output error") || strings.Contains(told, "damaged") {
			t.Errorf("%s: %s", name, told)
		}
		if after := contents(t, n.dir); after != before {
			t.Errorf("%s: files were changed", name)
		}
	}
	n.spawn()
	n.waitReady()
	if got := n.must(http.StatusOK, http.MethodGet, "/v1/nodes/kept", "").body; got != "here" {
		t.Errorf("got %q", got)
	}
}

// The log of a node under load is shown and judged sound, again and again, by
// another process that the node does not notice.
func TestLogOfARunningNode(t *testing.T) {
	n := startOne(t)
	l := &load{root: "/log", nodes: []*node{n}, writers: 4}
	l.start()
	for range scaled(5, 200) {
		l.waitAcked(t, 20)
		if code, out := runToEnd(t, nil, "log", "verify", n.dir); code != 0 {
			t.Fatalf("exit code %d: %s", code, out)
		}
		acked := int(l.acked.Load())
		code, out := runToEnd(t, nil, "log", "--json", n.dir)
		if entries := strings.Count(out, "\n{\"kind\":\"entry\""); code != 0 || entries < acked {
			t.Fatalf("exit code %d, %d entries, %d writes were acknowledged before", code, entries, acked)
		}
	}
	l.finish()
	l.verify(n)
}

// contents is everything in a directory.
func contents(t testing.TB, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %d %s\n", path, len(b), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
