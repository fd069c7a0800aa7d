package memdisk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"perch/quorum/disk"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func create(t *testing.T, d *Disk, name, content string) disk.File {
	t.Helper()
	f, err := d.Open(name, disk.Create)
	must(t, err)
	_, err = f.WriteAt([]byte(content), 0)
	must(t, err)
	return f
}

// TestSurvival says, for each step towards durability, what the three kinds of
// crash leave.
func TestSurvival(t *testing.T) {
	steps := []struct {
		name       string
		do         func(d *Disk, f disk.File) error
		lost, kept string // contents of a/x; "-" when there is none
	}{
		{"written", func(*Disk, disk.File) error { return nil }, "-", "one"},
		{"synced without a name", func(_ *Disk, f disk.File) error { return f.Sync() }, "-", "one"},
		{"name synced", func(d *Disk, _ disk.File) error { return d.SyncDir("a") }, "one", "one"},
		{"overwritten", func(_ *Disk, f disk.File) error { _, err := f.WriteAt([]byte("two!"), 0); return err }, "one", "two!"},
		{"cut", func(_ *Disk, f disk.File) error { return f.Truncate(2) }, "one", "tw"},
		{"lengthened", func(_ *Disk, f disk.File) error { return f.Truncate(3) }, "one", "tw\x00"},
		{"synced", func(_ *Disk, f disk.File) error { return f.Sync() }, "tw\x00", "tw\x00"},
		{"renamed", func(d *Disk, _ disk.File) error { return d.Rename("a/x", "a/y") }, "tw\x00", "-"},
		{"another directory synced", func(d *Disk, _ disk.File) error { return d.SyncDir("b") }, "tw\x00", "-"},
		{"rename synced", func(d *Disk, _ disk.File) error { return d.SyncDir("a") }, "-", "-"},
	}
	d := New()
	f := create(t, d, "a/x", "one")
	for _, s := range steps {
		must(t, s.do(d, f))
		for how, want := range map[Survival]string{Lost: s.lost, Kept: s.kept} {
			got := d.Crash(how, nil).Read("a/x")
			if (want == "-") != (got == nil) || (got != nil && string(got) != want) {
				t.Errorf("%s, survival %d: %q, want %q", s.name, how, got, want)
			}
		}
	}
}

// TestTorn: a torn write leaves old and new bytes at their places, in many
// mixtures, one of which is all of it and one none.
func TestTorn(t *testing.T) {
	d := New()
	f := create(t, d, "a/x", string(bytes.Repeat([]byte{1}, 3*sector)))
	must(t, f.Sync(), d.SyncDir("a"))
	_, err := f.WriteAt(bytes.Repeat([]byte{2}, 2*sector), 100)
	must(t, err)
	seen := map[string]bool{}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		b := d.Crash(Torn, rnd).Read("a/x")
		if len(b) != 3*sector || bytes.Contains(b[:100], []byte{2}) || bytes.Contains(b[100+2*sector:], []byte{2}) {
			t.Fatal("bytes out of place")
		}
		seen[string(b)] = true
	}
	if len(seen) < 20 || !seen[string(d.Read("a/x"))] || !seen[string(bytes.Repeat([]byte{1}, 3*sector))] {
		t.Fatalf("%d mixtures", len(seen))
	}
}

// TestFailedSyncLosesBytes: the bytes stay readable, the next sync succeeds,
// and a power cut shows that they were never written.
func TestFailedSyncLosesBytes(t *testing.T) {
	d := New()
	f := create(t, d, "a/x", "old")
	must(t, f.Sync(), d.SyncDir("a"))
	_, err := f.WriteAt([]byte("new"), 0)
	must(t, err)
	d.FailAt(d.Ops()+1, syscall.EIO)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	must(t, f.Sync())
	if got := d.Restart().Read("a/x"); string(got) != "new" {
		t.Fatalf("a new process reads %q", got)
	}
	if got := d.Crash(Kept, nil).Read("a/x"); string(got) != "old" {
		t.Fatalf("the next boot reads %q", got)
	}
}

// TestCrashStopsEverything: from the crash on nothing succeeds and nothing
// changes.
func TestCrashStopsEverything(t *testing.T) {
	d := New()
	f := create(t, d, "a/x", "one")
	d.CrashAt(d.Ops() + 1)
	_, err := f.WriteAt([]byte("two"), 0)
	_, openErr := d.Open("a/x", disk.ReadOnly)
	_, createErr := d.Open("a/z", disk.Create)
	_, dirErr := d.ReadDir("a")
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	for i, err := range []error{err, openErr, createErr, dirErr, readErr, f.Sync(), d.Rename("a/x", "a/y"), d.Remove("a/x"), d.SyncDir("a")} {
		if !errors.Is(err, ErrCrashed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if got := d.Crash(Kept, nil).Read("a/x"); string(got) != "two" {
		t.Errorf("the write in which it crashed left %q", got)
	}
	if got := d.Crash(Lost, nil).Files("a"); len(got) != 0 {
		t.Error(got)
	}
}

func TestLimit(t *testing.T) {
	d := New()
	f := create(t, d, "a/x", "0123456789")
	d.Limit(15)
	n, err := f.WriteAt([]byte("abcdefghij"), 8)
	if n != 7 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	if n, err = f.WriteAt([]byte("xy"), 0); n != 2 || err != nil {
		t.Fatal("overwriting needs no space:", n, err)
	}
}

func TestLockAndMissingFiles(t *testing.T) {
	d := New()
	lock, err := d.Lock("a")
	must(t, err)
	if _, err := d.Lock("a"); !errors.Is(err, disk.ErrLocked) {
		t.Fatal(err)
	}
	must(t, lock.Close())
	if _, err := d.Lock("a"); err != nil {
		t.Fatal(err)
	}
	_, openErr := d.Open("a/x", disk.ReadWrite)
	for i, err := range []error{openErr, d.Remove("a/x"), d.Rename("a/x", "a/y")} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

// TestSeedsRepeat: one seed leaves one disk.
func TestSeedsRepeat(t *testing.T) {
	d := New()
	for i := range 9 {
		f := create(t, d, fmt.Sprintf("a/%d", i), "something longer")
		if i%2 == 0 {
			must(t, d.SyncDir("a"))
		}
		_ = f
	}
	image := func() string {
		c := d.Crash(Torn, rand.New(rand.NewPCG(4, 4)))
		out := ""
		for _, name := range c.Files("a") {
			out += fmt.Sprintf("%s=%q ", name, c.Read(name))
		}
		return out
	}
	if a, b := image(), image(); a != b {
		t.Fatalf("%s\n%s", a, b)
	}
}
