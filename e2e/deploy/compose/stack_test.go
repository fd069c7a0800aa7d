package compose

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that is asked for again and again.
const patience = 90 * time.Second

// stack is what docker-compose.yml describes, and a client of it.
type stack struct {
	t       *testing.T
	repo    string
	dir     string // of the secrets
	profile string // "": that of .env
	url     string
	client  *http.Client
	token   string
}

func newStack(t *testing.T) *stack {
	t.Helper()
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{t: t, repo: repo, dir: t.TempDir()}
	s.plain()
	return s
}

// plain is the client of the profile of .env.
func (s *stack) plain() {
	s.profile, s.url, s.client = "", "http://127.0.0.1:7070", &http.Client{Timeout: 30 * time.Second}
}

// secure is the client of the profile `secure`: it knows the authority that
// `make compose-certs` has made, and no other.
func (s *stack) secure() {
	s.t.Helper()
	ca, err := os.ReadFile(filepath.Join(s.dir, "ca.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	s.profile, s.url = "secure", "https://127.0.0.1:7070"
	s.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
	}}
}

// on is s for a part of its test.
func (s *stack) on(t *testing.T) *stack {
	part := *s
	part.t = t
	return &part
}

// run runs a command in the checkout and returns what it prints.
func (s *stack) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func (s *stack) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.repo
	cmd.Env = append(os.Environ(), "PERCH_COMPOSE_DIR="+s.dir, "GOFLAGS=-trimpath")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	if err != nil {
		return out.String() + complaints.String(), err
	}
	return strings.TrimSpace(out.String()), nil
}

// composeCommand is docker-compose 1.29, or what COMPOSE says: "docker compose".
func composeCommand() string {
	if command := os.Getenv("COMPOSE"); command != "" {
		return command
	}
	return "docker-compose"
}

// down removes containers and network. Engines of version 20.10 now and then take
// a container whose process was killed for one that is still in the network, and
// keep it; that is theirs to mend.
func (s *stack) down() {
	s.t.Helper()
	out, err := s.tryCompose("down")
	if err == nil {
		return
	}
	if !strings.Contains(out, "has active endpoints") || s.run("docker", "ps", "--all", "--quiet") != "" {
		s.t.Fatalf("down: %v\n%s", err, out)
	}
	for _, name := range strings.Fields(s.run("docker", "network", "inspect", "--format", "{{range .Containers}}{{.Name}} {{end}}", "perch")) {
		s.run("docker", "network", "disconnect", "--force", "perch", name)
	}
	s.compose("down")
}

// compose runs docker-compose with the profile of the moment.
func (s *stack) compose(args ...string) string {
	s.t.Helper()
	out, err := s.tryCompose(args...)
	if err != nil {
		s.t.Fatalf("compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *stack) tryCompose(args ...string) (string, error) {
	words := strings.Fields(composeCommand())
	if s.profile != "" {
		words = append(words, "--profile", s.profile)
	}
	words = append(words, args...)
	return s.try(words[0], words[1:]...)
}

// containers are the ids of a service's containers, running or not.
func (s *stack) containers(service string) []string {
	s.t.Helper()
	return strings.Fields(s.run("docker", "ps", "--all", "--quiet", "--no-trunc",
		"--filter", "label=com.docker.compose.service="+service))
}

func (s *stack) container(service string) string {
	s.t.Helper()
	all := s.containers(service)
	if len(all) != 1 {
		s.t.Fatalf("%s has %d containers, want 1", service, len(all))
	}
	return all[0]
}

func (s *stack) inspect(container, format string) string {
	s.t.Helper()
	return s.run("docker", "inspect", "--format", format, container)
}

// address is where a container's own port 7070 is.
func (s *stack) address(container string) string {
	s.t.Helper()
	return "http://" + s.inspect(container, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}") + ":7070"
}

// killHard ends a container's process as a crash would. Unlike `docker kill`, after
// which a container stays down, its restart policy applies.
func (s *stack) killHard(container string) {
	s.t.Helper()
	pid, err := strconv.Atoi(s.inspect(container, "{{.State.Pid}}"))
	if err != nil || pid < 2 {
		s.t.Fatalf("process %d of %s: %v", pid, container, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
}

// waitHealthy waits until the engine's health checks say so of every container of
// the services.
func (s *stack) waitHealthy(services ...string) {
	s.t.Helper()
	for _, service := range services {
		for _, c := range s.containers(service) {
			s.eventually(service+" is healthy", func() error {
				if health := s.inspect(c, "{{.State.Health.Status}}"); health != "healthy" {
					logs, _ := s.try("docker", "logs", "--tail", "5", c)
					return fmt.Errorf("%s\n%s", health, logs)
				}
				return nil
			})
		}
	}
}

// eventually asks again until there is no error.
func (s *stack) eventually(what string, ask func() error) {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		if err = ask(); err == nil {
			return
		}
	}
	s.t.Fatalf("%s: not within %v: %v", what, patience, err)
}

// answer is what an HTTP request was answered.
type answer struct {
	status int
	body   string
	header http.Header
}

// at makes one request of base.
func (s *stack) at(base, method, path, body string, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(text), resp.Header}, err
}

// want is at, of HAProxy, with one status expected.
func (s *stack) want(status int, method, path, body string, headers ...string) answer {
	s.t.Helper()
	a, err := s.at(s.url, method, path, body, headers...)
	if err != nil || a.status != status {
		s.t.Fatalf("%s %s: %d %v, want %d\n%s", method, path, a.status, err, status, a.body)
	}
	return a
}

// untilWritten writes a value through HAProxy, again until it is answered: what
// is tested is that the stack comes back.
func (s *stack) untilWritten(path, value string) {
	s.t.Helper()
	s.eventually("write "+path, func() error {
		a, err := s.at(s.url, http.MethodPut, "/v1/nodes"+path+"?parents=true", value)
		if err != nil {
			return err
		}
		if a.status/100 != 2 {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
}

// reads checks what a node of the tree holds, through HAProxy.
func (s *stack) reads(path, value string) {
	s.t.Helper()
	s.eventually("read "+path, func() error {
		a, err := s.at(s.url, http.MethodGet, "/v1/nodes"+path, "")
		if err != nil {
			return err
		}
		if a.status != http.StatusOK || a.body != value {
			return fmt.Errorf("%d %q, want %q", a.status, a.body, value)
		}
		return nil
	})
}
