package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// archiveStatus is what a node says of the archive.
type archiveStatus struct {
	State string
	Zxid  uint64
	LagMs int64 `json:"lag_ms"`
	Error string
}

func (n *node) archive() (archiveStatus, error) {
	var s struct{ Archive archiveStatus }
	a, err := n.get("/v1/cluster")
	if err != nil {
		return s.Archive, err
	}
	return s.Archive, json.Unmarshal([]byte(a.body), &s)
}

// clusterID is the id of the cluster that the node is in.
func (n *node) clusterID() string {
	n.t.Helper()
	var s struct {
		ID string `json:"cluster_id"`
	}
	if err := json.Unmarshal([]byte(n.must(http.StatusOK, http.MethodGet, "/v1/cluster", "").body), &s); err != nil || s.ID == "" {
		n.t.Fatal(s, err)
	}
	return s.ID
}

// archiving are three nodes with an archive.
func archiving(t *testing.T, p *postgres) *cluster {
	t.Helper()
	c := newCluster(t)
	for _, n := range c.nodes {
		n.args = append(n.args, "--archive", p.url(), "--archive-password-file", p.passwordFile(),
			"--archive-every", "1s", "--archive-every-transactions", "1000")
	}
	c.spawnAll()
	c.waitReady()
	return c
}

// shipper waits until one node ships, and no other believes to.
func (c *cluster) shipper() (found *node) {
	c.t.Helper()
	eventually(c.t, patience, "one node ships", func() error {
		found = nil
		for _, n := range c.nodes {
			if !n.alive() {
				continue
			}
			switch s, err := n.archive(); {
			case err != nil:
				return err
			case s.State == "shipping" && found != nil:
				return fmt.Errorf("nodes %d and %d do", found.id, n.id)
			case s.State == "shipping":
				found = n
			case s.State != "standby":
				return fmt.Errorf("node %d is %s: %s", n.id, s.State, s.Error)
			}
		}
		if found == nil {
			return fmt.Errorf("none does")
		}
		return nil
	})
	return found
}

// archivedUpTo waits until the archive has reached a position, as every node
// tells.
func (c *cluster) archivedUpTo(zxid uint64) {
	c.t.Helper()
	eventually(c.t, patience, fmt.Sprintf("archived up to %d", zxid), func() error {
		for _, n := range c.nodes {
			if s, err := n.archive(); err != nil || s.Zxid < zxid || s.LagMs != 0 {
				return fmt.Errorf("node %d: %+v, %v", n.id, s, err)
			}
		}
		return nil
	})
}

// perch runs perch archive or perch restore on the archive of p.
func (p *postgres) perch(args ...string) (code int, output string) {
	p.t.Helper()
	return runToEnd(p.t, nil, append(args, "--archive", p.url(), "--archive-password-file", p.passwordFile())...)
}

// The shipper is killed again and again under load: another one goes on, and
// every transaction stands in the archive once.
func TestArchiveOutlivesItsShippers(t *testing.T) {
	p := startPostgres(t)
	c := archiving(t, p)
	c.shipper()
	l := &load{root: "/load", nodes: c.nodes, writers: 8, pause: 2 * time.Millisecond}
	l.start()
	defer l.finish()
	kills := scaled(3, 20)
	for range kills {
		l.waitAcked(t, 300)
		gone := c.shipper()
		gone.kill()
		if next := c.shipper(); next == gone {
			t.Fatalf("node %d ships and is dead", gone.id)
		}
		l.waitAcked(t, 100)
		gone.spawn()
		gone.waitReady()
	}
	l.finish()
	c.waitReady()
	c.sameState()
	_, last, err := c.nodes[0].position()
	if err != nil {
		t.Fatal(err)
	}
	c.archivedUpTo(last)

	archived := map[string]string{}
	for _, row := range p.rows(`SELECT path, zxid FROM perch.changes WHERE change = 'created' AND path LIKE '/load/w%/n%'`) {
		path, zxid, _ := strings.Cut(row, "|")
		if archived[path] != "" {
			t.Errorf("%s is archived twice", path)
		}
		archived[path] = zxid
	}
	for _, r := range l.records {
		if r.zxid != 0 && archived[r.path] != fmt.Sprint(r.zxid) {
			t.Fatalf("%s was acknowledged at %d; the archive has it at %q", r.path, r.zxid, archived[r.path])
		}
	}
	if got := p.rows(`SELECT count(*) FROM (SELECT zxid, lag(zxid) OVER (ORDER BY zxid) AS before FROM perch.transactions) AS t
		WHERE zxid <> before + 1 AND zxid & 4294967295 <> 1`); got[0] != "0" {
		t.Errorf("%s transactions do not follow the one before", got[0])
	}
	code, out := p.perch("archive", "verify")
	if code != 0 || strings.Count(out, "sound:") != 1 {
		t.Fatalf("perch archive verify: %d\n%s", code, out)
	}
	t.Logf("%d kills of the shipper, %d writes acknowledged, all in the archive once; %s", kills, l.acked.Load(), strings.TrimSpace(out))
}

// While PostgreSQL hangs every write is answered as ever; then the archive
// catches up.
func TestWritesWhileTheArchiveHangs(t *testing.T) {
	p := startPostgres(t)
	c := archiving(t, p)
	leader := c.leader()
	for c.shipper() != leader { // the hardest case: it leads and ships
		c.shipper().kill()
		for _, n := range c.nodes {
			if !n.alive() {
				n.spawn()
				n.waitReady()
			}
		}
		leader = c.leader()
	}
	leader.latency("/warm", 200)
	with := leader.latency("/with", scaled(1000, 20_000))
	p.freeze()
	hung := leader.latency("/hung", scaled(1000, 20_000))
	eventually(t, patience, "the failure shows", func() error {
		if s, err := leader.archive(); err != nil || s.LagMs == 0 || s.State != "failing" {
			return fmt.Errorf("%+v, %v", s, err)
		}
		return nil
	})
	p.thaw()
	a := leader.put("/end", "x")
	c.archivedUpTo(a.zxid())
	t.Logf("p99 of a write: %v while PostgreSQL answers, %v while it hangs, ratio %.2f",
		with.Round(10*time.Microsecond), hung.Round(10*time.Microsecond), float64(hung)/float64(with))
}

// A cluster that is lost comes back from the archive, as it was at a position and
// at a time, on new disks and with a new id; positions do not come back.
func TestRestoreFromTheArchive(t *testing.T) {
	p := startPostgres(t)
	c := archiving(t, p)
	c.shipper() // what came before is in the first snapshot
	var written []uint64
	for i := range 60 {
		written = append(written, c.nodes[i%3].put(fmt.Sprintf("/app/n%02d", i), fmt.Sprintf("value %d", i)).zxid())
	}
	last := written[len(written)-1]
	c.archivedUpTo(last)
	old := c.nodes[0].clusterID()
	for _, n := range c.nodes {
		n.kill()
	}

	const mid = 30
	at := p.rows(fmt.Sprintf(`SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') FROM perch.changes WHERE zxid = %d`, written[mid]))[0]
	code, out := p.perch("restore", "--time", at, "--data", filepath.Join(t.TempDir(), "by-time"))
	if want := p.rows(fmt.Sprintf(`SELECT max(zxid) FROM perch.transactions WHERE at <= '%s'`, at))[0]; code != 0 || !strings.Contains(out, " at "+want+" ") {
		t.Fatalf("restore to %s: %d, it should be at %s\n%s", at, code, want, out)
	}

	zxid := fmt.Sprint(written[mid])
	for _, n := range c.nodes {
		n.dir += "-new"
		n.args[slices.Index(n.args, "--data")+1] = n.dir
		code, out := p.perch("restore", "--zxid", zxid, "--data", n.dir, "--id", strconv.Itoa(n.id), "--peers", n.args[slices.Index(n.args, "--peers")+1])
		if code != 0 || !strings.Contains(out, " at "+zxid+" ") {
			t.Fatalf("restore for node %d: %d\n%s", n.id, code, out)
		}
		if code, out := p.perch("restore", "--zxid", zxid, "--data", n.dir); code != 4 {
			t.Fatalf("restore into a directory that is not empty: %d\n%s", code, out)
		}
	}
	c.spawnAll()
	c.waitReady()
	c.sameState()
	for i, z := range written {
		a, err := c.nodes[i%3].get(fmt.Sprintf("/v1/nodes/app/n%02d", i))
		if err != nil {
			t.Fatal(err)
		}
		if there := a.status == http.StatusOK && a.body == fmt.Sprintf("value %d", i); there != (i <= mid) {
			t.Errorf("what was written at %d has status %d: %q", z, a.status, a.body)
		}
	}
	fresh := c.nodes[0].put("/app/after", "x")
	id := c.nodes[0].clusterID()
	if fresh.zxid() <= last || id == old {
		t.Errorf("the new cluster %s writes at %d; the old one was %s at %d", id, fresh.zxid(), old, last)
	}
	c.archivedUpTo(fresh.zxid())
	if code, out := p.perch("archive", "verify", "--cluster", id); code != 0 {
		t.Errorf("the archive of the new cluster: %d\n%s", code, out)
	}

	// A row that was cut off is found, and nothing is restored from it.
	p.rows(fmt.Sprintf(`UPDATE perch.transactions SET entry = substr(entry, 1, 20) WHERE zxid = %d`, written[mid-1]))
	p.rows(fmt.Sprintf(`DELETE FROM perch.snapshots WHERE zxid >= %d AND zxid <= %d`, written[mid-1], last))
	dir := filepath.Join(t.TempDir(), "never")
	code, out = p.perch("restore", "--zxid", zxid, "--data", dir, "--cluster", old)
	if code != 1 || !strings.Contains(out, "damaged") || !strings.Contains(out, fmt.Sprint(written[mid-1])) {
		t.Errorf("a damaged archive: %d\n%s", code, out)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a directory was made of a damaged archive")
	}
}

// latency writes n values with four writers, each of which must succeed, and
// returns the 99th percentile.
func (n *node) latency(root string, writes int) time.Duration {
	n.t.Helper()
	const writers = 4
	var took [writers][]time.Duration
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			for i := range writes / writers {
				start := time.Now()
				a, err := send(context.Background(), http.MethodPut, fmt.Sprintf("%s/v1/nodes%s/w%d/n%d?parents=true", n.url(), root, w, i%50), strings.Repeat("x", 256))
				if err != nil || a.status/100 != 2 {
					n.t.Errorf("a write: status %d, %v: %s", a.status, err, a.body)
					return
				}
				took[w] = append(took[w], time.Since(start))
			}
		})
	}
	done.Wait()
	var all []time.Duration
	for _, t := range took {
		all = append(all, t...)
	}
	if len(all) == 0 {
		n.t.Fatal("nothing was written")
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}
