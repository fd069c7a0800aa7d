package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestExamples runs every scenario of examples/ against three nodes. A script
// exits 0 only if what it shows has been seen; it removes what it made.
func TestExamples(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(root(t), "examples", "*", "run.sh"))
	if err != nil || len(scripts) < 16 {
		t.Fatalf("found %d scripts (%v), want 16 or more", len(scripts), err)
	}
	c := startThree(t)
	t.Run("all", func(t *testing.T) {
		for _, script := range scripts {
			name := filepath.Base(filepath.Dir(script))
			if name == "functions" {
				continue // TestFunctions
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel() // they wait more than they work
				t.Logf("\n%s", c.runScript(t, script, 2*patience))
			})
		}
	})
	if names := c.nodes[0].childrenOf(t, "examples"); len(names) > 0 {
		t.Errorf("the examples left %v", names)
	}
}

// TestFunctions invokes the functions of examples/functions with everything
// that a platform does to them.
func TestFunctions(t *testing.T) {
	c := startThree(t)
	n := strconv.Itoa(scaled(300, 10_000))
	script := filepath.Join(root(t), "examples", "functions", "run.sh")
	out := c.runScript(t, script, time.Duration(scaled(5, 40))*time.Minute, "-n", n)
	t.Logf("\n%s", out)
	want := regexp.MustCompile(`(?m)^invocations: ` + n + `, effects: ` + n + `, double effects: 0, refused by the ledger: \d+$`)
	if !want.MatchString(out) {
		t.Errorf("no line like %v", want)
	}
}

// Every example says what it shows, how it is run and why it is safe.
func TestExamplesAreDescribed(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(root(t), "examples", "*", "run.sh"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(root(t), "examples", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range dirs {
		dir := filepath.Dir(script)
		text, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		name := filepath.Base(dir)
		if !strings.Contains(string(text), "sh examples/"+name+"/run.sh") {
			t.Errorf("the README of %s does not say how it is run", name)
		}
		if !strings.Contains(string(index), "("+name+")") {
			t.Errorf("examples/README.md does not name %s", name)
		}
	}
}

// runScript runs an example against the cluster. Its processes are a group of
// their own, of which none outlives the test.
func (c *cluster) runScript(t *testing.T, script string, limit time.Duration, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var urls []string
	for _, n := range c.nodes {
		urls = append(urls, n.url())
	}
	// A file, not a pipe: who inherits it does not delay the end.
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, "sh", append([]string{script}, args...)...)
	cmd.Env = append(cleanEnv(t), "PERCH_URL="+urls[0], "PERCH_URLS="+strings.Join(urls, " "), "TMPDIR="+t.TempDir())
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left; nobody, if all went well
	text, _ := os.ReadFile(out.Name())
	if err != nil {
		t.Fatalf("%v (%v):\n%s", err, ctx.Err(), text)
	}
	return string(text)
}

// childrenOf lists the names below a node, none when it is not there.
func (n *node) childrenOf(t *testing.T, path string) (names []string) {
	t.Helper()
	a, err := n.get("/v1/children/" + path)
	if err != nil {
		t.Fatal(err)
	}
	var page struct{ Nodes []struct{ Path string } }
	if err := json.Unmarshal([]byte(a.body), &page); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	for _, child := range page.Nodes {
		names = append(names, child.Path)
	}
	return names
}
