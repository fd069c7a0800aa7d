//go:build mutants

package main

// Of members, observers and changes of them.
var memberMutants = []mutant{
	{"observers-in-the-quorum", "ZOOKEEPER-2959", one("quorum/voters.go",
		"if m.Role != RoleVoter {\n\t\t\tcontinue\n\t\t}\n\t\tall++", "all++"),
		schedule("observers-are-in-no-quorum")},
	{"observer-fed-what-is-not-committed", "ZAB.md 2.8", one("quorum/feeding.go",
		"f.fed = append(f.fed, fed{p.id, m.Session})\n\tc.serve(p, m, c.log.commit)", "f.fed = append(f.fed, fed{p.id, m.Session})\n\tc.serve(p, m, c.log.last())"),
		seeds()},
	{"feeder-never-left", "ZOOKEEPER-5088", one("quorum/feeding.go",
		"if f.feed.tries++; f.feed.tries > feedTries {", "if f.feed.tries++; false {"),
		schedule("observer-whose-feeder-is-silent")},
}
