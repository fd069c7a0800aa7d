package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// root is the checkout.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// shellBlocks returns the n shell blocks of a section of the README.
func shellBlocks(t *testing.T, title string, n int) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("the README has no %q", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) != n {
		t.Fatalf("%q has %d blocks, want %d", title, len(blocks), n)
	}
	return blocks
}

// runBlock runs a block of shell, in the checkout: what it says that it prints it
// prints, in that order.
func runBlock(t *testing.T, block string, env []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-eu", "-c", block)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = root(t), env, &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v:\n%s", err, out.String())
	}
	rest := out.String()
	expected := regexp.MustCompile(`(?m)# prints: (.*)$`).FindAllStringSubmatch(block, -1)
	if len(expected) == 0 {
		t.Error("it says nothing of what it prints")
	}
	for _, m := range expected {
		_, after, ok := strings.Cut(rest, m[1])
		if !ok {
			t.Fatalf("%q is not printed, or not in its place; all that was printed:\n%s", m[1], out.String())
		}
		rest = after
	}
}

// The quick start works as it is printed: the first command starts a node, the
// lines of curl print what they say they print, in that order. (The second
// command is what runs this test.) Only the port and the directory are moved,
// by the environment.
func TestQuickStart(t *testing.T) {
	blocks := shellBlocks(t, "Quick start", 3) // run, test, curl
	if blocks[0] != "make run\n" || blocks[1] != "make test\n" {
		t.Errorf("the two commands are %q and %q", blocks[0], blocks[1])
	}
	n := &node{t: t, id: 1, addr: freeAddrs(t, 1)[0], dir: filepath.Join(t.TempDir(), "node1")}
	env := append(cleanEnv(t), "PERCH_HTTP="+n.addr, "PERCH_DATA="+n.dir)
	n.spawnShell(blocks[0], env)
	n.waitReady()
	runBlock(t, blocks[2], env)
}

// The lines of perch do what they say, too.
func TestCommandLineOfTheREADME(t *testing.T) {
	n := startOne(t)
	env := append(cleanEnv(t), "PERCH_URL="+n.url(), "PATH="+filepath.Dir(perchBinary(t))+":"+os.Getenv("PATH"))
	runBlock(t, shellBlocks(t, "Command line", 1)[0], env)
}

// spawnShell starts the node by a line of shell, in the checkout.
func (n *node) spawnShell(line string, env []string) {
	n.t.Helper()
	var err error
	if n.log, err = os.Create(n.dir + ".log"); err != nil {
		n.t.Fatal(err)
	}
	n.cmd = exec.Command("sh", "-c", line)
	n.cmd.Dir, n.cmd.Env, n.cmd.Stdout, n.cmd.Stderr = root(n.t.(*testing.T)), env, n.log, n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // shell, make and node end together
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.done = make(chan struct{})
	go func() {
		n.err = n.cmd.Wait()
		_ = n.log.Close()
		close(n.done)
	}()
	n.t.Cleanup(func() {
		_ = syscall.Kill(-n.cmd.Process.Pid, syscall.SIGTERM)
		<-n.done
		if n.t.Failed() {
			n.t.Logf("make run said:\n%s", n.tail())
		}
	})
}

// make cluster starts three nodes on the ports after PERCH_HTTP, and SIGTERM
// ends them all.
func TestMakeCluster(t *testing.T) {
	n := &node{t: t, id: 1, dir: filepath.Join(t.TempDir(), "cluster")}
	base, first := consecutive(t)
	n.addr = first
	n.spawnShell("exec make cluster", append(cleanEnv(t), "PERCH_HTTP="+base, "PERCH_DATA="+n.dir))
	n.waitReady()
	eventually(t, patience, "make cluster says where the nodes are", func() error {
		if strings.Count(n.tail(), "http://") < 3 {
			return os.ErrNotExist
		}
		return nil
	})
	if err := syscall.Kill(-n.cmd.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	n.wait()
	if !strings.Contains(n.tail(), "stopped; the data stays in") {
		t.Errorf("it said:\n%s", n.tail())
	}
	if _, err := n.get("/livez"); err == nil {
		t.Error("a node still answers")
	}
}

// consecutive finds a port P so that P to P+3 and P+431 to P+433 are free, and
// returns the addresses of P and P+1.
func consecutive(t *testing.T) (base, first string) {
	t.Helper()
	for port := 21000; port < 60000; port += 10 {
		free := true
		for _, shift := range []int{1, 2, 3, 431, 432, 433} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+shift))
			if free = err == nil; !free {
				break
			}
			_ = l.Close()
		}
		if free {
			return fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", port+1)
		}
	}
	t.Fatal("no free ports")
	return "", ""
}

// TestExampleSearch runs the search engine; it exits 0 only if every step of
// it was observed.
func TestExampleSearch(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "example-search")
	cmd.Dir, cmd.Env = root(t), cleanEnv(t)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	t.Logf("\n%s", out)
}
