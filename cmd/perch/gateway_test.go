package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
)

// Every fault of a gateway names its flag and, where there is one, the remedy.
func TestGatewayFaults(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want []string // none: no fault
	}{
		"loopback":         {[]string{"--nodes=127.0.0.1:7601, localhost:7602,[::1]:7603"}, nil},
		"no node":          {nil, []string{"--nodes: give the address"}},
		"with ids":         {[]string{"--nodes=1=127.0.0.1:7601"}, []string{"without an id"}},
		"no port":          {[]string{"--nodes=127.0.0.1"}, []string{"--nodes", "host:port"}},
		"any host":         {[]string{"--nodes=:7601"}, []string{"host is missing"}},
		"twice":            {[]string{"--nodes=a:1,a:1", "--insecure", "--secret-file=s"}, []string{"a:1 is named twice"}},
		"elsewhere":        {[]string{"--nodes=10.0.0.1:7601"}, []string{"--nodes has addresses beyond", "--secret-file", "--peer-cert", "--insecure"}},
		"elsewhere, TLS":   {[]string{"--nodes=10.0.0.1:7601", "--peer-cert=c", "--peer-key=k", "--peer-ca=a", "--secret-file=s"}, nil},
		"elsewhere, plain": {[]string{"--nodes=10.0.0.1:7601", "--insecure", "--secret-file=s"}, nil},
		"half of TLS":      {[]string{"--nodes=127.0.0.1:7601", "--peer-cert=c"}, []string{"--peer-key"}},
		"everything wrong": {[]string{"--http=x", "--cluster-name=A", "--limit-failures=0"}, []string{"--http", "--nodes", "--cluster-name", "--limit-failures"}},
	} {
		t.Run(name, func(t *testing.T) {
			var g gatewayConfig
			flags := pflag.NewFlagSet("gateway", pflag.ContinueOnError)
			g.declare(flags)
			if err := flags.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := g.validate(); err != nil {
				got = err.Error()
			}
			if len(c.want) == 0 && got != "" {
				t.Fatalf("refused: %s", got)
			}
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in:\n%s", want, got)
				}
			}
		})
	}
}

// A gateway that cannot start says why in one line, with exit code 1.
func TestGatewayFailures(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	weak := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(weak, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"XDG_STATE_HOME=" + t.TempDir(), "PERCH_NODES=127.0.0.1:1"}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"port taken":     {[]string{"--http", taken.Addr().String()}, "--http " + taken.Addr().String()},
		"weak secret":    {[]string{"--http", "127.0.0.1:0", "--secret-file", weak}, "at least 32"},
		"no certificate": {[]string{"--http", "127.0.0.1:0", "--peer-cert=x", "--peer-key=y", "--peer-ca=z"}, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(context.Background(), append([]string{"gateway"}, c.args...), env, io.Discard, new(output))
			if code := exit.Report(&out, err); code != exit.Failure || !strings.Contains(out.String(), c.want) || strings.Count(out.String(), "\n") != 1 {
				t.Errorf("exit code %d, want %q in: %s", code, c.want, out.String())
			}
		})
	}
}

// A gateway answers from a node that opened its port for gateways, with one
// secret that both find by themselves, and stops when it is told to.
func TestGatewayAnswers(t *testing.T) {
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := port.Addr().String()
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	env := []string{"XDG_STATE_HOME=" + t.TempDir()}
	node := startServe(t, env, "--data", t.TempDir(), "--nats", addr)
	node.put(t, "kept")
	gateway := startServing(t, env, "gateway", "--http", "127.0.0.1:0", "--nodes", addr)
	resp, err := http.Get(gateway.url + "/v1/nodes/a")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if value, _ := io.ReadAll(resp.Body); string(value) != "kept" {
		t.Errorf("got %q", value)
	}
	gateway.put(t, "changed")
	gateway.stop()
	if err := <-gateway.ended; err != nil {
		t.Error(err)
	}
}
