package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSecretFileRules(t *testing.T) {
	good := strings.Repeat("s", secretBytesMin)
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		fault   string // "": none
	}{
		"right":           {good, 0o600, ""},
		"read only":       {good, 0o400, ""},
		"a line end":      {good + "\n", 0o600, ""},
		"group may read":  {good, 0o640, "chmod 600"},
		"others may read": {good, 0o604, "chmod 600"},
		"too short":       {good[1:], 0o600, "31 bytes, at least 32"},
		"only blanks":     {strings.Repeat(" ", 64), 0o600, "0 bytes"},
		"empty":           {"", 0o600, "0 bytes"},
		"too long":        {strings.Repeat("s", 1<<16+1), 0o600, "too many"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(file, []byte(c.content), c.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, c.mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
			secret, err := loadSecret(file, nil)
			if c.fault == "" && (err != nil || string(secret) != good) {
				t.Fatalf("got %q, %v", secret, err)
			}
			if c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Fatalf("got %q, %v, want %q", secret, err, c.fault)
			}
		})
	}
	if _, err := loadSecret(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("a missing --secret-file was made up")
	}
	if _, err := loadSecret(t.TempDir(), nil); err == nil {
		t.Error("a directory was read")
	}
}

// However many processes start at once, they share one secret, and no torn one
// is ever read.
func TestSharedSecretIsMadeOnce(t *testing.T) {
	env := map[string]string{"XDG_STATE_HOME": filepath.Join(t.TempDir(), "state")}
	var (
		start   = make(chan struct{})
		all     sync.WaitGroup
		secrets [16][]byte
	)
	for i := range secrets {
		all.Go(func() {
			<-start
			var err error
			if secrets[i], err = loadSecret("", env); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	all.Wait()
	for _, s := range secrets {
		if !bytes.Equal(s, secrets[0]) {
			t.Fatalf("%q and %q", s, secrets[0])
		}
	}
	left, err := os.ReadDir(filepath.Join(env["XDG_STATE_HOME"], "perch"))
	if err != nil || len(left) != 1 || left[0].Name() != secretName {
		t.Errorf("the directory holds %v, %v", left, err)
	}
	info, err := os.Stat(filepath.Join(env["XDG_STATE_HOME"], "perch", secretName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestSecretDirFallsBack(t *testing.T) {
	temp := t.TempDir()
	blocked := filepath.Join(temp, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(temp, "home")
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"XDG":          {map[string]string{"XDG_STATE_HOME": temp + "/x", "HOME": home}, temp + "/x/perch"},
		"relative XDG": {map[string]string{"XDG_STATE_HOME": "x", "HOME": home}, home + "/.local/state/perch"},
		"home":         {map[string]string{"HOME": home}, home + "/.local/state/perch"},
		"no home":      {map[string]string{"HOME": blocked, "TMPDIR": temp}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := secretDir(c.env)
			if err != nil {
				t.Fatal(err)
			}
			if c.want != "" && dir != c.want {
				t.Errorf("got %s, want %s", dir, c.want)
			}
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
}

// A directory among the temporary files that others could have prepared is not
// trusted.
func TestPrivateDirRefusesOthers(t *testing.T) {
	for name, prepare := range map[string]func(string) error{
		"open to others": func(d string) error { return os.Mkdir(d, 0o755) },
		"a file":         func(d string) error { return os.WriteFile(d, nil, 0o700) },
		"a link": func(d string) error {
			if err := os.Mkdir(d+"-target", 0o700); err != nil {
				return err
			}
			return os.Symlink(d+"-target", d)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "perch-0")
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			if err := privateDir(dir); err == nil {
				t.Error("accepted")
			}
		})
	}
}
