package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// generator draws ops for a world. What it draws depends on the seed and on
// what ZooKeeper has answered, so a seed gives the same ops every time.
type generator struct {
	rand   *rand.Rand
	w      *world
	closed []bool // sessions
	acls   bool   // ACLs and no one-shot watches, or the reverse: a refused READ hides what a watch has seen
}

// newGenerator draws for one world of a run.
func newGenerator(seed uint64, number int, w *world) *generator {
	return &generator{rand: rand.New(rand.NewPCG(seed, uint64(number))), w: w, acls: number%2 == 0, closed: make([]bool, len(credentials))}
}

// names are those of nodes. They are few, so that ops meet each other.
var names = []string{"a", "a", "b", "b", "c", "d", "é", "a b", "100%", "q?x=1", "a+b", "日本", "#", ";", "a.b", "...", "_c_0000000001"}

// oddTails are ends of paths that no node can have.
var oddTails = []string{"/", "//a", "/a//b", "/.", "/..", "/./a", "/../a", "/a\x00", "/a\x1fb", "/\x7f", "/\u0085",
	"/\ue000", "/\uf8ff", "/\ufff0", "/\uffff", "/😀", "/a/"}

// weights are how often each kind is drawn.
var weights = []struct {
	kind   kind
	weight int
}{{opCreate, 34}, {opSet, 12}, {opDelete, 14}, {opMulti, 12}, {opExists, 3}, {opGet, 4}, {opChildren, 4},
	{opGetACL, 4}, {opSetACL, 8}, {opWatch, 8}, {opClose, 3}}

// next draws an op.
func (g *generator) next() op {
	o := op{Kind: g.kind(), Session: g.rand.IntN(len(credentials))}
	if g.closed[o.Session] && g.rand.IntN(2) == 0 {
		o.Kind = opOpen
	}
	switch o.Kind {
	case opMulti:
		for range 1 + g.rand.IntN(5) {
			o.Ops = append(o.Ops, g.within())
		}
	case opOpen, opClose:
		g.closed[o.Session] = o.Kind == opClose
	case opWatch:
		o.Path, o.Watch = g.path(), []kind{opGet, opExists, opChildren}[g.rand.IntN(3)]
	default:
		g.fill(&o)
	}
	return o
}

func (g *generator) kind() kind {
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	for {
		n := g.rand.IntN(total)
		for _, w := range weights {
			if n -= w.weight; n >= 0 {
				continue
			}
			if g.acls && w.kind == opWatch || !g.acls && w.kind == opSetACL {
				break
			}
			return w.kind
		}
	}
}

// within draws an op of a multi; ZooKeeper's have no containers and TTL nodes
// in the client library.
func (g *generator) within() op {
	o := op{Kind: []kind{opCreate, opCreate, opCreate, opSet, opSet, opDelete, opCheck}[g.rand.IntN(7)]}
	g.fill(&o)
	if o.Mode == container || o.Mode == ttl {
		o.Mode, o.TTLMs = persistent, 0
	}
	return o
}

// fill draws what an op takes.
func (g *generator) fill(o *op) {
	o.Path = g.path()
	if o.Path == "" && (o.Kind == opDelete || o.Kind == opSetACL) {
		o.Path = g.newPath() // the root of the world stays, and stays open
	}
	switch o.Kind {
	case opCreate:
		o.Path = g.newPath()
		g.fillCreate(o)
	case opSet:
		o.Data, o.Version = g.data(), g.version(g.w.nodes[o.Path].Version)
	case opDelete, opCheck:
		o.Version = g.version(g.w.nodes[o.Path].Version)
	case opSetACL:
		o.ACL, o.Version = g.acl(), g.version(g.w.nodes[o.Path].Aversion)
	}
	if o.Path != "" && g.rand.IntN(40) == 0 {
		// The client library refuses "/." and "/.." as the beginning of a sequential name, too.
		if tail := oddTails[g.rand.IntN(len(oddTails))]; !o.Sequential || !strings.HasSuffix(tail, ".") {
			o.Path += tail
		}
	}
}

func (g *generator) fillCreate(o *op) {
	o.Data, o.Mode = g.data(), []mode{persistent, persistent, persistent, ephemeral, ephemeral, ephemeral, container, ttl}[g.rand.IntN(8)]
	o.Sequential = o.Mode != container && g.rand.IntN(4) == 0
	if o.Mode == ttl {
		o.TTLMs = 3_600_000 + int64(g.rand.IntN(1000))
	}
	if o.Sequential && g.rand.IntN(4) == 0 {
		o.Path += "/"
	}
	if g.acls && g.rand.IntN(3) == 0 {
		o.ACL = g.acl()
	}
}

// path draws a path that mostly exists.
func (g *generator) path() string {
	if g.rand.IntN(5) == 0 {
		return g.newPath()
	}
	all := slices.Sorted(maps.Keys(g.w.nodes))
	return all[g.rand.IntN(len(all))]
}

// newPath draws a path below one that mostly exists.
func (g *generator) newPath() string {
	all := slices.Sorted(maps.Keys(g.w.nodes))
	path := all[g.rand.IntN(len(all))]
	for strings.Count(path, "/") > 8 {
		path = path[:strings.LastIndexByte(path, '/')]
	}
	if g.rand.IntN(12) == 0 {
		path += "/nowhere"
	}
	return path + "/" + names[g.rand.IntN(len(names))]
}

func (g *generator) data() string {
	return strings.Repeat(string(rune('a'+g.rand.IntN(26))), g.rand.IntN(4)*g.rand.IntN(20))
}

// version draws any, the present one or another one.
func (g *generator) version(present int64) int32 {
	switch n := g.rand.IntN(20); {
	case n < 9:
		return anyVersion
	case n < 17:
		return int32(present)
	case n < 19:
		return int32(present) + 1
	}
	return 1 << 30
}

// acl draws an ACL, now and then one that is none.
func (g *generator) acl() []aclEntry {
	entries := []aclEntry{}
	for range 1 + g.rand.IntN(3) {
		entries = append(entries, aclEntry{g.scheme(), "", g.perms()})
		e := &entries[len(entries)-1]
		ids := aclIDs[e.Scheme]
		e.ID = ids[g.rand.IntN(len(ids))]
	}
	switch g.rand.IntN(20) {
	case 0:
		return []aclEntry{}
	case 1:
		bad := badEntries[g.rand.IntN(len(badEntries))]
		return append(entries, bad)
	case 2:
		return append(entries, entries[0])
	}
	return entries
}

func (g *generator) scheme() string {
	return []string{"world", "world", "world", "digest", "digest", "auth", "ip"}[g.rand.IntN(7)]
}

func (g *generator) perms() string {
	if g.rand.IntN(3) == 0 {
		return "cdrwa"
	}
	perms := ""
	for perms == "" {
		for _, p := range permLetters {
			if g.rand.IntN(2) == 0 {
				perms += p.letter
			}
		}
	}
	return perms
}

// aclIDs are ids that ACLs may name, by scheme.
var aclIDs = map[string][]string{
	"world":  {"anyone"},
	"auth":   {""},
	"digest": {digestOf("alice", "secret a"), digestOf("bob", "secret b"), digestOf("carol", "secret c")},
	"ip":     {"127.0.0.1", "127.0.0.0/8", "10.0.0.0/8", "10.1.2.3"},
}

// badEntries are entries that both sides refuse.
var badEntries = []aclEntry{{"nobody", "x", "r"}, {"digest", "alice", "r"}, {"digest", "a:b:c", "r"}, {"world", "someone", "r"},
	{"ip", "somewhere", "r"}, {"ip", "10.0.0.0/33", "r"}}

// worldSize is how many ops a world sees.
const worldSize = 50

// rootOf is the path of a world.
func rootOf(number int) string { return fmt.Sprintf("/zkdiff/w%06d", number) }
