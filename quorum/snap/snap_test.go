package snap

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"perch/quorum"
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
	meta, err := s.Create(z, uint64(z)*3, uint64(z)*5, func(w io.Writer) error {
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
