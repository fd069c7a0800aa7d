package cli

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/cmd/internal/exit"
)

// A health check proves itself by no token, tells by its exit code alone, and
// accepts no certificate that it was not told of.
func TestHealth(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/livez" {
			_, _ = io.WriteString(w, "alive\n")
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"code":"no_leader","title":"There is no leader."}`)
	})
	plain, secure := httptest.NewServer(answer), httptest.NewTLSServer(answer)
	defer plain.Close()
	defer secure.Close()
	frozen := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer frozen.Close()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		out  string
		code int
		says string
	}{
		"runs":           {[]string{"--live", "--url", plain.URL}, "alive\n", 0, ""},
		"for programs":   {[]string{"--live", "--url", plain.URL, "-o", "json"}, "{\"status\":\"alive\"}\n", 0, ""},
		"cannot serve":   {[]string{"--url", plain.URL}, "", exit.Failure, "no_leader"},
		"nobody there":   {[]string{"--url", "http://127.0.0.1:1"}, "", exit.Failure, "refused"},
		"frozen":         {[]string{"--url", frozen.URL, "--timeout", "100ms"}, "", exit.Failure, "within 100ms"},
		"known signer":   {[]string{"--live", "--url", secure.URL, "--ca-file", ca}, "alive\n", 0, ""},
		"unknown signer": {[]string{"--live", "--url", secure.URL}, "", exit.Failure, "certificate"},
	} {
		out, _, err := ask(t, "", append([]string{"health"}, c.args...)...)
		var said strings.Builder
		if code := exit.Report(&said, err); code != c.code || out != c.out || !strings.Contains(said.String(), c.says) {
			t.Errorf("%s: exit code %d, %q, %q", name, code, out, said.String())
		}
	}
}
