package audit

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// entries are those of the file, each on a line of its own.
func entries(t *testing.T, path string) (list []Entry) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var e Entry
		if json.Unmarshal(s.Bytes(), &e) == nil {
			list = append(list, e)
		}
	}
	return list
}

func TestLinesOfManyAreWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if err := l.Write(&Entry{Event: End, Path: "/v1/nodes/" + strings.Repeat("x", 500) + "\n\"\x00"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(entries(t, path)); n != 800 {
		t.Errorf("%d lines", n)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestAnotherLifeAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for range 2 {
		if err := open(t, path).Write(&Entry{Event: End}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(entries(t, path)); n != 2 {
		t.Errorf("%d lines", n)
	}
}

// A file that a rotation has moved away is made anew within a second.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path)
	at := time.Now()
	l.now = func() time.Time { return at }
	_ = l.Write(&Entry{RequestID: "1"})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	_ = l.Write(&Entry{RequestID: "2"})
	at = at.Add(checkEvery)
	if err := l.Write(&Entry{RequestID: "3"}); err != nil {
		t.Fatal(err)
	}
	if old, fresh := entries(t, path+".1"), entries(t, path); len(old) != 2 || len(fresh) != 1 || fresh[0].RequestID != "3" {
		t.Errorf("%v, %v", old, fresh)
	}
	// A directory that is gone is an error at every line, until it is back.
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		at = at.Add(checkEvery)
		if l.Write(&Entry{}) == nil {
			t.Error("written to nowhere")
		}
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(&Entry{RequestID: "4"}); err != nil || len(entries(t, path)) != 1 {
		t.Errorf("%v", err)
	}
}

// A full disk loses the line that it had no room for, and no other.
func TestFullDisk(t *testing.T) {
	l := open(t, "/dev/full")
	if l.Write(&Entry{}) == nil {
		t.Fatal("a full disk takes a line")
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	room := open(t, path)
	room.torn = true
	if _, err := room.file.WriteString(`{"event":"do`); err != nil {
		t.Fatal(err)
	}
	if err := room.Write(&Entry{Event: End}); err != nil || len(entries(t, path)) != 1 {
		t.Errorf("%v, %v", err, entries(t, path))
	}
}
