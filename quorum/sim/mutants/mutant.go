//go:build mutants

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// seedsMax is how many seeds a mutant may live through (RELIABILITY.md 2a).
const seedsMax = 5000

// mutant is one bug that is put into a copy of the sources, and what has to
// find it.
type mutant struct {
	name   string // short, unique
	origin string // the rule it breaks, or the bug of another program that it repeats
	edits  []edit // all of them together are the bug
	by     finder
}

// edit replaces a text that stands exactly once in a file.
type edit struct {
	file          string // from the root of the module
	before, after string
}

// finder is what has to fail when the bug is there: seeds of the simulator, a
// directed schedule of it, or a test of a package.
type finder struct {
	nodes    int    // seeds: nodes in the cluster; 0: the seed decides
	schedule string // name of a file in quorum/sim/testdata/schedules, without .txt
	pkg      string // package of the test, from the root of the module
	test     string // its name
}

func seeds() finder                      { return finder{} }
func schedule(name string) finder        { return finder{schedule: name} }
func test(pkg, name string) finder       { return finder{pkg: pkg, test: name} }
func one(f, before, after string) []edit { return []edit{{f, before, after}} }

// mutated is what the edits of m make of the files under root, by path from
// root. It reports an edit that does not apply: the code has moved on, and the
// row must follow it.
func (m *mutant) mutated(root string) (map[string]string, error) {
	texts := map[string]string{}
	for _, e := range m.edits {
		text, ok := texts[e.file]
		if !ok {
			read, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, err
			}
			text = string(read)
		}
		if n := strings.Count(text, e.before); n != 1 {
			return nil, fmt.Errorf("%s: this text stands %d times in %s, not once:\n%s", m.name, n, e.file, e.before)
		}
		texts[e.file] = strings.Replace(text, e.before, e.after, 1)
	}
	return texts, nil
}

// table is every mutant, in the order of the protocol.
var table = slices.Concat(electionMutants, formingMutants, discoveryMutants, syncMutants, broadcastMutants, livesMutants, memberMutants, renewMutants, digestMutants,
	requestMutants, clockMutants, driverMutants, storageMutants, stateMutants, heldMutants)
