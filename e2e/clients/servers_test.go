package clients

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen at some time.
const patience = 2 * time.Minute

// soak says whether the long versions were asked for.
var soak = os.Getenv("PERCH_SOAK") != ""

// process is a server that a test has started.
type process struct {
	t    testing.TB
	name string
	log  string
	done chan struct{} // closed when it has ended
}

// start starts a server that ends with the test.
func start(t testing.TB, name string, env []string, command ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, log: filepath.Join(t.TempDir(), name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go func() {
		_ = cmd.Wait()
		_ = out.Close()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("the end of %s's log:\n%s", name, p.tail())
		}
	})
	return p
}

// tail is the end of the log, for messages.
func (p *process) tail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-4096):])
}

// await asks for url until the answer has the status.
func (p *process) await(url string, status int) {
	p.t.Helper()
	seen := "no answer"
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		select {
		case <-p.done:
			p.t.Fatalf("%s has ended:\n%s", p.name, p.tail())
		case <-again.C:
		}
		resp, err := http.Get(url)
		if err != nil {
			seen = err.Error()
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == status {
			return
		}
		seen = resp.Status
	}
	p.t.Fatalf("%s is not ready: %s", p.name, seen)
}

// startNodes starts a cluster and returns the URLs of its members.
func startNodes(t testing.TB, count int) (urls []string) {
	t.Helper()
	binary, err := filepath.Abs(cmp.Or(os.Getenv("PERCH_BIN"), filepath.Join("..", "..", "bin", "perch")))
	if err != nil {
		t.Fatal(err)
	}
	dir, addrs := t.TempDir(), freeAddrs(t, 2*count)
	env := []string{"XDG_STATE_HOME=" + filepath.Join(dir, "state")}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PERCH_") && !strings.HasPrefix(e, "XDG_STATE_HOME=") {
			env = append(env, e)
		}
	}
	var peers []string
	for i := range count {
		peers = append(peers, fmt.Sprintf("%d=%s", i+1, addrs[count+i]))
	}
	var nodes []*process
	for i := range count {
		id := strconv.Itoa(i + 1)
		nodes = append(nodes, start(t, "node"+id, env, binary, "serve", "--id", id, "--peers", strings.Join(peers, ","),
			"--http", addrs[i], "--data", filepath.Join(dir, "node"+id)))
		urls = append(urls, "http://"+addrs[i])
	}
	for i, n := range nodes {
		n.await(urls[i]+"/readyz", http.StatusOK)
	}
	return urls
}

// freeAddrs returns loopback addresses that were free a moment ago, below the
// range from which the system gives out ports.
func freeAddrs(t testing.TB, n int) (addrs []string) {
	t.Helper()
	first := rand.IntN(12_000)
	for i := range 12_000 {
		if len(addrs) == n {
			return addrs
		}
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+(first+i)%12_000)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			addrs = append(addrs, addr)
		}
	}
	t.Fatal("no free ports")
	return nil
}

// run runs a command to its end, which must be a success, in this folder.
func run(t testing.TB, env []string, command ...string) (output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command[:min(8, len(command))], " "), err, text[max(0, len(text)-8192):])
	}
	return string(text)
}
