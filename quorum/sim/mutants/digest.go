//go:build mutants

package main

// Of digests that differ (RULES.md R5).
var digestMutants = []mutant{
	{"mismatch-ignored", "RULES.md R5", one("quorum/digest.go",
		"if !ok || !judged || own == agreed || c.ctl.NeedsRebuild {", "if true || !ok || !judged || own == agreed {"),
		schedule("R5-follower-diverges")},
	{"wrong-leader-stays", "RULES.md R5", one("quorum/digest.go",
		"if d, ok := c.reported(c.cfg.ID, z); ok && c.votes() {", "if d, ok := c.reported(c.cfg.ID, z); ok && c.votes() {\n\t\treturn c.settle(Checkpoint{z, d})"),
		schedule("R5-leader-diverges")},
	{"dispute-passed-over", "RULES.md R5", one("quorum/digest.go",
		"if len(values) > 1 && z > c.digests.disputed {", "if false {"),
		schedule("R5-two-diverge-differently")},
	{"disputed-reads-answered", "RULES.md R5", []edit{
		{"quorum/core.go", "if c.doubt() != DoubtNone {\n\t\tr.Reads, c.out.Reads = nil, r.Reads", "if false {\n\t\tr.Reads, c.out.Reads = nil, r.Reads"},
		{"quorum/reads.go", "if !c.r.est || c.halt != nil || c.doubt() != DoubtNone ||", "if !c.r.est || c.halt != nil ||"},
		{"quorum/reads.go", "if !c.r.est || len(rd.flying) == 0 || c.doubt() != DoubtNone {", "if !c.r.est || len(rd.flying) == 0 {"},
		{"quorum/reads.go", "m.Seq <= c.reads.sent && c.doubt() == DoubtNone {", "m.Seq <= c.reads.sent {"}},
		schedule("R5-missing-voter-decides")},
	{"copy-is-a-witness", "RULES.md R5", []edit{
		{"quorum/broadcast.go", "if m.Prev < c.log.hist.Start() && c.doubt() == DoubtNone {", "if m.Prev < c.log.hist.Start() {"},
		{"quorum/lead.go", "case l.sync != nil && l.sync.Mode == SyncSnap && c.doubt() != DoubtNone:", "case false:"}},
		schedule("R5-copy-is-no-witness")},
	{"verdict-of-one", "RULES.md R5", one("quorum/digest.go",
		"if c.quorum(func(id NodeID) bool { got, ok := c.reported(id, z); return ok && got == d }) {", "if len(values) > 0 {"),
		seeds()},
	{"verdict-forgotten", "RULES.md R5", one("quorum/rebuild.go",
		"c.setControl(func(ctl *Control) { ctl.NeedsRebuild, ctl.Spoiled", "func(f func(*Control)) { f(&c.ctl) }(func(ctl *Control) { ctl.NeedsRebuild, ctl.Spoiled"),
		schedule("R5-follower-diverges")},
	{"writes-in-dispute", "RULES.md R5", []edit{
		{"quorum/requests.go", "&& c.log.emitted >= c.r.base && c.doubt() == DoubtNone", "&& c.log.emitted >= c.r.base"},
		{"quorum/requests.go", "m.ToBoot != c.ctl.Boot || c.doubt() != DoubtNone {", "m.ToBoot != c.ctl.Boot {"}},
		test("quorum", "TestADisputeHoldsEverythingUp")},
}
