package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"perch/archive/pgtest"
	"perch/quorum"
)

// patience bounds what a test waits for; nothing is measured against it.
const patience = 60 * time.Second

// until polls cond, which must become true.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(patience); !cond(); <-again.C {
		if time.Now().After(end) {
			t.Fatalf("in %v: not %s", patience, what)
		}
	}
}

// logBook keeps what is logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// running is a Shipper that runs.
type running struct {
	*Shipper
	log    logBook
	cancel context.CancelFunc
	ended  chan struct{}
}

// launch runs a shipper for src; quick, so that a test does not wait.
func launch(t *testing.T, s *pgtest.Server, url string, src Source, change ...func(*Config)) *running {
	t.Helper()
	r := &running{ended: make(chan struct{})}
	cfg := Config{
		Access: Access{URL: url, Password: func() (string, error) { return s.Password, nil }}, Node: 1, Name: "test",
		Poll: 10 * time.Millisecond, RetryMost: 50 * time.Millisecond, BatchBytes: 256 << 10,
		Log: slog.New(slog.NewTextHandler(&r.log, nil)),
	}
	for _, fn := range change {
		fn(&cfg)
	}
	r.Shipper = NewShipper(cfg, src)
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() {
		defer close(r.ended)
		r.Run(ctx)
	}()
	t.Cleanup(r.end)
	return r
}

func (r *running) end() {
	r.cancel()
	<-r.ended
}

// caughtUp waits until everything of src is archived.
func (r *running) caughtUp(t *testing.T, src *memory) {
	t.Helper()
	until(t, fmt.Sprintf("archived: %+v", r.Status()), func() bool { return r.Status().Zxid >= src.Applied() })
}

// open opens the archive for reading, and picks the cluster of src.
func open(t *testing.T, s *pgtest.Server, url string, src *memory) (*Archive, ClusterInfo) {
	t.Helper()
	a, err := Open(t.Context(), Access{URL: url, Password: func() (string, error) { return s.Password, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	c, err := a.Cluster(t.Context(), clusterText(src.cluster))
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

func restoreTo(t *testing.T, a *Archive, c ClusterInfo, to Target) (*restored, error) {
	t.Helper()
	p, err := a.Plan(t.Context(), c, to)
	if err != nil {
		return nil, err
	}
	view, err := a.Replay(t.Context(), p, nil)
	if err != nil {
		return nil, err
	}
	return &restored{p, view.Zxid(), view.Digest()}, nil
}

type restored struct {
	Plan
	zxid   quorum.Zxid
	digest uint64
}

// check restores to a position and compares with what the cluster had there.
func check(t *testing.T, a *Archive, c ClusterInfo, src *memory, z quorum.Zxid) {
	t.Helper()
	got, err := restoreTo(t, a, c, Target{Zxid: z})
	if err != nil {
		t.Fatal(err)
	}
	if want := src.viewAt(z); got.zxid != z || got.digest != want.Digest() {
		t.Fatalf("restored %v with digest %016x, it was %v with %016x", got.zxid, got.digest, z, want.Digest())
	}
}

// whole demands that every entry from the first archived on is in the tables,
// once.
func whole(t *testing.T, conn *pgx.Conn, src *memory) {
	t.Helper()
	rows, _ := conn.Query(t.Context(), `SELECT zxid FROM perch.transactions WHERE cluster_id = $1 ORDER BY zxid`, clusterText(src.cluster))
	zxids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(zxids) == 0 {
		t.Fatal(len(zxids), err)
	}
	first := src.index(quorum.Zxid(zxids[0]))
	if len(zxids) != len(src.entries)-first {
		t.Fatalf("%d transactions are archived of %d", len(zxids), len(src.entries)-first)
	}
	for i, z := range zxids {
		if want := src.entries[first+i].Zxid; quorum.Zxid(z) != want {
			t.Fatalf("transaction %d is %v, it should be %v", i, quorum.Zxid(z), want)
		}
	}
}

// TestArchive is one server for what needs no fault of it.
func TestArchive(t *testing.T) {
	s := pgtest.Start(t)
	for name, test := range map[string]func(*testing.T, *pgtest.Server){
		"any position":  testAnyPosition,
		"two shippers":  testTwoShippers,
		"holes":         testHole,
		"retention":     testRetention,
		"clusters":      testClusters,
		"damage":        testDamage,
		"who changed":   testWhoChanged,
		"other history": testOtherHistory,
		"newer tables":  testNewerTables,
		"row limits":    testStrangeText,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) { test(t, s) })
	}
}

// Every position that was archived is restored with the digest that the cluster
// had there, also across epochs and in the middle of a batch.
func testAnyPosition(t *testing.T, s *pgtest.Server) {
	url, src := s.Database(t), newMemory(1)
	src.fill(5)
	r := launch(t, s, url, src, func(c *Config) { c.EveryTxns = 40 })
	r.caughtUp(t, src)
	first := src.Applied()
	for range 5 {
		src.fill(30)
		src.reign()
		src.fill(3)
		r.caughtUp(t, src)
	}
	until(t, "a second snapshot", func() bool { return strings.Count(r.log.String(), "snapshot written") > 1 })
	a, c := open(t, s, url, src)
	if c.Epoch != src.epoch {
		t.Errorf("the archive knows epoch %d, it was %d", c.Epoch, src.epoch)
	}
	for i := src.index(first); i < len(src.entries); i += 7 {
		check(t, a, c, src, src.entries[i].Zxid)
	}
	last, err := restoreTo(t, a, c, Target{})
	if err != nil || last.zxid != src.Applied() {
		t.Fatalf("the newest state is %+v: %v", last, err)
	}
	at := time.UnixMilli(src.entries[60].Stamp.Wall + 500)
	got, err := restoreTo(t, a, c, Target{Time: at})
	if err != nil || got.zxid != src.entries[60].Zxid {
		t.Fatalf("at %v the archive has %+v: %v", at, got, err)
	}
	for _, none := range []Target{{Zxid: first - 1}, {Zxid: src.Applied() + 1}, {Time: time.UnixMilli(1)}} {
		if _, err := a.Plan(t.Context(), c, none); !errors.Is(err, ErrNotThere) || !strings.Contains(err.Error(), fmt.Sprint(int64(first))) {
			t.Errorf("%+v: %v", none, err)
		}
	}
	if err := a.Verify(t.Context(), c, nil, func(v Verdict) {
		if v.Snapshots < 2 || v.Replayed != v.Transactions {
			t.Errorf("verified %+v", v)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// Two nodes ship the same history, each in turn and at once: it stands there
// once.
func testTwoShippers(t *testing.T, s *pgtest.Server) {
	url, src := s.Database(t), newMemory(2)
	one := launch(t, s, url, src)
	two := launch(t, s, url, src, func(c *Config) { c.Node = 2 })
	ships := func(r *running) bool { return r.Status().State == stateShipping }
	for range 3 {
		src.fill(200)
		until(t, "elected", func() bool { return ships(one) != ships(two) })
		if ships(one) {
			one.end()
			one = launch(t, s, url, src)
		} else {
			two.end()
			two = launch(t, s, url, src, func(c *Config) { c.Node = 2 })
		}
	}
	// A shipper that believes to be elected and is not: the lock is taken from it
	// behind its back, while both write.
	for range 10 {
		src.fill(100)
		s.Exec(t, url, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'`)
	}
	one.caughtUp(t, src)
	two.caughtUp(t, src)
	whole(t, s.Connect(t, url), src)
	src.setReady(errors.New("not any more"))
	until(t, "waiting", func() bool {
		return one.Status().State == stateWaiting && two.Status().State == stateWaiting
	})
}

// testLateWriter: what a shipper prepared before another one moved on is not
// written.
func TestLateWriter(t *testing.T) {
	s := pgtest.Start(t)
	url, src := s.Database(t), newMemory(3)
	r := launch(t, s, url, src)
	src.fill(10)
	r.caughtUp(t, src)
	r.end()
	late := &reign{Shipper: r.Shipper, conn: s.Connect(t, url), cluster: clusterText(src.cluster)}
	until(t, "elected", func() bool { // the one before may still be leaving
		if err := late.elect(t.Context()); err != nil {
			t.Fatal(err)
		}
		return late.elected
	})
	src.fill(10)
	stale, err := src.Next(t.Context(), late.at, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.conn.Exec(t.Context(), `SELECT pg_advisory_unlock_all()`); err != nil {
		t.Fatal(err)
	}
	launch(t, s, url, src).caughtUp(t, src)
	if err := late.write(t.Context(), &stale); !errors.Is(err, errMoved) {
		t.Fatalf("a late batch: %v", err)
	}
	whole(t, s.Connect(t, url), src)
}

// A hole is bridged by a snapshot, shows, and what lies in it cannot be restored.
func testHole(t *testing.T, s *pgtest.Server) {
	url, src := s.Database(t), newMemory(4)
	r := launch(t, s, url, src)
	src.fill(20)
	r.caughtUp(t, src)
	before := src.Applied()
	r.end()
	lost := func() quorum.Zxid { src.fill(10); return src.Applied() }()
	src.fill(10)
	src.purge()
	r = launch(t, s, url, src)
	r.caughtUp(t, src)
	after := src.Applied()
	src.fill(10)
	r.caughtUp(t, src)
	if !strings.Contains(r.log.String(), "hole") {
		t.Errorf("no word of the hole: %s", r.log.String())
	}
	a, c := open(t, s, url, src)
	check(t, a, c, src, before)
	check(t, a, c, src, after)
	check(t, a, c, src, src.Applied())
	if _, err := restoreTo(t, a, c, Target{Zxid: lost}); !errors.Is(err, ErrNotThere) {
		t.Errorf("a position in the hole: %v", err)
	}
	ranges, err := a.Ranges(t.Context(), c.ID)
	if err != nil || len(ranges) != 2 || ranges[0].Through != before || ranges[1].From != after || ranges[1].Through != src.Applied() {
		t.Errorf("ranges %+v: %v", ranges, err)
	}
}

// What is too old goes, and everything that stays can be restored.
func testRetention(t *testing.T, s *pgtest.Server) {
	url, src := s.Database(t), newMemory(5)
	r := launch(t, s, url, src, func(c *Config) {
		c.EveryTxns, c.Keep, c.TrimEvery = 20, Keep{Age: 24 * time.Hour, Snapshots: 2}, time.Hour
	})
	conn := s.Connect(t, url)
	snaps := func() (n int) {
		_ = conn.QueryRow(t.Context(), `SELECT count(*) FROM perch.snapshots`).Scan(&n)
		return n
	}
	r.caughtUp(t, src)
	for range 6 {
		before := snaps()
		src.fill(25)
		until(t, "a snapshot more", func() bool { return snaps() > before })
	}
	r.caughtUp(t, src)
	r.end()
	// The third snapshot becomes two days old, and those before it.
	a, c := open(t, s, url, src)
	all, err := a.Snapshots(t.Context(), c.ID)
	if err != nil || len(all) != 7 {
		t.Fatal(len(all), err)
	}
	base := all[2].Zxid
	s.Exec(t, url, fmt.Sprintf(`UPDATE perch.snapshots SET taken_at = now() - interval '2 days' WHERE zxid <= %d`, base))
	r = launch(t, s, url, src, func(c *Config) { c.Keep = Keep{Age: 24 * time.Hour, Snapshots: 2} })
	// The base stays, the first of this day behind it, and the newest two.
	until(t, "trimmed", func() bool {
		var old int
		err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM perch.changes WHERE zxid <= $1)
			+ (SELECT count(*) FROM perch.batches WHERE through_zxid <= $1)`, int64(base)).Scan(&old)
		return err == nil && old == 0 && snaps() == len(all)-3
	})
	r.end()
	left, err := a.Snapshots(t.Context(), c.ID)
	if err != nil || left[0].Zxid != base {
		t.Fatalf("%+v are left: %v", left, err)
	}
	if _, err := restoreTo(t, a, c, Target{Zxid: base - 1}); !errors.Is(err, ErrNotThere) {
		t.Errorf("before the base: %v", err)
	}
	for i := src.index(base); i < len(src.entries); i += 5 {
		check(t, a, c, src, src.entries[i].Zxid)
	}
}

// Clusters in one database do not see each other.
func testClusters(t *testing.T, s *pgtest.Server) {
	url, one, two := s.Database(t), newMemory(6), newMemory(7)
	one.fill(30)
	r1 := launch(t, s, url, one)
	r2 := launch(t, s, url, two, func(c *Config) { c.Name = "other" })
	r1.caughtUp(t, one)
	two.fill(50)
	r2.caughtUp(t, two)
	one.fill(10)
	r1.caughtUp(t, one)
	a, c := open(t, s, url, two)
	check(t, a, c, two, two.Applied())
	check(t, a, ClusterInfo{ID: clusterText(one.cluster)}, one, one.Applied())
	if got, err := a.Cluster(t.Context(), "other"); err != nil || got.ID != c.ID {
		t.Errorf("by name: %+v, %v", got, err)
	}
	for which, want := range map[string]string{"": "say which", "none": "there are"} {
		if _, err := a.Cluster(t.Context(), which); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("cluster %q: %v", which, err)
		}
	}
}

// Any damage is refused, with what is wrong.
func testDamage(t *testing.T, s *pgtest.Server) {
	for name, c := range map[string]struct{ sql, want string }{
		"truncated chunk":      {`UPDATE perch.snapshot_chunks SET data = substr(data, 1, length(data) / 2)`, "its hash differs"},
		"missing chunk":        {`DELETE FROM perch.snapshot_chunks`, "is missing"},
		"forged chunk":         {`UPDATE perch.snapshot_chunks SET data = '\x00', sha256 = sha256('\x00')`, "snapshot"},
		"digest of a snapshot": {`UPDATE perch.snapshots SET digest = '0123456789abcdef'`, "digest"},
		"truncated entry":      {`UPDATE perch.transactions SET entry = substr(entry, 1, 30) WHERE zxid % 7 = 3`, "cannot be read"},
		"changed entry":        {`UPDATE perch.transactions SET entry = set_byte(entry, length(entry) - 1, 7) WHERE zxid % 7 = 3`, "chain hash"},
		"missing transaction":  {`DELETE FROM perch.transactions WHERE zxid % 7 = 3`, "chain hash"},
		"missing end":          {`DELETE FROM perch.transactions WHERE zxid > (SELECT max(zxid) - 3 FROM perch.transactions)`, ""},
		"digest of a state":    {`UPDATE perch.batches SET digest = '0123456789abcdef'`, "digest"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			url, src := s.Database(t), newMemory(8)
			r := launch(t, s, url, src)
			r.caughtUp(t, src)
			src.fill(20)
			r.caughtUp(t, src)
			r.end()
			s.Exec(t, url, c.sql)
			a, info := open(t, s, url, src)
			_, err := restoreTo(t, a, info, Target{})
			var damage *DamageError
			if c.want == "" {
				if !errors.Is(err, ErrNotThere) {
					t.Errorf("restore: %v", err)
				}
			} else if !errors.As(err, &damage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("restore: %v", err)
			}
			if err := a.Verify(t.Context(), info, nil, func(Verdict) {}); !errors.As(err, &damage) {
				t.Errorf("verify: %v", err)
			}
		})
	}
}

// Who changed a node is one SELECT.
func testWhoChanged(t *testing.T, s *pgtest.Server) {
	url, src := s.Database(t), newMemory(9)
	r := launch(t, s, url, src)
	r.caughtUp(t, src) // the snapshot is before what follows
	src.put("/app/config", "ann")
	last := src.put("/app/config", "bob")
	src.put("/app/other", "eve")
	r.caughtUp(t, src)
	rows, _ := s.Connect(t, url).Query(t.Context(), `SELECT zxid, principal || ' ' || change || ' ' || version || ' ' || operation || ' ' || address
		FROM perch.changes WHERE path = '/app/config' AND at > '2026-11-14' ORDER BY at`)
	type line struct {
		Zxid int64
		Text string
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[line])
	if err != nil || len(got) != 2 || got[0].Text != "ann created 0 put 10.1.2.3" ||
		got[1].Text != "bob changed 1 put 10.1.2.3" || quorum.Zxid(got[1].Zxid) != last {
		t.Fatalf("%+v: %v", got, err)
	}
}

// An archive that holds another history of the same cluster is not written to.
func testOtherHistory(t *testing.T, s *pgtest.Server) {
	url, src := s.Database(t), newMemory(10)
	r := launch(t, s, url, src)
	r.caughtUp(t, src)
	r.end()
	s.Exec(t, url, `UPDATE perch.clusters SET last_chain = last_chain + 1`)
	src.fill(1)
	r = launch(t, s, url, src)
	until(t, "failing", func() bool { return r.Status().State == stateFailing })
	if got := r.Status().Error; !strings.Contains(got, errConflict.Error()) {
		t.Errorf("error %q", got)
	}
}

// The tables of a newer program are left alone, by shippers and readers.
func testNewerTables(t *testing.T, s *pgtest.Server) {
	url, src := s.Database(t), newMemory(11)
	r := launch(t, s, url, src)
	r.caughtUp(t, src)
	r.end()
	s.Exec(t, url, `INSERT INTO perch.migrations (version, file) VALUES (99, 'of the future')`)
	r = launch(t, s, url, src)
	until(t, "failing", func() bool { return r.Status().State == stateFailing })
	_, err := Open(t.Context(), Access{URL: url, Password: func() (string, error) { return s.Password, nil }})
	for _, text := range []string{r.Status().Error, fmt.Sprint(err)} {
		if !strings.Contains(text, "version 99") {
			t.Errorf("error %q", text)
		}
	}
}

// What a command may hold and the database does not take keeps nothing from being
// archived.
func testStrangeText(t *testing.T, s *pgtest.Server) {
	url, src := s.Database(t), newMemory(12)
	r := launch(t, s, url, src)
	r.caughtUp(t, src)
	src.put("/a\x00b", "nul\x00")
	src.put("/"+strings.Repeat("x", 20_000), strings.Repeat("p", 5_000))
	src.wall = 1 << 62
	src.put("/late", "x")
	src.wall = -1 << 62
	src.put("/early", "x")
	r.caughtUp(t, src)
	whole(t, s.Connect(t, url), src)
	a, c := open(t, s, url, src)
	check(t, a, c, src, src.Applied())
}

// Every statement in docs/archive.md can be run as it stands there.
func TestDocumentedQueries(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec(t, "postgres", `CREATE DATABASE archive`)
	url, src := s.URL("archive"), newMemory(1)
	r := launch(t, s, url, src)
	r.caughtUp(t, src)
	src.put("/app/config", "deploy")
	r.caughtUp(t, src)
	text, err := os.ReadFile("../docs/archive.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```sql\n")[1:]
	if len(blocks) < 6 {
		t.Fatalf("%d statements", len(blocks))
	}
	for _, block := range blocks {
		sql, _, _ := strings.Cut(block, "```")
		s.Exec(t, url, sql)
	}
}
