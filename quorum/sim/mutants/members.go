//go:build mutants

package main

// Of members, observers and changes of them.
var memberMutants = []mutant{
	{"observers-in-the-quorum", "ZOOKEEPER-2959", []edit{
		{"quorum/voters.go", "if m.Role != RoleVoter {\n\t\t\tcontinue\n\t\t}\n\t\tall++", "all++"},
		{"quorum/voters.go", "case m.Role != RoleVoter:\n", "case m.Role == RoleObserver:\n\t\t\ts = append(s, at(m.ID))\n"},
		{"quorum/voters.go", "return ok && m.Role == RoleVoter && m.Incarnation == inc", "return ok && (m.Role == RoleObserver || m.Incarnation == inc)"},
		{"quorum/voters.go", "return c.incarnation(m.ID) == m.Incarnation && in(m.ID) })", "return (m.Role == RoleObserver || c.incarnation(m.ID) == m.Incarnation) && in(m.ID) })"}},
		schedule("observers-are-in-no-quorum")},
	{"old-members-decide-alone", "ZOOKEEPER-1699", one("quorum/voters.go",
		"return active.majority(in) && (pending == nil || pending.majority(in))", "return active.majority(in) && (pending == nil || true)"),
		test("quorum", "TestBothQuorumsConfirmARead")},
	{"change-committed-by-the-old-alone", "ZAB.md 2.9", one("quorum/voters.go",
		"if pending == nil || z < pending.Version {", "if true {"),
		test("quorum", "TestBothQuorumsCommitAChange")},
	{"cut-keeps-the-members", "ZAB.md 2.9", one("quorum/log.go",
		"l.configs = slices.DeleteFunc(l.configs, func(cf Configuration) bool { return cf.Version > z })\n", ""),
		test("quorum", "TestACutTakesAChangeBack")},
	{"granted-before-it-holds-the-history", "ZAB.md 3", one("quorum/rebuild.go",
		"if !r.held && l.durable >= r.goal {", "if !r.held {"),
		schedule("rebuild-waits-for-the-history")},
	{"granted-before-all-have-answered", "ZAB.md 3, RULES.md R10", one("quorum/rebuild.go",
		"case !c.member(q) || q.pongSeq <= l.rebuild.pinged:\n\t\t\treturn false", "case !c.member(q):\n\t\t\treturn false"),
		test("quorum", "TestAGrantWaitsForEveryAnswer")},
	{"granted-without-all", "ZAB.md 3, RULES.md R10", one("quorum/rebuild.go",
		"case q == nil || !q.synced:\n\t\t\treturn false\n", "case q != nil || q == nil:\n"),
		schedule("rebuild-waits-for-every-voter")},
	{"older-image-counts", "RULES.md R3", one("quorum/lives.go",
		"if seen.Incarnation != own.Incarnation || seen.Counter", "if true || seen.Counter"),
		schedule("R3-older-image")},
	{"life-counted-before-it-is-kept", "RULES.md R3", one("quorum/lives.go",
		"p.kept || p.boot == (Boot{}) ||", "true || p.boot == (Boot{}) ||"),
		schedule("R3-older-image")},
	{"feeder-never-left", "ZOOKEEPER-5088", one("quorum/feeding.go",
		"if f.feed.tries++; f.feed.tries > feedTries {", "if f.feed.tries++; false {"),
		schedule("observer-whose-feeder-is-silent")},
}
