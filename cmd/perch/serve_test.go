package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/cmd/internal/exit"
)

// output collects what a command writes while it runs.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{} // has a value when something was written since it was last taken; may be nil
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.wrote <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// started is a `perch serve` or `perch gateway` in this process.
type started struct {
	url    string
	stderr *output
	stop   context.CancelFunc
	ended  chan error
}

// startServe runs `perch serve` on a free port and waits until it is ready.
func startServe(t *testing.T, env []string, args ...string) *started {
	t.Helper()
	return startServing(t, env, append([]string{"serve", "--http", "127.0.0.1:0"}, args...)...)
}

// startServing runs a command that serves, and waits until it is ready.
func startServing(t *testing.T, env []string, args ...string) *started {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &started{stderr: &output{wrote: make(chan struct{}, 1)}, stop: cancel, ended: make(chan error, 1)}
	go func() {
		s.ended <- run(ctx, args, env, io.Discard, s.stderr)
	}()
	t.Cleanup(cancel)
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if s.url == "" {
			s.url = announced(s.stderr.String())
		}
		if s.url != "" {
			if resp, err := http.Get(s.url + "/readyz"); err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return s
				}
			}
		}
		select {
		case err := <-s.ended:
			t.Fatalf("it ended: %v\n%s", err, s.stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Fatalf("it is not ready:\n%s", s.stderr)
	return nil
}

// announced finds the URL in the line of the start.
func announced(log string) string {
	for line := range strings.Lines(log) {
		var start struct{ Msg, URL, Data, Instance, Cluster string }
		if json.Unmarshal([]byte(line), &start) != nil || start.Cluster != "perch" {
			continue
		}
		if start.Msg == "perch serves" && start.Data != "" || start.Msg == "perch gateway serves" && start.Instance != "" {
			return start.URL
		}
	}
	return ""
}

func (s *started) put(t *testing.T, value string) {
	t.Helper()
	req, _ := http.NewRequest(http.MethodPut, s.url+"/v1/nodes/a", strings.NewReader(value))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("status %d", resp.StatusCode)
	}
}

// A node serves, stops cleanly when it is told to, and its next life has what
// it acknowledged.
func TestServeStopsCleanlyAndKeepsItsData(t *testing.T) {
	env := []string{"XDG_STATE_HOME=" + t.TempDir(), "PERCH_DATA=" + filepath.Join(t.TempDir(), "data")}
	s := startServe(t, env)
	s.put(t, "kept")
	s.stop()
	if err := <-s.ended; err != nil {
		t.Fatalf("%v\n%s", err, s.stderr)
	}
	s = startServe(t, env)
	resp, err := http.Get(s.url + "/v1/nodes/a")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if value, _ := io.ReadAll(resp.Body); string(value) != "kept" {
		t.Errorf("got %q", value)
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
}

// A second node on a directory in use, a taken port, a bad secret: each ends
// with one clear line and exit code 1.
func TestServeFailures(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	env := []string{"XDG_STATE_HOME=" + t.TempDir()}
	s := startServe(t, env, "--data", data)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	weak := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(weak, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"directory in use":  {[]string{"--http", "127.0.0.1:0", "--data", data}, data},
		"port taken":        {[]string{"--http", taken.Addr().String(), "--data", t.TempDir()}, "--http " + taken.Addr().String()},
		"weak secret":       {[]string{"--http", "127.0.0.1:0", "--data", t.TempDir(), "--secret-file", weak}, "at least 32"},
		"no certificate":    {[]string{"--http", "127.0.0.1:0", "--data", t.TempDir(), "--peer-cert=x", "--peer-key=y", "--peer-ca=z"}, "x"},
		"a file for a data": {[]string{"--http", "127.0.0.1:0", "--data", weak}, weak},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(context.Background(), append([]string{"serve"}, c.args...), env, io.Discard, new(output))
			if code := exit.Report(&out, err); code != exit.Failure || !strings.Contains(out.String(), c.want) {
				t.Errorf("exit code %d, want %q in: %s", code, c.want, out.String())
			}
		})
	}
	s.put(t, "unharmed")
}

// All faults of a configuration are reported at once, one a line, exit code 2.
func TestServeReportsAllFaults(t *testing.T) {
	env := []string{"PERCH_DATA=", "PERCH_TYPO=1"}
	err := run(context.Background(), []string{"serve", "--id=0", "--http=:1", "--data="}, env, io.Discard, io.Discard)
	var out bytes.Buffer
	if code := exit.Report(&out, err); code != exit.Usage {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(out.String(), "\n"); n != 4 || strings.Count(out.String(), "perch: ") != 4 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	for name, args := range map[string][]string{
		"unknown command":  {"sevre"},
		"unknown flag":     {"serve", "--console=x"},
		"bad value":        {"serve", "--id=one"},
		"excess argument":  {"serve", "now"},
		"bench mode":       {"bench", "--mode=delete"},
		"bench URL":        {"bench", "--url=https://example.com"},
		"bench without":    {"bench", "--conns=0"},
		"version argument": {"version", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			if code := exit.Report(io.Discard, run(context.Background(), args, nil, io.Discard, io.Discard)); code != exit.Usage {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"serve", "--help"}, {"gateway", "--help"}, {"bench", "--help"}, {"version"}} {
		var out bytes.Buffer
		if err := run(context.Background(), args, nil, &out, io.Discard); err != nil || !strings.Contains(out.String(), "perch") {
			t.Errorf("%v: %v, %s", args, err, out.String())
		}
	}
}

// perch bench measures a node that runs.
func TestBench(t *testing.T) {
	s := startServe(t, []string{"XDG_STATE_HOME=" + t.TempDir()}, "--data", t.TempDir())
	var out bytes.Buffer
	err := run(context.Background(), []string{"bench", "--url", s.url, "--conns", "2", "--rounds", "1", "--duration", "50ms", "--warmup", "0s"}, nil, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"write", "read", "local"} {
		if !strings.Contains(out.String(), fmt.Sprintf("| %s | 2 |", mode)) {
			t.Errorf("no line of %s in:\n%s", mode, out.String())
		}
	}
}
