package compose

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// imageBytesMax is what the image may have, compressed.
const imageBytesMax = 20 << 20

// Everything of docker-compose.yml in one go, since every part of it goes on with
// what the one before has left.
func TestCompose(t *testing.T) {
	s := newStack(t)
	buildStandIns(t)
	t.Run("image", func(t *testing.T) { s.on(t).checkImage() })
	defer func() {
		if t.Failed() {
			t.Log(s.compose("logs", "--tail", "30"))
		}
	}()
	for _, part := range []struct {
		name string
		run  func(*stack)
	}{
		{"the README", (*stack).checkREADME},
		{"up", (*stack).checkUp},
		{"a lock through two gateways", (*stack).checkLock},
		{"kill -9", (*stack).checkCrashes},
		{"kill and restart of some", (*stack).checkRestarts},
		{"four gateways", (*stack).checkScale},
		{"archive", (*stack).checkArchive},
		{"down and up", (*stack).checkDownUp},
		{"secure", (*stack).checkSecure},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(s.on(t)) }) {
			return // the rest would only tell the same
		}
	}
}

// checkImage: nothing but the binary and authorities, small, for a user without
// any right.
func (s *stack) checkImage() {
	s.run("make", "image")
	size := s.compressedSize("perch:local")
	s.t.Logf("image: %.1f MB compressed", float64(size)/1e6)
	if size > imageBytesMax {
		s.t.Errorf("the image has %d bytes compressed, at most %d are allowed", size, imageBytesMax)
	}
	if user := s.inspect("perch:local", "{{.Config.User}}"); user != "65532:65532" {
		s.t.Errorf("the image runs as %q", user)
	}
	s.t.Log(s.run("docker", "run", "--rm", "--read-only", "--network", "none", "perch:local", "version"))
}

func (s *stack) compressedSize(name string) int64 {
	s.t.Helper()
	save := exec.Command("docker", "save", name)
	out, err := save.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := save.Start(); err != nil {
		s.t.Fatal(err)
	}
	var size counter
	z := gzip.NewWriter(&size)
	if _, err := io.Copy(z, out); err != nil {
		s.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		s.t.Fatal(err)
	}
	if err := save.Wait(); err != nil {
		s.t.Fatal(err)
	}
	return int64(size)
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// checkREADME: its lines on compose do what they say, word for word.
func (s *stack) checkREADME() {
	readme, err := os.ReadFile(filepath.Join(s.repo, "README.md"))
	if err != nil {
		s.t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## The stack, with compose\n")
	_, block, _ := strings.Cut(section, "```sh\n")
	block, _, ok := strings.Cut(block, "```")
	if !ok {
		s.t.Fatal("the README has no section on compose")
	}
	rest := s.run("sh", "-euc", strings.ReplaceAll(block, "docker compose", composeCommand()))
	for _, m := range regexp.MustCompile(`(?m)# prints: (.*)$`).FindAllStringSubmatch(block, -1) {
		_, after, ok := strings.Cut(rest, m[1])
		if !ok {
			s.t.Fatalf("%q is not printed, or not in its place", m[1])
		}
		rest = after
	}
}

// checkUp: the containers can change nothing but their data, the health checks of
// the binary pass, and what is written at one address is read there, and at
// every gateway and node.
func (s *stack) checkUp() {
	s.waitHealthy("node1", "node2", "node3", "gateway", "postgres")
	for _, service := range []string{"node1", "gateway"} {
		if ro := s.inspect(s.containers(service)[0], "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}"); ro != "true [ALL]" {
			s.t.Errorf("%s: read-only root, capabilities dropped: %s", service, ro)
		}
	}
	gateways := s.containers("gateway")
	if len(gateways) != 2 {
		s.t.Errorf("%d gateways, want 2", len(gateways))
	}
	s.untilWritten("/compose/color", "blue")
	s.reads("/compose/color", "blue")
	for _, c := range append(gateways, s.container("node1"), s.container("node3")) {
		a, err := s.at(s.address(c), http.MethodGet, "/v1/nodes/compose/color", "")
		if err != nil || a.body != "blue" {
			s.t.Errorf("%d %q %v", a.status, a.body, err)
		}
		a, err = s.at(s.address(c), http.MethodGet, "/metrics", "")
		if err != nil || a.status != http.StatusOK || !strings.Contains(a.body, "\nperch_") {
			s.t.Errorf("/metrics: %d %v", a.status, err)
		}
	}
}

// checkLock: whoever waits at one gateway for a lock that was taken through
// another one gets it when it is released, also after the other gateway is dead.
func (s *stack) checkLock() {
	gateways := s.containers("gateway")
	one, other := s.address(gateways[0]), s.address(gateways[1])
	mine := []string{"Perch-Session", strings.Repeat("a", 32)}
	acquired, err := s.at(one, http.MethodPost, "/v1/locks/nightly/acquire", `{"ttl_ms":60000,"owner":"one"}`, mine...)
	if err != nil || acquired.status != http.StatusOK {
		s.t.Fatalf("acquire: %d %s %v", acquired.status, acquired.body, err)
	}
	if a, err := s.at(other, http.MethodPost, "/v1/locks/nightly/acquire", `{"ttl_ms":60000}`); err != nil || a.status != http.StatusConflict {
		s.t.Fatalf("acquired twice: %d %s %v", a.status, a.body, err)
	}
	s.killHard(gateways[0])
	waiting := make(chan string, 1)
	go func() {
		a, err := s.at(other, http.MethodPost, "/v1/locks/nightly/acquire", `{"ttl_ms":60000,"wait_ms":25000,"owner":"two"}`)
		waiting <- fmt.Sprint(a.status, " ", err, " ", a.body)
	}()
	s.eventually("the second is in the queue", func() error {
		a, err := s.at(other, http.MethodGet, "/v1/locks/nightly", "")
		if err == nil && !strings.Contains(a.body, `"waiting":1`) {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		return err
	})
	s.want(http.StatusNoContent, http.MethodPost, "/v1/locks/nightly/release", "", mine...)
	if got := <-waiting; !strings.HasPrefix(got, "200 <nil>") {
		s.t.Errorf("the second got %s", got)
	}
	s.waitHealthy("gateway")
}

// checkCrashes: a node and a gateway that crash come back by themselves; all that
// was written meanwhile is there.
func (s *stack) checkCrashes() {
	for i, service := range []string{"node1", "node2", "node3", "gateway", "postgres"} {
		c := s.containers(service)[0]
		before := s.inspect(c, "{{.RestartCount}}")
		s.killHard(c)
		value := fmt.Sprint("crash ", i)
		s.untilWritten("/compose/crash", value)
		s.eventually(service+" is started again", func() error {
			if count := s.inspect(c, "{{.RestartCount}}"); count == before {
				return fmt.Errorf("restart count %s", count)
			}
			return nil
		})
		s.reads("/compose/crash", value)
	}
	s.waitHealthy("node1", "node2", "node3", "gateway", "postgres")
}

// checkRestarts: what somebody stops is up again when he says so.
func (s *stack) checkRestarts() {
	s.compose("kill", "node2", "gateway")
	s.compose("up", "-d", "--no-build")
	s.untilWritten("/compose/restart", "killed")
	for _, some := range [][]string{{"node1", "proxy"}, {"node2", "node3", "gateway"}} {
		s.compose(append([]string{"restart"}, some...)...)
		s.untilWritten("/compose/restart", some[0])
		s.reads("/compose/restart", some[0])
	}
	s.waitHealthy("node1", "node2", "node3", "gateway")
}

// checkScale: HAProxy finds new gateways by itself, which shows when only they
// are left.
func (s *stack) checkScale() {
	old := s.containers("gateway")
	s.compose("up", "-d", "--no-build", "--scale", "gateway=4")
	all := s.containers("gateway")
	if len(all) != 4 {
		s.t.Fatalf("%d gateways, want 4", len(all))
	}
	s.waitHealthy("gateway")
	s.run("docker", append([]string{"stop"}, old...)...)
	s.untilWritten("/compose/scale", "four")
	s.reads("/compose/scale", "four")
	s.compose("up", "-d", "--no-build")
	if all := s.containers("gateway"); len(all) != 2 {
		s.t.Errorf("%d gateways, want 2 again", len(all))
	}
	s.untilWritten("/compose/scale", "two")
}

func (s *stack) checkArchive() { s.checkArchived("postgres") }

// checkArchived: Postgres tells who changed what.
func (s *stack) checkArchived(postgres string) {
	written := s.want(http.StatusOK, http.MethodPut, "/v1/nodes/compose/color", "green")
	zxid := written.header.Get("Perch-Zxid")
	s.eventually("position "+zxid+" is archived", func() error {
		out, err := s.try("docker", "exec", s.container(postgres), "psql", "--username=perch", "--tuples-only", "--no-align",
			"--command=SELECT path FROM perch.changes WHERE zxid = "+zxid)
		if err == nil && out != "/compose/color" {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
}

// checkDownUp: without containers and network the data stays.
func (s *stack) checkDownUp() {
	s.down()
	if left := s.run("docker", "ps", "--all", "--quiet"); left != "" {
		s.t.Errorf("containers left: %s", left)
	}
	s.compose("up", "-d", "--no-build")
	s.reads("/compose/color", "green")
	s.untilWritten("/compose/color", "red")
}

// adminToken finds the token that the first start with authentication shows.
var adminToken = regexp.MustCompile(`perch_t0_[A-Za-z0-9_-]+`)

// checkSecure: the profile `secure` goes on with the same data, by TLS and with
// tokens alone.
func (s *stack) checkSecure() {
	s.down()
	s.run("make", "compose-certs")
	s.secure()
	s.compose("up", "-d", "--no-build")
	s.waitHealthy("node1-secure", "node2-secure", "node3-secure", "gateway-secure", "postgres-secure")
	s.eventually("the administrator's token is in the logs", func() error {
		logs := s.compose("logs", "--no-color")
		if s.token = adminToken.FindString(logs); s.token == "" {
			return fmt.Errorf("only\n%s", logs)
		}
		return nil
	})
	s.reads("/compose/color", "red")
	s.untilWritten("/compose/color", "violet")
	var me struct{ Principal string }
	who := s.want(http.StatusOK, http.MethodGet, "/v1/whoami", "")
	if err := json.Unmarshal([]byte(who.body), &me); err != nil || me.Principal != "admin" {
		s.t.Errorf("who am I: %s %v", who.body, err)
	}

	stranger := s.on(s.t)
	stranger.token = ""
	stranger.want(http.StatusUnauthorized, http.MethodGet, "/v1/nodes/compose/color", "")
	clear := s.on(s.t)
	clear.plain()
	if a, err := clear.at("http://127.0.0.1:7070", http.MethodGet, "/v1/nodes/compose/color", ""); err == nil && a.status/100 == 2 {
		s.t.Errorf("answered without TLS: %s", a.body)
	}

	s.killHard(s.containers("gateway-secure")[0])
	s.killHard(s.container("node1-secure"))
	s.untilWritten("/compose/color", "black")
	s.checkArchived("postgres-secure")
	s.waitHealthy("node1-secure", "gateway-secure")
	s.down()
}
