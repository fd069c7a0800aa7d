package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perch/quorum"
	"perch/quorum/disk"
)

func openOS(t testing.TB, dir string) (*Log, *Recovered) {
	t.Helper()
	l, rec, err := Open(Options{Dir: dir, Node: 7, SegmentBytes: 64 << 10, AllocBytes: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, rec
}

// TestRealFiles runs the model against the real file system, and looks at the
// modes of what it made.
func TestRealFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "wal")
	l, rec := openOS(t, dir)
	m := &model{control: rec.Control}
	rnd := rand.New(rand.NewPCG(8, 8))
	for i := range 120 {
		recs := m.group(rnd)
		if err := l.Append(recs); err != nil {
			t.Fatal(err)
		}
		for i := range recs {
			m.apply(&recs[i])
		}
		if i%40 == 39 {
			last, _ := m.last()
			m.floor = last
			if _, err := l.Purge(last); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l, rec = openOS(t, dir)
			if err := m.checkRecovered(rec); err != nil {
				t.Fatal(err)
			}
			m.control = rec.Control
		}
	}
	for path, want := range map[string]os.FileMode{filepath.Dir(dir): 0o700, dir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	infos, err := os.ReadDir(dir)
	if err != nil || len(infos) < 3 {
		t.Fatal(infos, err)
	}
	for _, e := range infos {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", e.Name(), info.Mode(), err)
		}
	}
	records := 0
	if err := Walk(dir, func(r RecordInfo) error { records++; return nil }); err != nil || records < 3 {
		t.Fatal(records, err)
	}
	stop := errors.New("enough")
	if err := Walk(dir, func(r RecordInfo) error { return stop }); err != stop {
		t.Fatal(err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	l, _ := openOS(t, dir)
	if _, _, err := Open(Options{Dir: dir, Node: 7}); !errors.Is(err, disk.ErrLocked) {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal("second Close:", err)
	}
	openOS(t, dir)
}

// TestReadBesideWriting reads from random positions while entries are appended,
// cut off and purged. What is read must continue the position asked for.
func TestReadBesideWriting(t *testing.T) {
	l, rec := openOS(t, t.TempDir())
	m := &model{control: rec.Control}
	rnd := rand.New(rand.NewPCG(9, 9))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := readSome(l); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 400 {
		recs := m.group(rnd)
		if err := l.Append(recs); err != nil {
			t.Fatal(err)
		}
		for i := range recs {
			m.apply(&recs[i])
		}
		if n := len(m.entries); i%10 == 0 && n > 20 {
			upTo := m.entries[n-20].Zxid
			m.floor = max(m.floor, upTo)
			if _, err := l.Purge(upTo); err != nil {
				t.Fatal(err)
			}
		}
		_ = l.Size()
	}
	close(stop)
	wg.Wait()
}

// TestVerifyBesideWriting judges the log of a process that writes, rolls and
// purges all the time: it is sound, and nothing else is ever said of it.
func TestVerifyBesideWriting(t *testing.T) {
	dir := t.TempDir()
	l, rec, err := Open(Options{Dir: dir, Node: 7, SegmentBytes: 8 << 10, AllocBytes: 2 << 10})
	if err != nil {
		t.Fatal(err)
	}
	m := &model{control: rec.Control}
	rnd := rand.New(rand.NewPCG(4, 4))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var judged atomic.Int64
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			r, err := Verify(dir)
			if err != nil || len(r.Damage) > 0 || r.Node != 7 {
				t.Errorf("%v, %+v", err, r)
				return
			}
			judged.Add(1)
		}
	})
	for i := 0; !t.Failed() && (i < 300 || judged.Load() < 20); i++ {
		recs := m.group(rnd)
		if err := l.Append(recs); err != nil {
			t.Fatal(err)
		}
		for i := range recs {
			m.apply(&recs[i])
		}
		if n := len(m.entries); i%10 == 0 && n > 20 {
			if _, err := l.Purge(m.entries[n-20].Zxid); err != nil {
				t.Fatal(err)
			}
			m.floor = max(m.floor, m.entries[n-20].Zxid)
		}
	}
	close(stop)
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(dir)
	if last, _ := m.last(); err != nil || len(r.Damage) > 0 || r.History.Last() != last {
		t.Fatalf("%v, %+v", err, r)
	}
	if _, err := Verify(t.TempDir()); !errors.Is(err, ErrNoLog) {
		t.Fatal(err)
	}
}

func readSome(l *Log) error {
	begins := func() (quorum.Zxid, uint64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		start := l.state.history.Start()
		chain, _ := l.state.history.Chain(start)
		return start, chain
	}
	start, chain := begins()
	entries, err := l.Read(start, 20000)
	if now, other := begins(); errors.Is(err, ErrNotFound) || now != start || other != chain {
		return nil // purged, or replaced by a snapshot, meanwhile
	}
	if err != nil {
		return err
	}
	for i := range entries {
		if entries[i].Chain != quorum.ChainHash(chain, &entries[i]) {
			return fmt.Errorf("entry %v does not continue %v", entries[i].Zxid, start)
		}
		chain = entries[i].Chain
	}
	return nil
}

// BenchmarkAppend measures groups of 256-byte entries on the real disk. The
// median is the figure to look at: the mean is at the mercy of the neighbours.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("group=%d", size), func(b *testing.B) {
			l, _, err := Open(Options{Dir: b.TempDir(), Node: 7})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			recs := make([]quorum.Record, size)
			data := make([]byte, 256)
			z, chain := quorum.MakeZxid(1, 1), uint64(0)
			var took []time.Duration
			for b.Loop() {
				for i := range recs {
					e := quorum.Entry{Zxid: z, Kind: quorum.EntryCommand, Data: data}
					e.Chain = quorum.ChainHash(chain, &e)
					recs[i] = quorum.Record{Type: quorum.RecordEntry, Entry: e}
					z, chain = z+1, e.Chain
				}
				began := time.Now()
				if err := l.Append(recs); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
		})
	}
}
