package trust

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What root has handed to our group is ours; what our group could change is not,
// nor what anybody else hands to it.
func TestSecretOfRootForOurGroup(t *testing.T) {
	for _, c := range []struct {
		perm         os.FileMode
		handedByRoot bool
		want         bool
	}{
		{0o600, false, true}, {0o400, false, true}, {0o440, false, false}, {0o604, false, false}, {0o610, false, false},
		{0o440, true, true}, {0o640, true, true}, {0o400, true, true},
		{0o660, true, false}, {0o444, true, false}, {0o644, true, false}, {0o641, true, false},
	} {
		if got := private(c.perm, c.handedByRoot); got != c.want {
			t.Errorf("mode %04o, handed by root: %v: private %v", c.perm, c.handedByRoot, got)
		}
	}
}

func TestPrivateFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte("s3cret \r\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := PrivateFile("token", name); err != nil || string(got) != "s3cret" {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := PrivateFile("token", name); err == nil || !strings.Contains(err.Error(), "chmod 600 "+name) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
	if _, err := PrivateFile("token", filepath.Dir(name)); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("%v", err)
	}
}

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "a.localhost:1": true,
		":1": false, "0.0.0.0:1": false, "10.0.0.1:1": false, "localhost.example:1": false, "localhost": false,
	} {
		if Loopback(addr) != want {
			t.Errorf("%s: %v", addr, !want)
		}
	}
}
