//go:build mutants

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perch/quorum/sim"
)

// TestEveryRowApplies: each edit stands exactly once in its file and changes
// it, and what has to find the mutant is there. Whoever changes a line that a
// row is about moves the row along.
func TestEveryRowApplies(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for i := range table {
		m := &table[i]
		if m.name == "" || m.origin == "" || names[m.name] {
			t.Errorf("row %d: the name %q or the origin %q is missing or taken", i, m.name, m.origin)
		}
		names[m.name] = true
		for _, e := range m.edits {
			if e.before == e.after || strings.HasSuffix(e.file, "_test.go") {
				t.Errorf("%s: the edit of %s is none", m.name, e.file)
			}
		}
		if _, err := m.mutated(root); err != nil || len(m.edits) == 0 {
			t.Error(m.name, err)
		}
		checkFinder(t, m, root)
	}
}

// TestEverySwitchHasARow: the bugs that the simulator can switch on are in the
// table.
func TestEverySwitchHasARow(t *testing.T) {
	for _, name := range sim.Mutants {
		has := func(m mutant) bool { return len(m.edits) == 1 && m.edits[0] == switched(name)[0] }
		if !slices.ContainsFunc(table, has) {
			t.Errorf("no row turns %s on", name)
		}
	}
}

func checkFinder(t *testing.T, m *mutant, root string) {
	t.Helper()
	if f := m.by; f.schedule != "" {
		if _, err := os.Stat(f.file(root)); err != nil {
			t.Error(m.name, err)
		}
	} else if f.test != "" && !hasTest(t, filepath.Join(root, f.pkg), f.test) {
		t.Errorf("%s: there is no %s", m.name, f)
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}

// TestRead: what a search prints is told in a line.
func TestRead(t *testing.T) {
	for _, c := range []struct {
		by   finder
		out  string
		want result
	}{
		{seeds(), "x\nseed 12 (3 nodes) fails: at     5.000: assertion 9 (durability: what is committed is kept): node 3\n",
			result{found: true, by: "seed 12", broke: "assertion 9: durability", seed: "12"}},
		{seeds(), "seed 7 (3 nodes) fails: at     5.000: node 3 halts: x\n", result{found: true, by: "seed 7", broke: "node 3 halts: x", seed: "7"}},
		{schedule("R1"), "schedule fails: line 3: until leader 1: it never came\n",
			result{found: true, by: "schedule R1", broke: "line 3: until leader 1: it never came"}},
		{test("quorum", "TestX"), "--- FAIL: TestX (0.00s)\n    x_test.go:9: wrong\nFAIL\n", result{found: true, by: "TestX in quorum", broke: "wrong"}},
		{test("quorum", "TestX"), "FAIL\n", result{by: "NOT FOUND", broke: "unreadable: FAIL"}},
	} {
		if got := c.by.read([]byte(c.out)); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.out, got, c.want)
		}
	}
}
