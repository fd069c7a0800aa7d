package snap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"perch/quorum"
	"perch/quorum/disk/memdisk"
)

const testDir = "snap"

func mustOpen(t testing.TB, d *memdisk.Disk) (*Store, *[]*DamageError) {
	t.Helper()
	var found []*DamageError
	s, err := Open(Options{Dir: testDir, FS: d, SyncBytes: 100, Report: func(e *DamageError) { found = append(found, e) }})
	if err != nil {
		t.Fatal(err)
	}
	return s, &found
}

func zxid(n int) quorum.Zxid { return quorum.MakeZxid(3, uint32(n)) }

// run is a life of a store: it makes, receives, purges and discards. acked says
// what must be there after it ended.
type run struct {
	acked map[quorum.Zxid]quorum.SnapMeta
	// What was being done when it ended may have happened or not.
	coming, going map[quorum.Zxid]bool
}

func newRun() *run {
	return &run{acked: map[quorum.Zxid]quorum.SnapMeta{}, coming: map[quorum.Zxid]bool{}, going: map[quorum.Zxid]bool{}}
}

func testContent(n int) []byte { return content(uint64(n), 40*n) }

// play does it all, and ends with the first error.
func (r *run) play(s *Store) error {
	for n := 1; n <= 3; n++ {
		if err := r.create(s, n); err != nil {
			return err
		}
	}
	if err := r.receive(s, 4); err != nil {
		return err
	}
	if err := r.create(s, 3); err != nil { // once more
		return err
	}
	r.going[zxid(2)] = true
	delete(r.acked, zxid(2))
	if err := s.Discard(zxid(2)); err != nil {
		return err
	}
	r.going = map[quorum.Zxid]bool{zxid(1): true, zxid(3): true}
	delete(r.acked, zxid(1))
	delete(r.acked, zxid(3))
	_, err := s.Purge(1)
	return err
}

func (r *run) create(s *Store, n int) error {
	r.coming[zxid(n)] = true
	meta, err := s.Create(quorum.SnapMeta{Zxid: zxid(n), Chain: 5, Digest: 6, Config: "members"}, func(w io.Writer) error {
		_, err := w.Write(testContent(n))
		return err
	})
	if err == nil {
		r.acked[zxid(n)] = meta
		delete(r.coming, zxid(n))
	}
	return err
}

// receive takes snapshot n from another store, in small chunks.
func (r *run) receive(s *Store, n int) error {
	from := memdisk.New()
	source, err := Open(Options{Dir: testDir, FS: from})
	if err != nil {
		return err
	}
	if err := newRun().create(source, n); err != nil {
		return err
	}
	p, err := source.Pin(zxid(n))
	if err != nil {
		return err
	}
	defer p.Close()
	r.coming[zxid(n)] = true
	rcv, err := s.Receive(p.Meta())
	if err != nil {
		return err
	}
	defer rcv.Abort()
	for rcv.Offset() < p.Meta().Size {
		b := make([]byte, min(70, p.Meta().Size-rcv.Offset()))
		if _, err := p.ReadAt(b, rcv.Offset()); err != nil {
			return err
		}
		if _, err := rcv.WriteAt(b, rcv.Offset()); err != nil {
			return err
		}
	}
	if err := rcv.Commit(); err != nil {
		return err
	}
	r.acked[zxid(n)] = p.Meta()
	delete(r.coming, zxid(n))
	return nil
}

// judge opens what is left: everything acknowledged is there and good, nothing
// half made is seen, nothing is left over.
func (r *run) judge(d *memdisk.Disk) error {
	var found []*DamageError
	s, err := Open(Options{Dir: testDir, FS: d, Report: func(e *DamageError) { found = append(found, e) }})
	if err != nil {
		return err
	}
	metas, err := s.List()
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("damage found: %w", found[0])
	}
	seen := map[quorum.Zxid]bool{}
	for _, m := range metas {
		seen[m.Zxid] = true
		if want, ok := r.acked[m.Zxid]; ok && want != m {
			return fmt.Errorf("%+v, want %+v", m, want)
		} else if !ok && !r.coming[m.Zxid] && !r.going[m.Zxid] {
			return fmt.Errorf("%v is there", m.Zxid)
		}
		rd, err := s.Open(m.Zxid)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(rd)
		if err != nil || !bytes.Equal(b, testContent(int(m.Zxid.Counter()))) || rd.Meta() != m {
			return fmt.Errorf("content of %v is wrong: %v", m.Zxid, err)
		}
	}
	for z := range r.acked {
		if !seen[z] {
			return fmt.Errorf("%v is lost", z)
		}
	}
	for _, name := range d.Files(testDir) {
		if !strings.HasSuffix(name, ext) {
			return fmt.Errorf("%s is left over", name)
		}
	}
	return nil
}

// TestCrashAnywhere stops the machine in every file operation, and again in
// every one of the next opening.
func TestCrashAnywhere(t *testing.T) {
	for at := 1; ; at++ {
		d := memdisk.New()
		d.CrashAt(at)
		r := newRun()
		s, err := Open(Options{Dir: testDir, FS: d, SyncBytes: 100})
		if err == nil {
			err = r.play(s)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, memdisk.ErrCrashed) {
			t.Fatalf("crash at %d: %v", at, err)
		}
		for variant := range 8 {
			rnd := rand.New(rand.NewPCG(uint64(variant), 1))
			how := []memdisk.Survival{memdisk.Lost, memdisk.Kept, memdisk.Torn}[min(variant, 2)]
			left := d.Crash(how, rnd)
			twice := left.Restart()
			if err := r.judge(left); err != nil {
				t.Fatalf("crash at %d, variant %d: %v", at, variant, err)
			}
			twice.CrashAt(1 + variant/2)
			_, _ = Open(Options{Dir: testDir, FS: twice})
			if err := r.judge(twice.Crash(memdisk.Torn, rnd)); err != nil {
				t.Fatalf("crash at %d, variant %d, and again: %v", at, variant, err)
			}
		}
	}
}

// TestFailAnywhere makes every file operation fail once. What was acknowledged
// before stays, in this life and in the next.
func TestFailAnywhere(t *testing.T) {
	for at := 1; ; at++ {
		d := memdisk.New()
		d.FailAt(at, syscall.EIO)
		r := newRun()
		s, err := Open(Options{Dir: testDir, FS: d, SyncBytes: 100})
		if err == nil {
			err = r.play(s)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("fault at %d: %v", at, err)
		}
		rnd := rand.New(rand.NewPCG(uint64(at), 2))
		for how, left := range map[string]*memdisk.Disk{
			"process": d.Restart(), "lost": d.Crash(memdisk.Lost, rnd), "torn": d.Crash(memdisk.Torn, rnd),
		} {
			if err := r.judge(left); err != nil {
				t.Fatalf("fault at %d, %s: %v", at, how, err)
			}
		}
	}
}

// TestDiskFull: a full disk costs the snapshot that is being made, and gives
// its space back.
func TestDiskFull(t *testing.T) {
	d := memdisk.New()
	s, _ := mustOpen(t, d)
	r := newRun()
	if err := r.create(s, 1); err != nil {
		t.Fatal(err)
	}
	d.Limit(400)
	if err := r.create(s, 50); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if files := d.Files(testDir); len(files) != 1 {
		t.Fatal(files)
	}
	d.Limit(0)
	if err := r.create(s, 50); err != nil {
		t.Fatal(err)
	}
	if err := r.judge(d); err != nil {
		t.Fatal(err)
	}
}

// TestDirectorySyncFails: a name that may not be durable stops the store.
func TestDirectorySyncFails(t *testing.T) {
	d := memdisk.New()
	s, _ := mustOpen(t, d)
	if err := newRun().create(s, 1); err != nil {
		t.Fatal(err)
	}
	ops := d.Ops()
	clean := memdisk.New()
	probe, _ := mustOpen(t, clean)
	before := clean.Ops()
	if err := newRun().create(probe, 1); err != nil {
		t.Fatal(err)
	}
	d.FailAt(ops+clean.Ops()-before, syscall.EIO) // the last operation of a Create
	if err := newRun().create(s, 1); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	_, listErr := s.List()
	for call, err := range map[string]error{"Create": newRun().create(s, 2), "List": listErr, "Receive": newRun().receive(s, 2)} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", call, err)
		}
	}
}

// TestDamageEverywhere flips a bit in every byte of a snapshot and cuts it at
// every length: List leaves it out, reports it and sets it aside whole; a
// Reader never ends well.
func TestDamageEverywhere(t *testing.T) {
	d := memdisk.New()
	s, _ := mustOpen(t, d)
	r := newRun()
	for n := 1; n <= 2; n++ {
		if err := r.create(s, n); err != nil {
			t.Fatal(err)
		}
	}
	name := s.path(zxid(2))
	whole := d.Read(name)
	var broken [][]byte
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << (i % 8)
		broken = append(broken, flipped, whole[:i])
	}
	broken = append(broken, append(bytes.Clone(whole), 0), d.Read(s.path(zxid(1))))
	for i, b := range broken {
		d := d.Restart()
		d.Put(name, b)
		d.Put(name+asideExt, []byte("an older one"))
		if err := readToEnd(d); err == nil {
			t.Fatalf("case %d: a Reader took it for good", i)
		}
		s, found := mustOpen(t, d)
		metas, err := s.List()
		if err != nil || len(metas) != 1 || metas[0] != r.acked[zxid(1)] {
			t.Fatalf("case %d: %v %v", i, metas, err)
		}
		if len(*found) != 1 || (*found)[0].File != name || (*found)[0].Offset < 0 || (*found)[0].Offset > int64(len(whole)) {
			t.Fatalf("case %d: reported %v", i, *found)
		}
		if !bytes.Equal(d.Read(name+asideExt+".1"), b) || d.Read(name) != nil || d.Read(name+asideExt) == nil {
			t.Fatalf("case %d: not set aside: %v", i, d.Files(testDir))
		}
	}
}

// readToEnd opens snapshot 2 and reads it.
func readToEnd(d *memdisk.Disk) error {
	s, err := Open(Options{Dir: testDir, FS: d})
	if err != nil {
		return err
	}
	r, err := s.Open(zxid(2))
	if err == nil {
		_, err = io.ReadAll(r)
	}
	var damage *DamageError
	if err != nil && !errors.As(err, &damage) {
		return nil // the wrong error counts as none
	}
	return err
}

// TestDamageFoundByReader: a snapshot that was good and is not any more is
// checked again by the next List.
func TestDamageFoundByReader(t *testing.T) {
	d := memdisk.New()
	s, found := mustOpen(t, d)
	if err := newRun().create(s, 2); err != nil {
		t.Fatal(err)
	}
	b := d.Read(s.path(zxid(2)))
	first := headBytes + len("members") + 4 // where the first block begins
	b[first+blockHead] ^= 1
	d.Put(s.path(zxid(2)), b)
	rd, err := s.Open(zxid(2))
	if err != nil {
		t.Fatal(err)
	}
	var damage *DamageError
	if _, err := io.ReadAll(rd); !errors.As(err, &damage) || damage.Offset != int64(first) {
		t.Fatal(err)
	}
	if _, ok, err := s.Newest(); ok || err != nil || len(*found) != 1 {
		t.Fatal(ok, err, *found)
	}
}

// FuzzReader reads any bytes as a snapshot: it ends in an error, or the bytes
// are exactly what writing that content gives.
func FuzzReader(f *testing.F) {
	d := memdisk.New()
	s, err := Open(Options{Dir: testDir, FS: d})
	if err != nil {
		f.Fatal(err)
	}
	for n := range 3 {
		if err := newRun().create(s, n); err != nil {
			f.Fatal(err)
		}
		f.Add(d.Read(s.path(zxid(n))))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := memdisk.New()
		d.Put(testDir+"/x", b)
		file, err := d.Open(testDir+"/x", 1)
		if err != nil {
			t.Fatal(err)
		}
		r, err := newBlockReader(file)
		if err != nil {
			return
		}
		c, err := io.ReadAll(r)
		if err != nil {
			return
		}
		s, err := Open(Options{Dir: testDir, FS: d})
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Create(r.meta, func(w io.Writer) error { _, err := w.Write(c); return err })
		if err != nil || m.Zxid != r.meta.Zxid || r.meta.Size != int64(len(b)) {
			t.Fatal(m, r.meta, err)
		}
	})
}

// TestSeenIsDurable: whatever a new process sees survives a power cut from then
// on, also when the one before it died between a rename and its sync.
func TestSeenIsDurable(t *testing.T) {
	for at := 1; ; at++ {
		d := memdisk.New()
		d.CrashAt(at)
		r := newRun()
		s, err := Open(Options{Dir: testDir, FS: d})
		if err == nil {
			err = r.create(s, 1)
		}
		if err == nil {
			break
		}
		d = d.Restart()
		s, _ = mustOpen(t, d)
		seen, ok, err := s.Newest()
		if err != nil {
			t.Fatal(err)
		}
		s, _ = mustOpen(t, d.Crash(memdisk.Lost, nil))
		if again, still, err := s.Newest(); err != nil || still != ok || again != seen {
			t.Fatalf("death at %d: %v was seen, then %v: %v", at, seen, again, err)
		}
	}
}

// TestWritesArePaced: no more than SyncBytes and one block wait for a sync.
func TestWritesArePaced(t *testing.T) {
	d := memdisk.New()
	chunks := 0
	s, err := Open(Options{Dir: testDir, FS: d, SyncBytes: 2 * blockBytes, Pace: func(n int) error { chunks++; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	before := d.Ops()
	create(t, s, 1, make([]byte, 8*blockBytes))
	// Create the file, 10 writes of header, blocks and trailer, a sync for every
	// 2 blocks, and sync, rename, sync of the directory.
	if ops := d.Ops() - before; ops != 1+10+4+3 || chunks != 10 {
		t.Fatalf("%d operations, %d chunks", ops, chunks)
	}
}
