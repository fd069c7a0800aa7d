package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen at some time. It is
// far above what anything needs, so that a starved machine fails nothing.
const patience = 60 * time.Second

// soak says whether the long versions were asked for.
var soak = os.Getenv("PERCH_SOAK") != ""

// scaled is a short size in a usual run and a long one in a soak.
func scaled(short, long int) int {
	if soak {
		return long
	}
	return short
}

// perchBinary is the executable under test.
func perchBinary(t testing.TB) string {
	t.Helper()
	name := os.Getenv("PERCH_BIN")
	if name == "" {
		name = filepath.Join("..", "bin", "perch")
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Fatalf("%v: run `make build` first, or name the executable in PERCH_BIN", err)
	}
	return abs
}

// node is one perch process after another, on one data directory unless it is a
// gateway.
type node struct {
	t    testing.TB
	id   int
	addr string // of HTTP, host:port
	dir  string
	args []string
	role string   // the command that it runs; none: serve
	wrap []string // command that the process is started by; none: directly

	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed when the process has ended
	err  error         // how; valid after done
}

func (n *node) url() string { return "http://" + n.addr }

// spawn starts the process. Its output is appended to one log for all lives.
func (n *node) spawn() {
	n.t.Helper()
	var err error
	if n.log, err = os.OpenFile(n.dir+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		n.t.Fatal(err)
	}
	command := append(append(slices.Clone(n.wrap), perchBinary(n.t), cmp.Or(n.role, "serve")), n.args...)
	n.cmd = exec.Command(command[0], command[1:]...)
	n.cmd.Env = cleanEnv(n.t)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}, log *os.File) {
		n.err = cmd.Wait()
		_ = log.Close()
		close(done)
	}(n.cmd, n.done, n.log)
}

// cleanEnv is the environment without settings of Perch, and with a place of
// the test's own for the shared secret.
func cleanEnv(t testing.TB) (env []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PERCH_") && !strings.HasPrefix(e, "XDG_STATE_HOME=") {
			env = append(env, e)
		}
	}
	return append(env, "XDG_STATE_HOME="+stateHome(t))
}

// stateHome is one directory for all processes of one test.
func stateHome(t testing.TB) string {
	root := t.TempDir() // removed with the test; a new one at each call
	home := filepath.Join(filepath.Dir(root), "state")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	return home
}

// alive says whether the process runs.
func (n *node) alive() bool {
	if n.done == nil {
		return false
	}
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// kill ends the process with SIGKILL and waits for its end.
func (n *node) kill() {
	n.t.Helper()
	n.signal(syscall.SIGKILL)
	n.wait()
}

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Fatal(err)
	}
}

// wait waits for the end of the process and returns its exit code, −1 when a
// signal ended it.
func (n *node) wait() int {
	n.t.Helper()
	select {
	case <-n.done:
	case <-time.After(patience):
		n.t.Fatalf("node %d does not end\n%s", n.id, n.tail())
	}
	return n.cmd.ProcessState.ExitCode()
}

// tail is the end of the log, for messages.
func (n *node) tail() string {
	text, _ := os.ReadFile(n.dir + ".log")
	return string(text[max(0, len(text)-4096):])
}

// waitReady waits until the node has a leader with a quorum and is caught up.
func (n *node) waitReady() {
	n.t.Helper()
	n.waitReadyWithin(patience)
}

func (n *node) waitReadyWithin(limit time.Duration) {
	n.t.Helper()
	eventually(n.t, limit, fmt.Sprintf("node %d is ready", n.id), func() error {
		if !n.alive() {
			n.t.Fatalf("node %d has ended: %v\n%s", n.id, n.err, n.tail())
		}
		a, err := n.get("/readyz")
		if err != nil {
			return err
		}
		if a.status != http.StatusOK {
			return fmt.Errorf("status %d: %s", a.status, a.body)
		}
		return nil
	})
}

// newNode describes a quorum of one; it is not started yet.
func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, id: 1, addr: freeAddrs(t, 1)[0], dir: filepath.Join(t.TempDir(), "node1")}
	n.args = []string{"--http", n.addr, "--data", n.dir}
	t.Cleanup(n.stop)
	return n
}

// startOne starts a quorum of one and waits until it is ready.
func startOne(t testing.TB) *node {
	t.Helper()
	n := newNode(t)
	n.spawn()
	n.waitReady()
	return n
}

// stop ends the process at the end of a test; a failed test shows its log.
func (n *node) stop() {
	if n.alive() {
		_ = n.cmd.Process.Kill()
		<-n.done
	}
	if n.t.Failed() {
		n.t.Logf("the end of node %d's log:\n%s", n.id, n.tail())
	}
}

// cluster is three nodes.
type cluster struct {
	t     testing.TB
	nodes []*node
}

// newCluster describes three nodes; none is started yet.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	addrs, dir := freeAddrs(t, 6), t.TempDir()
	var peers []string
	for i := range 3 {
		peers = append(peers, fmt.Sprintf("%d=%s", i+1, addrs[3+i]))
	}
	c := &cluster{t: t}
	for i := range 3 {
		n := &node{t: t, id: i + 1, addr: addrs[i], dir: filepath.Join(dir, fmt.Sprintf("node%d", i+1))}
		n.args = []string{"--id", strconv.Itoa(n.id), "--peers", strings.Join(peers, ","), "--http", n.addr, "--data", n.dir}
		t.Cleanup(n.stop)
		c.nodes = append(c.nodes, n)
	}
	return c
}

// startThree starts three nodes and waits until all are ready.
func startThree(t testing.TB) *cluster {
	t.Helper()
	c := newCluster(t)
	c.spawnAll()
	c.waitReady()
	return c
}

func (c *cluster) spawnAll() {
	for _, n := range c.nodes {
		if !n.alive() {
			n.spawn()
		}
	}
}

func (c *cluster) waitReady() {
	c.t.Helper()
	for _, n := range c.nodes {
		n.waitReady()
	}
}

// leader waits until the living nodes agree on a living leader.
func (c *cluster) leader() *node {
	c.t.Helper()
	var leader *node
	eventually(c.t, patience, "the nodes agree on a leader", func() error {
		ids := map[string]bool{}
		for _, n := range c.nodes {
			if n.alive() {
				s, err := n.status()
				if err != nil {
					return err
				}
				ids[s.Leader] = true
			}
		}
		for _, n := range c.nodes {
			if len(ids) == 1 && ids[strconv.Itoa(n.id)] && n.alive() {
				leader = n
				return nil
			}
		}
		return fmt.Errorf("they name %v", ids)
	})
	return leader
}

// follower is some living node that does not lead.
func (c *cluster) follower() *node {
	c.t.Helper()
	leader := c.leader()
	for _, n := range c.nodes {
		if n != leader && n.alive() {
			return n
		}
	}
	c.t.Fatal("there is no follower")
	return nil
}

// nextPort is the next candidate of freeAddrs. Ports below the range from which
// the system gives out are taken by nobody between two looks at them.
var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32N(12_000)) }

// freeAddrs returns loopback addresses that were free a moment ago.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	addrs, err := freePorts(n)
	if err != nil {
		t.Fatal(err)
	}
	return addrs
}

// freePorts is freeAddrs outside of a test.
func freePorts(n int) (addrs []string, err error) {
	for range 12_000 {
		if len(addrs) == n {
			return addrs, nil
		}
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+nextPort.Add(1)%12_000)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			addrs = append(addrs, addr)
		}
	}
	return nil, errors.New("no free ports")
}

// eventually asks until the answer is nil, and fails the test when that has
// not happened within limit.
func eventually(t testing.TB, limit time.Duration, what string, ask func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = ask(); err == nil {
			return
		}
	}
	t.Fatalf("not seen within %v: %s: %v", limit, what, err)
}

// runToEnd runs perch to its end, which must come by itself.
func runToEnd(t testing.TB, env []string, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, perchBinary(t), args...)
	cmd.Env = append(cleanEnv(t), env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("perch %v does not end by itself:\n%s", args, out.String())
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// listDir names what is in a directory.
func listDir(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
