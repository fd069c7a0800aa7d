package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// grant is what a client is told of a hold.
type grant struct {
	Token     uint64 `json:"fencing_token"`
	Remaining int64  `json:"remaining_ms"`
	Waited    int64  `json:"waited_ms"`
	Replayed  bool
}

// contenders take one lock again and again through all nodes that they are given.
type contenders struct {
	t      *testing.T
	nodes  []*node
	cycles atomic.Int64

	mu     sync.Mutex
	last   uint64    // greatest token so far
	until  time.Time // the last holder may believe so long that it holds
	holder int       // 0: nobody
}

// work is one client: acquire, hold for a moment, let go.
func (k *contenders) work(ctx context.Context, me int) {
	for at := me; ctx.Err() == nil; at++ {
		session := rand.Text()
		header := []string{"Perch-Session", session}
		sent := time.Now()
		a, err := send(ctx, "POST", k.nodes[at%len(k.nodes)].url()+"/v1/locks/one/acquire", `{"ttl_ms":3000,"wait_ms":5000}`, header...)
		if err != nil || a.status != http.StatusOK {
			sleep(ctx, 5*time.Millisecond)
			continue
		}
		var g grant
		decode(k.t, a, &g)
		k.granted(me, g, sent)
		sleep(ctx, time.Millisecond)
		k.leaves(me)
		for try := 0; try < 20; try++ {
			a, err := send(context.Background(), "POST", k.nodes[(at+try)%len(k.nodes)].url()+"/v1/locks/one/release", "", header...)
			if err == nil && (a.status == http.StatusNoContent || a.status == http.StatusGone) {
				break
			}
			sleep(context.Background(), 20*time.Millisecond)
		}
		k.cycles.Add(1)
	}
}

// granted notes a holder, who may be the only one, and under a greater token than
// all before.
func (k *contenders) granted(me int, g grant, sent time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); k.holder != 0 && now.Before(k.until) {
		k.t.Errorf("%d is granted the lock while %d may believe for %v that it holds it", me, k.holder, k.until.Sub(now))
	}
	if g.Token <= k.last {
		k.t.Errorf("token %d comes after %d", g.Token, k.last)
	}
	k.last, k.holder = g.Token, me
	k.until = sent.Add(time.Duration(g.Waited+g.Remaining) * time.Millisecond)
}

// leaves notes that a holder no longer believes that it holds.
func (k *contenders) leaves(me int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holder == me {
		k.holder = 0
	}
}

// Sixteen clients contend for one lock while the leader is killed again and
// again: nobody is granted it while another may believe that it holds it, and
// tokens rise for ever.
func TestLockUnderLeaderKills(t *testing.T) {
	c := startThree(t)
	k := &contenders{t: t, nodes: c.nodes}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var workers sync.WaitGroup
	for i := range 16 {
		workers.Go(func() { k.work(ctx, i+1) })
	}
	c.killLeaders(&k.cycles, 50)
	stop()
	workers.Wait()
	eventually(t, patience, "the lock is free", func() error {
		var state struct{ Held, Waiting int }
		decode(t, c.nodes[0].must(200, "GET", "/v1/locks/one", ""), &state)
		if state.Held+state.Waiting > 0 {
			return fmt.Errorf("%+v", state)
		}
		return nil
	})
	t.Logf("%d cycles", k.cycles.Load())
}

// A place whose client has gone, and one whose node was killed, do not stand in
// the way of those behind them.
func TestNobodyWaitsBehindTheDead(t *testing.T) {
	c := startThree(t)
	leader := c.leader()
	other := c.follower()
	holder := leader.must(200, "POST", "/v1/locks/l/acquire", `{"ttl_ms":600000}`, "Perch-Session", "holder-holder-holder-1")
	gone, hang := context.WithCancel(context.Background())
	waitsAt := func(ctx context.Context, n *node, session string) <-chan reply {
		answer := make(chan reply, 1)
		before := waiting(t, leader)
		go func() {
			a, err := send(ctx, "POST", n.url()+"/v1/locks/l/acquire", `{"ttl_ms":600000,"wait_ms":30000}`, "Perch-Session", session)
			if err != nil {
				a = reply{body: err.Error()}
			}
			answer <- a
		}()
		eventually(t, patience, session+" waits", func() error {
			if got := waiting(t, leader); got <= before {
				return fmt.Errorf("%d wait", got)
			}
			return nil
		})
		return answer
	}
	waitsAt(gone, leader, "goes-away-goes-away-11")
	waitsAt(context.Background(), other, "home-dies-home-dies-11")
	last := waitsAt(context.Background(), leader, "is-next-is-next-is-next")
	hang()
	other.kill()
	leader.must(204, "POST", "/v1/locks/l/release", "", "Perch-Session", "holder-holder-holder-1")
	var first, mine grant
	decode(t, holder, &first)
	a := <-last
	if a.status != 200 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if decode(t, a, &mine); mine.Token <= first.Token {
		t.Errorf("token %d after %d", mine.Token, first.Token)
	}
}

func waiting(t testing.TB, n *node) int {
	t.Helper()
	var state struct{ Waiting int }
	decode(t, n.must(200, "GET", "/v1/locks/l", ""), &state)
	return state.Waiting
}

// lockCommand is `perch lock` against a node.
func lockCommand(t testing.TB, n *node, args ...string) (code int, out string) {
	t.Helper()
	return runToEnd(t, []string{"PERCH_URL=" + n.url()}, append([]string{"lock"}, args...)...)
}

// perch lock runs a command under a lock: with the command's exit status, one at
// a time, and not without the lock.
func TestLockCommand(t *testing.T) {
	n := startOne(t)
	if code, out := lockCommand(t, n, "job", "--", "sh", "-c", `test "$PERCH_FENCING_TOKEN" -gt 0 && exit 7`); code != 7 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out := lockCommand(t, n, "job", "--", "no-such-command-anywhere"); code != 127 || !strings.Contains(out, "no-such-command-anywhere") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out := lockCommand(t, n, "no/name", "--", "true"); code != 2 || !strings.Contains(out, "invalid_argument") {
		t.Errorf("exit code %d: %s", code, out)
	}
	n.must(200, "POST", "/v1/locks/job/acquire", `{"ttl_ms":600000,"owner":"somebody"}`, "Perch-Session", "holder-holder-holder-1")
	ran := filepath.Join(t.TempDir(), "ran")
	if code, out := lockCommand(t, n, "job", "--wait", "100ms", "--", "touch", ran); code != 75 || !strings.Contains(out, "lock_held") || !strings.Contains(out, "somebody") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command ran without the lock")
	}
}

// A perch lock that is told to end while it waits says so, and leaves no place.
func TestLockCommandEndsWhileItWaits(t *testing.T) {
	n := startOne(t)
	n.must(200, "POST", "/v1/locks/l/acquire", `{"ttl_ms":600000}`, "Perch-Session", "holder-holder-holder-1")
	cmd := exec.Command(perchBinary(t), "lock", "l", "--", "true")
	cmd.Env = append(cleanEnv(t), "PERCH_URL="+n.url())
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waits := func(want int) {
		eventually(t, patience, fmt.Sprintf("%d wait", want), func() error {
			if got := waiting(t, n); got != want {
				return fmt.Errorf("%d wait", got)
			}
			return nil
		})
	}
	waits(1)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 75 || !strings.Contains(out.String(), "was not run") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
	waits(0)
}

// When the lock is broken the command is ended, and that is said.
func TestLockCommandEndsWithItsLock(t *testing.T) {
	n := startOne(t)
	cmd := exec.Command(perchBinary(t), "lock", "job", "--ttl", "1500ms", "--", "sleep", "600")
	cmd.Env = append(cleanEnv(t), "PERCH_URL="+n.url())
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the lock is held", func() error {
		var state struct{ Held int }
		decode(t, n.must(200, "GET", "/v1/locks/job", ""), &state)
		if state.Held == 0 {
			return fmt.Errorf("%+v", state)
		}
		return nil
	})
	n.must(204, "DELETE", "/v1/locks/job", "")
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 76 || !strings.Contains(out.String(), "lost") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

// A command does not outlive the process that renews its lock.
func TestLockCommandDiesWithItsGuard(t *testing.T) {
	n := startOne(t)
	pid := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command(perchBinary(t), "lock", "job", "--", "sh", "-c", "echo $$ > "+pid+"; exec sleep 600")
	cmd.Env = append(cleanEnv(t), "PERCH_URL="+n.url())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	eventually(t, patience, "the command runs", func() error {
		text, err := os.ReadFile(pid)
		if err == nil {
			_, err = fmt.Sscan(string(text), &child)
		}
		return err
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	eventually(t, patience, "the command has ended", func() error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", child))
		if err == nil && !strings.Contains(string(status), "State:\tZ") { // nobody may have waited for it yet
			return fmt.Errorf("process %d lives", child)
		}
		return nil
	})
}

// perch bench lock measures without an overlap or an error.
func TestBenchLock(t *testing.T) {
	code, out := runToEnd(t, nil, "bench", "lock", "--start", "3", "--workers", "1,4", "--duration", "300ms", "--warmup", "100ms")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	if code, out := runToEnd(t, nil, "bench", "lock", "--url", "http://"+freeAddrs(t, 1)[0], "--workers", "1", "--duration", "100ms"); code != 1 {
		t.Errorf("without a server: exit code %d: %s", code, out)
	}
	if lines := regexp.MustCompile(`(?m)^\| (1|4) \| (one|its own) \| [1-9].*\| 0 \| 0 \|$`).FindAllString(out, -1); len(lines) != 4 {
		t.Errorf("%d lines of 4:\n%s", len(lines), out)
	}
}
