//go:build mutants

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// trialMax is the longest that one mutant may take to build and to be found.
const trialMax = 10 * time.Minute

// result is what became of one mutant.
type result struct {
	found bool
	by    string // "seed 12", "schedule …", "TestX in quorum", or why not
	broke string // what failed, in a line
	seed  string // that failed; "" for none
}

// runner builds programs with a bug in them, in a directory of its own.
type runner struct {
	root, dir string
	seeds     int
	sound     string // the simulator without a bug
}

func newRunner(seeds int) (*runner, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return nil, err
	}
	r := &runner{root: root, dir: dir, seeds: seeds}
	r.sound, err = r.build(context.Background(), &mutant{name: "none"})
	return r, err
}

func (r *runner) close() { _ = os.RemoveAll(r.dir) }

// moduleRoot is the directory of go.mod, here or above.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return "", errors.Join(err, errors.New("there is no go.mod here or above"))
}

// try builds what has to find m with m in it, and lets it search.
func (r *runner) try(m *mutant) result {
	ctx, cancel := context.WithTimeout(context.Background(), trialMax)
	defer cancel()
	bin, err := r.build(ctx, m)
	if err != nil {
		return result{by: "NOT TRIED", broke: err.Error()}
	}
	defer os.Remove(bin)
	cmd := m.by.command(ctx, bin, r)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return result{by: "NOT FOUND", broke: fmt.Sprintf("no end after %v", trialMax)}
	}
	if err == nil {
		return result{by: "NOT FOUND", broke: "survives " + m.by.String()}
	}
	res := m.by.read(out)
	if res.found && r.fails(ctx, &m.by, res.seed) {
		return result{by: "NOT FOUND", broke: res.by + " fails without it too"}
	}
	return res
}

// fails says whether the schedule or the seed that found a mutant fails without
// it: then it has found something else. Tests are played by make test.
func (r *runner) fails(ctx context.Context, f *finder, seed string) bool {
	switch {
	case f.schedule != "":
		return exec.CommandContext(ctx, r.sound, "-schedule", f.file(r.root)).Run() != nil
	case seed != "":
		return exec.CommandContext(ctx, r.sound, "-shrink=false", "-seed", seed, "-nodes", fmt.Sprint(f.nodes)).Run() != nil
	}
	return false
}

// build makes the program or the test binary from an overlay that holds the
// mutated files.
func (r *runner) build(ctx context.Context, m *mutant) (string, error) {
	texts, err := m.mutated(r.root)
	if err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range texts {
		copied := filepath.Join(r.dir, m.name+"-"+strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(r.root, file)] = copied
	}
	listed, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	list, bin := filepath.Join(r.dir, m.name+".json"), filepath.Join(r.dir, m.name)
	if err := os.WriteFile(list, listed, 0o600); err != nil {
		return "", err
	}
	args := []string{"build", "-ldflags=-s -w", "-buildvcs=false", "-overlay", list, "-o", bin, "./quorum/sim/simrun"}
	if m.by.test != "" {
		args = []string{"test", "-c", "-ldflags=-s -w", "-overlay", list, "-o", bin, "./" + m.by.pkg}
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("does not compile: %s", bytes.TrimSpace(out))
	}
	return bin, nil
}

// String says what has to find a mutant.
func (f finder) String() string {
	switch {
	case f.test != "":
		return f.test + " in " + f.pkg
	case f.schedule != "":
		return "schedule " + f.schedule
	case f.nodes != 0:
		return fmt.Sprintf("%d seeds of %d nodes", seedsMax, f.nodes)
	}
	return fmt.Sprintf("%d seeds", seedsMax)
}

// command searches with one worker, so that the first seed that fails is the
// lowest.
func (f finder) command(ctx context.Context, bin string, r *runner) *exec.Cmd {
	cmd := exec.CommandContext(ctx, bin, "-stop", "-workers", "1", "-seeds", fmt.Sprint(r.seeds), "-nodes", fmt.Sprint(f.nodes))
	switch {
	case f.test != "":
		cmd = exec.CommandContext(ctx, bin, "-test.run", "^"+f.test+"$", "-test.timeout", trialMax.String())
		cmd.Dir = filepath.Join(r.root, f.pkg)
		if usesRapid(cmd.Dir) {
			cmd.Args = append(cmd.Args, "-rapid.seed", "1", "-rapid.nofailfile")
		}
	case f.schedule != "":
		cmd = exec.CommandContext(ctx, bin, "-schedule", f.file(r.root))
	}
	return cmd
}

// usesRapid says whether the tests in dir draw with rapid: then they are to draw
// the same every time, and to leave no file behind.
func usesRapid(dir string) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	for _, file := range files {
		if text, _ := os.ReadFile(file); bytes.Contains(text, []byte(`"pgregory.net/rapid"`)) {
			return true
		}
	}
	return false
}

func (f finder) file(root string) string {
	return filepath.Join(root, "quorum/sim/testdata/schedules", f.schedule+".txt")
}

var (
	seedFails     = regexp.MustCompile(`(?m)^seed (\d+) \(\d+ nodes\) fails: (.*)$`)
	scheduleFails = regexp.MustCompile(`(?m)^schedule fails: (.*)$`)
	testFails     = regexp.MustCompile(`(?m)^\s*--- FAIL: (.*)$`)
	testSays      = regexp.MustCompile(`(?m)^\s*\S+_test\.go:\d+: (.*)$`)
	panics        = regexp.MustCompile(`(?m)^((?:panic|fatal error): .*)$`)
	assertion     = regexp.MustCompile(`assertion \d+ \([^:)]*`)
	prefix        = regexp.MustCompile(`^\s*at\s+[\d.]+: `)
)

// read finds in the output of a search that failed what has failed.
func (f finder) read(out []byte) result {
	text := string(out)
	switch {
	case f.test != "":
		if m := testFails.FindStringSubmatchIndex(text); m != nil {
			return result{found: true, by: f.String(), broke: inShort(said(text[m[2]:]))}
		}
	case f.schedule != "":
		if m := scheduleFails.FindStringSubmatch(text); m != nil {
			return result{found: true, by: f.String(), broke: inShort(m[1])}
		}
	default:
		if m := seedFails.FindStringSubmatch(text); m != nil {
			return result{found: true, by: "seed " + m[1], broke: inShort(m[2]), seed: m[1]}
		}
	}
	if m := panics.FindStringSubmatch(text); m != nil {
		return result{found: true, by: "a crash in " + f.String(), broke: inShort(m[1])}
	}
	return result{by: "NOT FOUND", broke: "unreadable: " + inShort(text)}
}

// said is the first line in which a test that failed says why, the lines of
// logs passed over; its name when there is none.
func said(text string) string {
	for _, m := range testSays.FindAllStringSubmatch(text, -1) {
		if !strings.Contains(m[1], " level=") {
			return m[1]
		}
	}
	return text
}

// inShort is a failure in a line: its assertion when it names one.
func inShort(text string) string {
	if a := assertion.FindString(text); a != "" {
		return strings.Replace(a, " (", ": ", 1)
	}
	text = prefix.ReplaceAllString(text, "")
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	if r := []rune(text); len(r) > 90 {
		text = string(r[:90]) + "…"
	}
	return text
}
