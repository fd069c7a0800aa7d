package node

import (
	"testing"

	"perch/quorum"
)

// TestLevelWaitsForTheOldestMember: programs of two ages work together, the
// level stays the older one's, and rises once the last member was replaced
// (RULES.md R6).
func TestLevelWaitsForTheOldestMember(t *testing.T) {
	levels := map[quorum.NodeID]uint32{1: 2, 2: 1, 3: 2}
	c := newCluster(t, newMemNet(5), func(cfg *Config) { cfg.Level = levels[cfg.ID] })
	c.leader()
	for id, n := range c.nodes {
		must(t, n.Node, putCommand("/a", "x"), "")
		if got := n.view().Level(); got != 1 {
			t.Fatalf("node %d: level %d beside an older member", id, got)
		}
	}
	c.stop(2)
	levels[2] = 2
	c.start(2)
	for id, n := range c.nodes {
		until(t, "the level rises", func() bool { return n.view().Level() == 2 })
		if res := must(t, n.Node, putCommand("/a", "y"), ""); res.Zxid == 0 {
			t.Fatalf("node %d: no zxid", id)
		}
	}
	c.agree()
}
