package snap

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"

	"perch/quorum"
	"perch/quorum/disk/memdisk"
)

// TestInspect: every snapshot is named with what is wrong with it, and no file
// is touched, whatever is there.
func TestInspect(t *testing.T) {
	d := memdisk.New()
	s, _ := mustOpen(t, d)
	for n := 1; n <= 4; n++ {
		create(t, s, zxid(n), testContent(n))
	}
	change := func(n int, edit func(b []byte) []byte) {
		path := s.path(zxid(n))
		d.Put(path, edit(d.Read(path)))
	}
	change(2, func(b []byte) []byte { b[headBytes+blockHead] ^= 1; return b })
	d.Put(s.path(zxid(9)), d.Read(s.path(zxid(1)))) // one under the name of another
	d.Put(s.path(zxid(8))+asideExt+".1", []byte("x"))
	d.Put(s.path(zxid(7))+".3.tmp", []byte("x"))
	odd := errors.New("odd")
	before := d.Ops()
	all, err := inspect(d, s.opt.Dir, func(m quorum.SnapMeta, content io.Reader) error {
		b, err := io.ReadAll(content)
		if err != nil || !bytes.Equal(b, testContent(int(m.Zxid.Counter()))) {
			t.Errorf("%v: %d bytes, %v", m.Zxid, len(b), err)
		}
		if m.Zxid == zxid(4) {
			return odd
		}
		return nil
	})
	if err != nil || d.Ops() != before {
		t.Fatal(err, d.Ops()-before)
	}
	want := []struct {
		n                     int
		damaged, aside, oddly bool
	}{{n: 1}, {n: 2, damaged: true}, {n: 3}, {n: 4, damaged: true, oddly: true}, {n: 8, aside: true}, {n: 9, damaged: true}}
	if len(all) != len(want) {
		t.Fatalf("%+v", all)
	}
	for i, w := range want {
		var damage *DamageError
		got := all[i]
		name := s.path(zxid(w.n))
		if w.aside {
			name += asideExt + ".1"
		}
		if got.File != name || got.Aside != w.aside || errors.As(got.Err, &damage) != w.damaged || (damage != nil && damage.File != name) {
			t.Errorf("%+v, want %+v", got, w)
		}
		if whole := !w.damaged && !w.aside; whole && (got.Meta.Zxid != zxid(w.n) || got.Meta.Size != got.Size) {
			t.Errorf("%+v", got)
		}
		if w.oddly && damage.Reason != odd.Error() {
			t.Errorf("%+v", damage)
		}
	}
	if _, err := Inspect(t.TempDir()+"/gone", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
