package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOS goes through everything that the real file system must do.
func TestOS(t *testing.T) {
	var fsys FS = OS{}
	root := t.TempDir()
	dir := filepath.Join(root, "a", "b")
	for range 2 {
		if err := fsys.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Error(d, info.Mode(), err)
		}
	}
	f, err := Install(fsys, dir, "x", func(f File) error {
		_, err := f.WriteAt([]byte("hello"), 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(4); err != nil {
		t.Fatal(err)
	}
	if size, err := f.Size(); size != 4 || err != nil {
		t.Fatal(size, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	var path *fs.PathError
	if err := f.Sync(); !errors.As(err, &path) || path.Path != Join(dir, "x") {
		t.Errorf("a failed sync tells the name %v", err)
	}
	if _, err := fsys.Open(Join(dir, "gone"), ReadOnly); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	ro, err := fsys.Open(Join(dir, "x"), ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if _, err := ro.WriteAt([]byte("y"), 0); err == nil {
		t.Error("a file opened for reading was written to")
	}
	b := make([]byte, 9)
	if n, _ := ro.ReadAt(b, 0); string(b[:n]) != "hell" {
		t.Errorf("%q", b[:n])
	}
	if err := fsys.MkdirAll(filepath.Join(dir, "sub")); err != nil {
		t.Fatal(err)
	}
	infos, err := fsys.ReadDir(dir)
	if err != nil || len(infos) != 1 || infos[0] != (Info{Name: "x", Size: 4}) {
		t.Fatal(infos, err)
	}
	if err := fsys.MkdirAll(Join(dir, "x")); err == nil {
		t.Error("a file passed for a directory")
	}
}

// TestInstallFails: a fill that fails leaves the old file as it was, and
// RemoveTemp takes away what is left over.
func TestInstallFails(t *testing.T) {
	dir, stop := t.TempDir(), errors.New("stop")
	if err := os.WriteFile(Join(dir, "x"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(OS{}, dir, "x", func(File) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if err := RemoveTemp(OS{}, dir); err != nil {
		t.Fatal(err)
	}
	infos, err := (OS{}).ReadDir(dir)
	if err != nil || len(infos) != 1 || infos[0] != (Info{Name: "x", Size: 3}) {
		t.Fatal(infos, err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	lock, err := (OS{}).Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (OS{}).Lock(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err = (OS{}).Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = lock.Close()
}
