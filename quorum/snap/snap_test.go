package snap

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"perch/quorum"
	"perch/quorum/disk/memdisk"
)

func content(seed uint64, n int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func create(t *testing.T, s *Store, z quorum.Zxid, c []byte) quorum.SnapMeta {
	t.Helper()
	meta, err := s.Create(quorum.SnapMeta{Zxid: z, Chain: uint64(z) * 3, Digest: uint64(z) * 5}, func(w io.Writer) error {
		_, err := w.Write(c)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return meta
}

func readAll(t *testing.T, s *Store, z quorum.Zxid) []byte {
	t.Helper()
	r, err := s.Open(z)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCreateListReadReceive(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir() + "/x/snap"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{0, 1, blockBytes - 1, blockBytes, blockBytes + 1, 3*blockBytes + 17} {
		z := quorum.MakeZxid(2, uint32(i+1))
		c := content(uint64(n), n)
		meta := create(t, s, z, c)
		again, err := Open(Options{Dir: s.opt.Dir}) // knows nothing yet
		if err != nil {
			t.Fatal(err)
		}
		if got, ok, err := again.Newest(); err != nil || !ok || got != meta {
			t.Fatalf("%+v %v %v, want %+v", got, ok, err, meta)
		}
		p, err := again.Pin(z)
		if err != nil {
			t.Fatal(err)
		}
		r, err := other.Receive(p.Meta())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(r, io.NewSectionReader(p, 0, meta.Size)); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(readAll(t, other, z), c) {
			t.Fatalf("content of %d bytes differs", n)
		}
	}
	metas, err := s.Purge(2)
	if err != nil || len(metas) != 2 || metas[0].Zxid != quorum.MakeZxid(2, 6) {
		t.Fatal(metas, err)
	}
	if _, err := s.Open(quorum.MakeZxid(2, 1)); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

// TestPinHoldsPurge: a pinned snapshot outlives a purge, an unpinned one does
// not; a discarded one can still be read by who has it open.
func TestPinHoldsPurge(t *testing.T) {
	s, _ := mustOpen(t, memdisk.New())
	r := newRun()
	for n := 1; n <= 4; n++ {
		if err := r.create(s, n); err != nil {
			t.Fatal(err)
		}
	}
	a, err := s.Pin(zxid(1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Pin(zxid(1))
	if err != nil {
		t.Fatal(err)
	}
	left := func() (zxids []int) {
		metas, err := s.Purge(2)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metas {
			zxids = append(zxids, int(m.Zxid.Counter()))
		}
		return zxids
	}
	if got := left(); len(got) != 3 || got[2] != 1 {
		t.Fatal(got)
	}
	for range 2 { // closing one pin twice does not end the other
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := left(); len(got) != 3 {
		t.Fatal(got)
	}
	if err := s.Discard(zxid(1)); err != nil {
		t.Fatal(err)
	}
	whole := make([]byte, b.Meta().Size)
	if _, err := b.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got := left(); len(got) != 2 || got[0] != 4 || got[1] != 3 {
		t.Fatal(got)
	}
	if metas, err := s.Purge(1, zxid(3)); err != nil || len(metas) != 2 {
		t.Fatal(metas, err)
	}
	if _, err := s.Pin(zxid(1)); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if len(s.pins) != 0 {
		t.Fatal(s.pins)
	}
}

// TestReceiverRefuses: whatever is not exactly what was announced leaves
// nothing behind.
func TestReceiverRefuses(t *testing.T) {
	source, _ := mustOpen(t, memdisk.New())
	if err := newRun().create(source, 9); err != nil {
		t.Fatal(err)
	}
	p, err := source.Pin(zxid(9))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	good := p.Meta()
	bytes9 := make([]byte, good.Size)
	if _, err := p.ReadAt(bytes9, 0); err != nil {
		t.Fatal(err)
	}
	cases := map[string]func(m *quorum.SnapMeta, r func() *Receiver) error{
		"too short": func(m *quorum.SnapMeta, r func() *Receiver) error {
			rcv := r()
			_, _ = rcv.Write(bytes9[:len(bytes9)-1])
			return rcv.Commit()
		},
		"other bytes": func(m *quorum.SnapMeta, r func() *Receiver) error {
			rcv := r()
			_, _ = rcv.Write(append([]byte{0}, bytes9[1:]...))
			return rcv.Commit()
		},
		"other zxid":   func(m *quorum.SnapMeta, r func() *Receiver) error { m.Zxid++; return all(r(), bytes9) },
		"other digest": func(m *quorum.SnapMeta, r func() *Receiver) error { m.Digest++; return all(r(), bytes9) },
		"other chain":  func(m *quorum.SnapMeta, r func() *Receiver) error { m.Chain++; return all(r(), bytes9) },
		"other hash":   func(m *quorum.SnapMeta, r func() *Receiver) error { m.Hash++; return all(r(), bytes9) },
		"too long": func(m *quorum.SnapMeta, r func() *Receiver) error {
			rcv := r()
			defer rcv.Abort()
			_, err := rcv.Write(append(bytes9, 0))
			return err
		},
		"gap": func(m *quorum.SnapMeta, r func() *Receiver) error {
			rcv := r()
			defer rcv.Abort()
			_, err := rcv.WriteAt(bytes9[1:], 1)
			return err
		},
		"after the end": func(m *quorum.SnapMeta, r func() *Receiver) error {
			rcv := r()
			rcv.Abort()
			_, err := rcv.Write(bytes9)
			if commitErr := rcv.Commit(); !errors.Is(commitErr, ErrMismatch) {
				return commitErr
			}
			return err
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := memdisk.New()
			s, _ := mustOpen(t, d)
			m := good
			err := c(&m, func() *Receiver {
				rcv, err := s.Receive(m)
				if err != nil {
					t.Fatal(err)
				}
				return rcv
			})
			if !errors.Is(err, ErrMismatch) {
				t.Fatal(err)
			}
			if files := d.Files(testDir); len(files) != 0 {
				t.Fatal(files)
			}
		})
	}
	if _, err := source.Receive(quorum.SnapMeta{Size: 3}); !errors.Is(err, ErrMismatch) {
		t.Fatal(err)
	}
}

func all(r *Receiver, b []byte) error {
	if _, err := r.Write(b); err != nil {
		return err
	}
	return r.Commit()
}

// TestCreateGivesUp: an error of the content or of the brake ends the writing
// and leaves nothing.
func TestCreateGivesUp(t *testing.T) {
	stop := errors.New("stop")
	d := memdisk.New()
	s, err := Open(Options{Dir: testDir, FS: d, Pace: func(n int) error {
		if n > blockBytes {
			return stop
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Create(quorum.SnapMeta{Zxid: 1, Chain: 2, Digest: 3}, func(w io.Writer) error { return stop })
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	_, err = s.Create(quorum.SnapMeta{Zxid: 1, Chain: 2, Digest: 3}, func(w io.Writer) error {
		n, err := w.Write(make([]byte, 2*blockBytes))
		if n != 0 {
			t.Errorf("%d bytes were taken", n)
		}
		return err
	})
	if !errors.Is(err, stop) || len(d.Files(testDir)) != 0 {
		t.Fatal(err, d.Files(testDir))
	}
}

// TestEqualStatesMakeEqualFiles, however the content is cut into writes.
func TestEqualStatesMakeEqualFiles(t *testing.T) {
	d := memdisk.New()
	s, _ := mustOpen(t, d)
	c := content(1, 2*blockBytes+100)
	a := create(t, s, 5, c)
	first := d.Read(s.path(5))
	b, err := s.Create(a, func(w io.Writer) error {
		for rest := c; len(rest) > 0; {
			n := min(len(rest), 7777)
			if _, err := w.Write(rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	})
	if err != nil || a != b || !bytes.Equal(first, d.Read(s.path(5))) {
		t.Fatal(a, b, err)
	}
}

// TestManyAtOnce makes, reads, pins and purges concurrently on real files.
func TestManyAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "snap")
	s, err := Open(Options{Dir: dir, Report: func(e *DamageError) { t.Error(e) }})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := range 12 {
				z := zxid(1 + (n+w)%5)
				if err := (newRun()).create(s, int(z.Counter())); err != nil {
					t.Error(err)
				}
				if p, err := s.Pin(z); err == nil {
					_, _ = p.ReadAt(make([]byte, 10), 0)
					_ = p.Close()
				} else if !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				if _, err := s.Purge(2); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	infos, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range infos {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 || !strings.HasSuffix(e.Name(), ext) {
			t.Error(e.Name(), info.Mode(), err)
		}
	}
}
