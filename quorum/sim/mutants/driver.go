//go:build mutants

package main

// Of the simulated driver: what quorum/node and the packages below it must not
// do either. Tests of the simulator itself need these bugs too, so they are
// switches there (sim.Mutants), and the edit turns one on.
var driverMutants = []mutant{
	{"driver-sends-before-fsync", "ZAB.md 3", switched("send-before-fsync"), seeds()},
	{"driver-stable-before-fsync", "ZAB.md 3", switched("stable-before-fsync"), seeds()},
	{"driver-epoch-before-log", "ZOOKEEPER-4643, 1653", switched("epoch-before-log"), seeds()},
	{"driver-lost-fsync", "RELIABILITY.md 2a", switched("lost-fsync"), seeds()},
	{"driver-forgets-control", "RULES.md R2", switched("forgotten-control"), seeds()},
	{"driver-stale-snapshot", "ZOOKEEPER-3127, 3144", switched("stale-snapshot"), seeds()},
	{"driver-acks-ahead", "ZAB.md 3", switched("ack-ahead"), seeds()},
	{"driver-promises-to-all", "ZAB.md 2.3 step 3", switched("promise-to-all"), seeds()},
	{"driver-boasts", "ZAB.md 3", switched("boast"), seeds()},
	{"driver-commits-ahead", "ZAB.md 2.5", switched("commit-ahead"), seeds()},
	{"driver-touches-unconfirmed", "RULES.md R12", switched("touch-unconfirmed"), schedule("R12-touch-at-a-thawed-leader")},
	{"driver-expires-in-any-epoch", "RULES.md R23", switched("expire-any-epoch"), schedule("R23-expiry-outlives-its-reign")},
	{"driver-confirms-without-a-round", "RULES.md R12, R17", switched("confirm-unconfirmed"), schedule("R12-confirm-at-a-thawed-leader")},
	{"driver-never-withdraws", "RULES.md R17", switched("never-withdraw"), schedule("R17-a-home-dies")},
	{"driver-resumes-a-watch-one-off", "RELIABILITY.md 2a", switched("watch-resume"), seeds()},
	{"driver-raises-the-level-early", "RULES.md R6", switched("raise-early"), seeds()},
	{"driver-installs-before-durable", "ZOOKEEPER-3642", one("quorum/sim/effects.go",
		"func (n *node) pulled(p *pull) {\n\tn.disk.keep(p.file)\n", "func (n *node) pulled(p *pull) {\n"),
		seeds()},
	{"driver-reign-without-sessions", "RULES.md R22", one("quorum/sim/sessions.go",
		"n.keeper.tracker.Add(s.id, s.ttl(), n.soft.LeaseMs)", "_ = s"),
		seeds()},
}

func switched(name string) []edit {
	return one("quorum/sim/world.go", "func newWorld(opt Options) *World {\n", "func newWorld(opt Options) *World {\n\topt.Mutant = \""+name+"\"\n")
}
