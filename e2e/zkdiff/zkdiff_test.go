package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The table for people and the table that the runs go by are one.
func TestDocsHaveEveryDifference(t *testing.T) {
	text, err := os.ReadFile("../../docs/zookeeper.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differences {
		row := "| " + strings.Join([]string{d.name, d.zookeeper, d.perch, d.reason}, " | ") + " |\n"
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/zookeeper.md does not have the row\n%s", row)
		}
	}
	_, rows, _ := strings.Cut(string(text), "## Intended differences")
	if n := strings.Count(rows, "\n| ") - 2; n != len(differences) {
		t.Errorf("docs/zookeeper.md has %d rows for %d differences", n, len(differences))
	}
	for code, c := range plainCodes {
		row := "| `" + code + "` | " + c.name + " | " + c.why + " |\n"
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/zookeeper.md does not have the row\n%s", row)
		}
	}
}

func TestRanks(t *testing.T) {
	for _, c := range []struct {
		name  string
		pairs []zxidPair
		ok    bool
	}{
		{"the same order", []zxidPair{{5, 50}, {3, 30}, {4, 40}, {5, 50}}, true},
		{"another moment", []zxidPair{{5, 50}, {5, 51}}, false},
		{"one moment for two", []zxidPair{{5, 50}, {6, 50}}, false},
		{"the reverse order, later last", []zxidPair{{5, 50}, {6, 49}}, false},
		{"the reverse order, earlier last", []zxidPair{{5, 50}, {4, 51}}, false},
	} {
		var r ranks
		ok := true
		for _, p := range c.pairs {
			ok = ok && r.add(p.zk, p.perch) == nil
		}
		if ok != c.ok {
			t.Errorf("%s: it agrees: %v", c.name, ok)
		}
	}
}

// A seed means the same ops, and so a report can be replayed.
func TestSameSeedDrawsTheSameOps(t *testing.T) {
	draw := func() (text []string) {
		w := &world{nodes: map[string]stat{"": {}, "/a": {Version: 3}, "/a/b": {}}}
		g := newGenerator(7, 1, w)
		for range 200 {
			text = append(text, g.next().String())
		}
		return text
	}
	if first, second := draw(), draw(); !slices.Equal(first, second) {
		t.Errorf("two draws differ")
	}
}
