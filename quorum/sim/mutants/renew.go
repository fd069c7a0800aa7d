//go:build mutants

package main

// Of the renewal of an epoch in place (ZAB.md 2.7).
var renewMutants = []mutant{
	{"no-renewal-at-the-limit", "ZOOKEEPER-1277", one("quorum/renew.go",
		"return ld.counter >= c.tun.CounterLimit || ld", "return ld"),
		schedule("renewal-at-the-limit")},
	{"renewed-with-uncommitted-entries", "ZAB.md 2.7", one("quorum/renew.go",
		"|| !c.renewalDue() || c.log.commit < c.log.last() {", "|| !c.renewalDue() {"),
		seeds()},
	{"renewed-before-own-promise", "ZAB.md 2.7", one("quorum/renew.go",
		"if c.stable >= rn.seq {", "if true {"),
		test("quorum", "TestRenewalForHigherPromises")},
	{"renewal-keeps-promises", "ZAB.md 2.7", one("quorum/renew.go",
		"alive: l.alive, timeout: l.timeout, stall: l.stall, keptAt", "alive: l.alive, timeout: l.timeout, stall: l.stall, promised: l.promised, answered: l.answered, keptAt"),
		seeds()},
	{"renewal-keeps-acks", "ZAB.md 2.7", one("quorum/renew.go",
		"alive: l.alive, timeout: l.timeout, stall: l.stall, keptAt", "alive: l.alive, timeout: l.timeout, stall: l.stall, synced: l.synced, durable: l.durable, keptAt"),
		seeds()},
	{"renewed-follower-stays-synced", "ZAB.md 2.7", one("quorum/renew.go",
		"heard: old.heard, hinted: old.hinted,\n\t}\n", "heard: old.heard, hinted: old.hinted, synced: old.synced, ldSeq: old.ldSeq, obeyed: old.obeyed,\n\t}\n"),
		seeds()},
	{"proposes-while-renewing", "ZAB.md 2.7", one("quorum/renew.go",
		"func (c *Core) pausing() bool { return c.r.lead.leaving || c.r.lead.hand.to != 0 || c.renewalDue() }",
		"func (c *Core) pausing() bool { return c.r.lead.leaving || c.r.lead.hand.to != 0 || c.renewalDue() && !c.r.est }"),
		schedule("renewal-at-the-limit")},
}
