package tree

import (
	"testing"
	"unsafe"
)

// TestRecordsThatAreNoTree: what no operation makes is not restored.
func TestRecordsThatAreNoTree(t *testing.T) {
	root := Record{Node: Node{Path: "/", Stat: Stat{NumChildren: 1}}, Creates: 1}
	list := &ACL{Entries: onlyPrincipal("ann", PermAll)}
	for name, change := range map[string]func(*Record){
		"":                            func(r *Record) { r.ACL, r.Creator, r.Stat.Aversion = list, "ann", 3 },
		"a TTL node":                  func(r *Record) { r.Stat.Mode, r.Stat.TTLMs, r.Due = ModeTTL, 5, 1 },
		"a container":                 func(r *Record) { r.Stat.Mode = ModeContainer },
		"an empty container":          func(r *Record) { r.Stat.Mode, r.Creates, r.Due = ModeContainer, 1, 1 },
		"an ephemeral":                func(r *Record) { r.Stat.Mode, r.Stat.EphemeralOwner = ModeEphemeral, 4 },
		"!an owner of a persistent":   func(r *Record) { r.Stat.EphemeralOwner = 4 },
		"!an ephemeral of nobody":     func(r *Record) { r.Stat.Mode = ModeEphemeral },
		"!an unknown mode":            func(r *Record) { r.Stat.Mode = 4 },
		"!a TTL node without TTL":     func(r *Record) { r.Stat.Mode, r.Due = ModeTTL, 1 },
		"!a TTL node that never goes": func(r *Record) { r.Stat.Mode, r.Stat.TTLMs = ModeTTL, 5 },
		"!a TTL of a persistent":      func(r *Record) { r.Stat.TTLMs = 5 },
		"!a negative TTL":             func(r *Record) { r.Stat.TTLMs = -5 },
		"!a persistent that is due":   func(r *Record) { r.Due = 1 },
		"!a new container is due":     func(r *Record) { r.Stat.Mode, r.Due = ModeContainer, 1 },
		"!an empty container stays":   func(r *Record) { r.Stat.Mode, r.Creates = ModeContainer, 1 },
		"!an aversion":                func(r *Record) { r.Stat.Aversion = -1 },
		"!an empty list":              func(r *Record) { r.ACL = &ACL{} },
		"!the open list":              func(r *Record) { r.ACL = &ACL{Entries: []ACLEntry{anything(PermAll)}} },
		"!auth in a list":             func(r *Record) { r.ACL = &ACL{Entries: []ACLEntry{{SchemeAuth, "", 1}}} },
		"!a list with one twice":      func(r *Record) { r.ACL = &ACL{Entries: append(list.Entries, list.Entries...)} },
		"a default":                   func(r *Record) { r.Default = &DefaultRecord{list, 5} },
		"an open default":             func(r *Record) { r.Default = &DefaultRecord{nil, 5} },
		"!a default of no time":       func(r *Record) { r.Default = &DefaultRecord{list, 0} },
		"!an empty default":           func(r *Record) { r.Default = &DefaultRecord{&ACL{}, 5} },
		"a quota":                     func(r *Record) { r.Quota = &Quota{MaxNodes: bound(0)} },
		"!a quota without bound":      func(r *Record) { r.Quota = &Quota{} },
		"!a negative quota":           func(r *Record) { r.Quota = &Quota{MaxBytes: bound(-1)} },
	} {
		rec := Record{Node: Node{Path: "/a"}}
		change(&rec)
		l := NewLoader()
		if err := l.Add(root); err != nil {
			t.Fatal(err)
		}
		err := l.Add(rec)
		if bad := name != "" && name[0] == '!'; (err != nil) != bad {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNodeSize: a million nodes are kept, and the next size that the allocator
// knows is 144 bytes.
func TestNodeSize(t *testing.T) {
	if size := unsafe.Sizeof(znode{}); size > 128 {
		t.Fatal(size)
	}
}

// TestPlainTreeIsAsBefore: a tree that uses nothing of level 2 has the digest
// that it had at level 1 (RULES.md R6).
func TestPlainTreeIsAsBefore(t *testing.T) {
	h := newHand(t)
	h.owner = 7
	h.make("/a", "/a/b")
	h.ok(h.put(PutOp{Path: "/a/b", Data: []byte("x")}))
	h.ok(h.create(CreateOp{Path: "/a/e-", Sequential: true, Mode: ModeEphemeral}))
	if got, want := h.tree.Sum(), uint64(plainSum); got != want {
		t.Fatalf("%#x, was %#x", got, want)
	}
	history := NewHistory(0)
	history.Append(h.last, 5)
	if got, want := history.Sum(), uint64(plainEvents); got != want {
		t.Fatalf("%#x, was %#x", got, want)
	}
}

// The digests of level 1, computed before there was another.
const (
	plainSum    = 0x540f62a2cc2cc56d
	plainEvents = 0xb068e5b129239c2c
)
