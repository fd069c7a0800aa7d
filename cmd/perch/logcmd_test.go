package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/cmd/internal/exit"
)

// perchLog runs `perch log` to its end.
func perchLog(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = exit.Report(&errs, run(t.Context(), append([]string{"log"}, args...), nil, &out, io.Discard))
	return code, out.String(), errs.String()
}

// listing is every file below dir with its content.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// The log of a node is shown and judged while the node runs, and after; a
// damaged one has another exit code and says where.
func TestLogOfANode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := startServe(t, []string{"XDG_STATE_HOME=" + t.TempDir()}, "--data", dir)
	s.put(t, "a value that nobody shows")
	for _, at := range []string{dir, filepath.Join(dir, "log")} {
		code, text, _ := perchLog(t, at)
		if code != 0 || !strings.Contains(text, "put path=/a data_bytes=25") || strings.Contains(text, "nobody shows") {
			t.Errorf("exit code %d:\n%s", code, text)
		}
		if code, text, _ := perchLog(t, "verify", at); code != 0 || !strings.Contains(text, "\nsound: the log of node 1") {
			t.Errorf("exit code %d:\n%s", code, text)
		}
	}
	code, text, _ := perchLog(t, "--json", dir)
	if n := strings.Count(text, "\n"); code != 0 || n < 5 || strings.Count("\n"+text, "\n"+`{"kind":"`) != n {
		t.Errorf("exit code %d:\n%s", code, text)
	}
	s.put(t, "it goes on")
	s.stop()
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	if code, text, _ := perchLog(t, "verify", dir); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, text)
	}
	if after := listing(t, dir); len(after) != len(before) || after[filepath.Join(dir, "log/watermark")] != before[filepath.Join(dir, "log/watermark")] {
		t.Error("files were changed")
	}
	testDamagedLog(t, dir)
}

func testDamagedLog(t *testing.T, dir string) {
	t.Helper()
	name := filepath.Join(dir, "log", "0000000000000001.log")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[300] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	code, text, errs := perchLog(t, "verify", dir)
	if code != exit.Failure || !strings.Contains(text, name+"\n  at offset ") || !strings.Contains(text, "remedy: ") || !strings.Contains(errs, "damaged") {
		t.Errorf("exit code %d: %s\n%s", code, errs, text)
	}
	code, text, _ = perchLog(t, "verify", "--json", dir)
	var last struct {
		Kind  string
		Sound bool
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || code != exit.Failure || last.Kind != "verdict" || last.Sound {
		t.Errorf("exit code %d, %v:\n%s", code, err, text)
	}
	if code, text, _ := perchLog(t, dir); code != 0 || !strings.Contains(text, "invalid  no valid record") {
		t.Errorf("exit code %d:\n%s", code, text)
	}
}

func TestLogUsage(t *testing.T) {
	empty := t.TempDir()
	for _, args := range [][]string{
		{}, {"a", "b"}, {empty}, {"verify"}, {"verify", empty}, {"verify", "a", "b"}, {filepath.Join(empty, "gone")},
		{"--from=x", empty}, {"--to=1,x", empty}, {"--json=maybe", empty},
	} {
		if code, text, errs := perchLog(t, args...); code != exit.Usage || text != "" || errs == "" {
			t.Errorf("%v: exit code %d, %q, %q", args, code, text, errs)
		}
	}
	for text, want := range map[string]uint64{"": 0, "7": 7, "2,3": 2<<32 | 3, "(2,3)": 2<<32 | 3} {
		if z, err := parseZxid("--from", text); err != nil || uint64(z) != want {
			t.Errorf("%q: %d, %v", text, z, err)
		}
	}
}
