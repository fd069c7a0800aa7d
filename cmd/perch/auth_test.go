package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var shownToken = regexp.MustCompile(`perch_t0_[A-Za-z0-9_-]{43}`)

// cli runs a command against s, as whoever has token.
func (s *started) cli(t *testing.T, token string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	env := []string{"PERCH_URL=" + s.url, "PERCH_TOKEN=" + token}
	if err := run(context.Background(), args, env, &out, io.Discard); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return strings.TrimSpace(out.String())
}

// status is that of a write to path.
func (s *started) status(t *testing.T, path, token string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodPut, s.url+"/v1/nodes"+path, strings.NewReader("a-value"))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// shown is the token that the start has shown. The node may be ready a moment
// before.
func (s *started) shown(t *testing.T) string {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		tokens := shownToken.FindAllString(s.stderr.String(), -1)
		switch len(tokens) {
		case 0:
		case 1:
			return tokens[0]
		default:
			t.Fatalf("shown: %v", tokens)
		}
		select {
		case <-s.stderr.wrote:
		case <-late:
			t.Fatalf("no token is shown:\n%s", s.stderr)
		}
	}
}

// A first start with --auth shows the administrator's token, with which another
// principal gets his; a later start shows none and asks all the same, also
// without --auth.
func TestServeWithAuthentication(t *testing.T) {
	env := []string{"XDG_STATE_HOME=" + t.TempDir()}
	data, log := t.TempDir(), filepath.Join(t.TempDir(), "audit.log")
	s := startServe(t, env, "--data", data, "--auth", "--audit-log", log)
	admin := s.shown(t)
	if out := s.cli(t, admin, "whoami"); !strings.Contains(out, "admin") || !strings.Contains(out, "cluster") {
		t.Errorf("whoami: %s", out)
	}
	s.cli(t, admin, "principal", "put", "ci", "--grant", "/app=read,write,create")
	ci := s.cli(t, admin, "token", "create", "ci")
	for name, c := range map[string]struct {
		path, token string
		want        int
	}{
		"nobody": {"/app", "", http.StatusUnauthorized}, "forged": {"/app", admin[:len(admin)-1] + "!", http.StatusUnauthorized},
		"granted": {"/app", ci, http.StatusCreated}, "not granted": {"/apps", ci, http.StatusForbidden},
	} {
		if got := s.status(t, c.path, c.token); got != c.want {
			t.Errorf("%s: status %d, want %d", name, got, c.want)
		}
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}
	again := startServe(t, env, "--data", data)
	if again.status(t, "/app", "") != http.StatusUnauthorized || again.status(t, "/app", ci) != http.StatusOK {
		t.Error("a node without --auth does not ask")
	}
	lines, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(lines, []byte("\n")); n != 6 {
		t.Errorf("%d audit lines:\n%s", n, lines)
	}
	for name, text := range map[string]string{"the audit log": string(lines), "the log of a later start": again.stderr.String()} {
		if strings.Contains(text, admin) || strings.Contains(text, ci) || strings.Contains(text, "a-value") {
			t.Errorf("%s has a secret in it", name)
		}
	}
}
