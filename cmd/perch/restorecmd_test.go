package main

import (
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/pflag"
)

// What names no state is not taken for the newest, as when a script's variable is
// empty.
func TestRestoreTargets(t *testing.T) {
	for args, want := range map[string]string{
		"":                            "",
		"--zxid 7,3":                  "",
		"--zxid 0":                    "no state is at 0",
		"--zxid 0,0":                  "no state is at 0",
		"--zxid=":                     "--zxid: is empty",
		"--time=":                     "--time: is empty",
		"--zxid x":                    "must be a zxid",
		"--zxid 7 --time=x":           "must be like",
		"--time 2026-11-28":           "must be like",
		"--time 2026-11-28T05:00:00Z": "",
	} {
		var c archiveTarget
		f := pflag.NewFlagSet("", pflag.ContinueOnError)
		c.declare(f)
		if err := f.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		if err := c.validate(f); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, not %q", args, err, want)
		}
	}
}

// A backup replaces files, and nothing else: no pipe, no device, no link.
func TestSaveReplacesOnlyFiles(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, filepath.Dir(pipe), filepath.Dir(pipe) + "/", ""} {
		if _, err := save(path, nil, io.Discard); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%q: %v", path, err)
		}
	}
}
