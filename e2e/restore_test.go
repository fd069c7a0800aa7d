package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// saved is a backup of a cluster, and what a client remembers from before and
// after it.
type saved struct {
	file  string
	zxid  uint64 // of the state in it
	token uint64 // fencing token of a lock that is held in it
	etag  string // of /kept

	lost      uint64 // position of a write that came later
	lostToken uint64 // fencing token granted later
	receipt   string // of a message claimed later
	cluster   string // id
	highest   uint64 // position that the cluster had reached when it ended
}

const (
	holderSession = "0123456789abcdef0123456789abcdef"
	laterSession  = "fedcba9876543210fedcba9876543210"
	restoreKey    = "Idempotency-Key"
)

// save has a cluster do things, saves it, has it do more, and ends it.
func (c *cluster) save(t *testing.T) *saved {
	t.Helper()
	n := c.nodes[0]
	s := &saved{file: filepath.Join(t.TempDir(), "backup.perch")}
	n.put("/kept", "before")
	for i := range 50 {
		n.put(fmt.Sprintf("/many/%d", i), strings.Repeat("x", 1000))
	}
	n.must(http.StatusCreated, http.MethodPut, "/v1/nodes/mine?mode=ephemeral&ttl_ms=600000", "x", "Perch-Session", holderSession)
	s.token = lockToken(t, n, "l", holderSession)
	n.must(http.StatusOK, http.MethodPost, "/v1/counters/n/add", `{"add":5}`, restoreKey, "once")
	s.etag = n.must(http.StatusOK, http.MethodGet, "/v1/nodes/kept", "").header.Get("ETag")

	if code, out := runToEnd(t, []string{"PERCH_URL=" + c.follower().url()}, "snapshot", "save", s.file); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	code, out := runToEnd(t, nil, "snapshot", "inspect", "-o", "json", s.file)
	var about struct {
		Zxid            uint64
		Cluster, Digest string
		Nodes, Sessions int
	}
	if decode(t, reply{body: out}, &about); code != 0 || about.Sessions != 1 || about.Nodes < 50 || len(about.Digest) != 16 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	s.zxid, s.cluster = about.Zxid, about.Cluster

	s.lost = n.put("/kept", "after").zxid()
	s.lostToken = lockToken(t, n, "later", laterSession)
	n.must(http.StatusCreated, http.MethodPost, "/v1/queues/q/messages", "m")
	var claimed struct{ Messages []struct{ Receipt string } }
	decode(t, n.must(http.StatusOK, http.MethodPost, "/v1/queues/q/claim", `{"ttl_ms":600000}`), &claimed)
	s.receipt = claimed.Messages[0].Receipt
	s.highest = n.put("/last", "x").zxid()
	for _, n := range c.nodes {
		n.kill()
		<-n.done
	}
	return s
}

func lockToken(t *testing.T, n *node, name, session string) uint64 {
	t.Helper()
	var grant struct {
		Token uint64 `json:"fencing_token"`
	}
	decode(t, n.must(http.StatusOK, http.MethodPost, "/v1/locks/"+name+"/acquire", `{"ttl_ms":600000}`, "Perch-Session", session), &grant)
	return grant.Token
}

// restored describes a new cluster whose directories hold the backup.
func restored(t *testing.T, s *saved) *cluster {
	t.Helper()
	c := newCluster(t)
	for _, n := range c.nodes {
		n.restore(s.file, 0)
	}
	return c
}

// restore runs perch snapshot restore for a node.
func (n *node) restore(file string, want int) (out string) {
	n.t.Helper()
	code, out := runToEnd(n.t, nil, "snapshot", "restore", file, "--data", n.dir, "--id", strconv.Itoa(n.id), "--peers", n.args[3])
	if code != want {
		n.t.Fatalf("exit code %d, want %d: %s", code, want, out)
	}
	return out
}

// RULES.md R9, by real processes: a saved cluster comes back as another one that
// goes on from there; who has seen what is lost is told so; nothing that only goes
// up goes back; sessions, and what they held, are gone.
func TestRestoredCluster(t *testing.T) {
	s := startThree(t).save(t)
	c := restored(t, s)
	sameFiles(t, c.nodes[0].dir, c.nodes[1].dir)
	sameFiles(t, c.nodes[0].dir, c.nodes[2].dir)
	c.spawnAll()
	c.waitReady()
	c.sameState()
	for _, n := range c.nodes {
		t.Run(fmt.Sprint("node ", n.id), func(t *testing.T) { checkRestored(t, n, s) })
	}
	n := c.nodes[0]
	if a := n.must(http.StatusOK, http.MethodPost, "/v1/counters/n/add", `{"add":5}`, restoreKey, "once"); a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("a key of the past counts again: %s", a.body)
	}
	n.must(http.StatusOK, http.MethodPut, "/v1/nodes/kept", "again", "If-Match", s.etag)
	if token := lockToken(t, n, "l", laterSession[1:]+"0"); token <= s.highest {
		t.Errorf("token %d after %d", token, s.highest)
	}

	// It is saved and restored like any other.
	again := c.save2(t)
	twice := restored(t, again)
	twice.spawnAll()
	twice.waitReady()
	checkRestored(t, twice.nodes[1], s)
	twice.nodes[0].must(http.StatusGone, http.MethodGet, fmt.Sprintf("/v1/watch/?scope=subtree&since=%d", again.zxid), "")
}

// save2 saves a cluster as it is and ends it.
func (c *cluster) save2(t *testing.T) *saved {
	t.Helper()
	s := &saved{file: filepath.Join(t.TempDir(), "again.perch")}
	if code, out := runToEnd(t, []string{"PERCH_URL=" + c.nodes[0].url()}, "snapshot", "save", s.file); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	_, s.zxid, _ = c.nodes[0].position()
	for _, n := range c.nodes {
		n.kill()
		<-n.done
	}
	return s
}

func checkRestored(t *testing.T, n *node, s *saved) {
	gone := func(code, method, path string, header ...string) {
		t.Helper()
		body := ""
		if method == http.MethodPost {
			body = fmt.Sprintf(`{"receipts":[%q]}`, s.receipt)
		}
		if a := n.must(http.StatusGone, method, path, body, header...); a.header.Get("Perch-Code") != code {
			t.Errorf("%s %s is answered %s, want %s", method, path, a.body, code)
		}
	}
	lost := strconv.FormatUint(s.lost, 10)
	gone("history_lost", http.MethodGet, "/v1/watch/kept?since="+lost)
	gone("history_lost", http.MethodGet, "/v1/stream/kept?since="+lost)
	gone("history_lost", http.MethodGet, "/v1/nodes/kept?min_zxid="+lost)
	gone("history_lost", http.MethodGet, "/v1/nodes/kept?consistency=local&min_zxid="+lost)
	gone("history_lost", http.MethodGet, "/v1/nodes/kept?wait_ms=10000", "If-None-Match", lost)
	gone("history_lost", http.MethodPut, "/v1/nodes/kept", "If-Match", lost)
	gone("history_lost", http.MethodPut, "/v1/nodes/kept?fence=later:"+strconv.FormatUint(s.lostToken, 10))
	gone("history_lost", http.MethodPost, "/v1/queues/q/ack")
	gone("cursor_expired", http.MethodGet, fmt.Sprintf("/v1/watch/kept?since=%d", s.zxid))
	gone("cursor_expired", http.MethodGet, "/v1/watch/kept?since=1")
	gone("session_expired", http.MethodGet, "/v1/nodes/kept", "Perch-Session", holderSession)
	n.must(http.StatusPreconditionFailed, http.MethodPut, "/v1/nodes/kept?fence=l:"+strconv.FormatUint(s.token, 10), "x")
	n.must(http.StatusNotFound, http.MethodGet, "/v1/nodes/mine", "")
	n.must(http.StatusNotFound, http.MethodGet, "/v1/nodes/last", "")
	n.must(http.StatusOK, http.MethodGet, "/v1/nodes/many/49", "")
	now := n.must(http.StatusOK, http.MethodGet, "/v1/nodes/kept", "")
	if id := now.header.Get("Perch-Cluster"); id == s.cluster || now.zxid() <= s.highest {
		t.Errorf("cluster %s at %d; it was %s and had reached %d", id, now.zxid(), s.cluster, s.highest)
	}
	n.must(http.StatusOK, http.MethodGet, fmt.Sprintf("/v1/watch/kept?since=%d", now.zxid()), "")
}

// sameFiles says whether two directories hold the same names and bytes.
func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	read := func(dir string) map[string]string {
		all := map[string]string{}
		err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			all[strings.TrimPrefix(path, dir)] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	one, two := read(a), read(b)
	if len(one) == 0 || len(one) != len(two) {
		t.Fatalf("%d files and %d", len(one), len(two))
	}
	for name, text := range one {
		if two[name] != text {
			t.Errorf("%s differs", name)
		}
	}
}

// What is not the same everywhere does not become a cluster, and says what to do;
// what is damaged is not restored.
func TestRestoreThatIsRefused(t *testing.T) {
	old := startThree(t)
	s := old.save(t)
	c := restored(t, s)

	// A damaged file, and a directory that holds something.
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	bad := s.file + ".bad"
	text[len(text)/2] ^= 1
	if err := os.WriteFile(bad, text, 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := &node{t: t, id: 3, dir: filepath.Join(t.TempDir(), "fresh"), args: c.nodes[2].args}
	if out := fresh.restore(bad, 1); !strings.Contains(out, "damaged") || !strings.Contains(out, "offset") {
		t.Errorf("%s", out)
	}
	if _, err := os.Stat(fresh.dir); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
	if out := c.nodes[0].restore(s.file, 4); !strings.Contains(out, "not empty") {
		t.Errorf("%s", out)
	}
	if code, out := runToEnd(t, nil, "snapshot", "inspect", bad); code != 1 || !strings.Contains(out, "damaged") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out := runToEnd(t, nil, "snapshot", "inspect", s.file+".none"); code != 3 {
		t.Errorf("exit code %d: %s", code, out)
	}

	// One directory was left empty.
	three := c.nodes[2]
	if err := os.RemoveAll(three.dir); err != nil {
		t.Fatal(err)
	}
	c.spawnAll()
	three.waitsBecause("this one is empty")
	c.nodes[0].waitsBecause("that of node 3 is empty")
	three.kill()
	<-three.done

	// One was restored from another state.
	other := startOne(t)
	other.put("/other", "x")
	otherFile := filepath.Join(t.TempDir(), "other.perch")
	if code, out := runToEnd(t, []string{"PERCH_URL=" + other.url()}, "snapshot", "save", otherFile); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	if err := os.RemoveAll(three.dir); err != nil {
		t.Fatal(err)
	}
	three.restore(otherFile, 0)
	three.spawn()
	three.waitsBecause("restore the same file")
	three.kill()
	<-three.done

	// With the right one it forms, and what comes later is too late.
	if err := os.RemoveAll(three.dir); err != nil {
		t.Fatal(err)
	}
	three.restore(s.file, 0)
	three.spawn()
	c.waitReady()
	three.kill()
	<-three.done
	if err := os.RemoveAll(three.dir); err != nil {
		t.Fatal(err)
	}
	three.restore(otherFile, 0)
	three.spawn()
	three.waitsBecause("has formed without it")
}
