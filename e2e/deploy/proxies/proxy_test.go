package proxies

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that is asked for again and again.
const patience = 30 * time.Second

// proxy is a program of deploy/proxy with its settings.
type proxy struct {
	name  string
	start func(t *testing.T, dir, settings string) *exec.Cmd
}

var proxies = []proxy{{"nginx.conf", nginx}, {"haproxy.cfg", haproxy}, {"Caddyfile", caddy}}

func nginx(t *testing.T, dir, settings string) *exec.Cmd {
	write(t, filepath.Join(dir, "perch.conf"), settings)
	main := filepath.Join(dir, "main.conf")
	write(t, main, fmt.Sprintf(`daemon off;
user root;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	gzip on;
	gzip_min_length 1;
	gzip_types application/octet-stream;
	include %[1]s/perch.conf;
}
`, dir))
	return exec.Command("nginx", "-p", dir, "-e", "stderr", "-c", main)
}

func haproxy(t *testing.T, dir, settings string) *exec.Cmd {
	file := filepath.Join(dir, "haproxy.cfg")
	write(t, file, settings)
	return exec.Command("haproxy", "-db", "-f", file)
}

func caddy(t *testing.T, dir, settings string) *exec.Cmd {
	file := filepath.Join(dir, "Caddyfile")
	write(t, file, settings)
	cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", file)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	return cmd
}

// running is a proxy at work, and a client that knows its authority.
type running struct {
	t      *testing.T
	url    string
	client *http.Client
}

// run starts p before two upstreams, with a certificate that deploy/certs.sh has
// made.
func (p *proxy) run(t *testing.T, one, two string) *running {
	t.Helper()
	dir := t.TempDir()
	settings, err := os.ReadFile(filepath.Join("../../../deploy/proxy", p.name))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("../../../deploy/certs.sh", dir, "proxy=perch.example").CombinedOutput(); err != nil {
		t.Fatalf("certs.sh: %v\n%s", err, out)
	}
	write(t, filepath.Join(dir, "proxy.pem"), read(t, filepath.Join(dir, "proxy.crt"))+read(t, filepath.Join(dir, "proxy.key")))
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	text := strings.NewReplacer("127.0.0.1:7070", one, "127.0.0.1:7071", two, "/etc/perch/", dir+"/",
		"listen 443", "listen "+addr, "bind :443", "bind "+addr, "perch.example:443", "perch.example:"+port,
		"\tadmin off\n", "\tadmin off\n\tdefault_bind 127.0.0.1\n").Replace(string(settings))
	spawn(t, p.start(t, dir, text))

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(read(t, filepath.Join(dir, "ca.crt"))))
	r := &running{t: t, url: "https://perch.example:" + port, client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}}
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

// spawn starts a program and ends it with the test.
func spawn(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(cmd.Path), said.String())
		}
	})
}

// startNode starts a node that a proxy may stand before, and returns its address.
func startNode(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("PERCH_BIN")
	if binary == "" {
		binary = "../../../bin/perch"
	}
	addr := freeAddr(t)
	cmd := exec.Command(binary, "serve", "--behind-tls-proxy", "--http", addr, "--data", t.TempDir())
	cmd.Env = []string{"XDG_STATE_HOME=" + t.TempDir()} // variables of PERCH_ would be flags
	spawn(t, cmd)
	eventually(t, "the node is ready", func() error {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	})
	return addr
}

// eventually asks again until there is no error.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		if err = ask(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %v: %v", what, patience, err)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
