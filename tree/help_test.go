package tree

import (
	"slices"
	"testing"

	"perch/quorum"
)

// hand applies operations to a tree, each as a transaction of its own.
type hand struct {
	t      testing.TB
	tree   *Tree
	zxid   quorum.Zxid
	age    uint64
	who    Identities
	by     string // creator
	owner  quorum.Zxid
	guard  Guard
	limits Limits
	last   []Event
}

func newHand(t testing.TB) *hand {
	return &hand{t: t, tree: New(), zxid: quorum.MakeZxid(1, 0), age: 1000, limits: Limits{
		ValueBytes: 1000, TxnNodes: 100, OwnerNodes: 10, TTLMinMs: 10, TTLMaxMs: 100_000,
	}}
}

// do runs f as a transaction, which is taken back when it is refused.
func (h *hand) do(f func(x *Txn) Code) Code {
	h.zxid++
	x := &Txn{
		Zxid: h.zxid, Wall: int64(h.age), Age: h.age, Owner: h.owner, Creator: h.by,
		Caller: h.who, Guard: h.guard, Cause: CauseRequest, Limits: h.limits,
	}
	h.tree.Begin()
	code := f(x)
	if code != OK {
		h.tree.Rollback()
		x.Events = nil
	}
	h.last = x.Events
	return code
}

func (h *hand) create(op CreateOp) Code {
	return h.do(func(x *Txn) Code { _, code := h.tree.Create(x, op); return code })
}

func (h *hand) put(op PutOp) Code {
	return h.do(func(x *Txn) Code { _, _, code := h.tree.Put(x, op); return code })
}

func (h *hand) delete(op DeleteOp) Code {
	return h.do(func(x *Txn) Code { return h.tree.Delete(x, op) })
}

func (h *hand) setACL(op SetACLOp) Code {
	return h.do(func(x *Txn) Code { _, code := h.tree.SetACL(x, op); return code })
}

func (h *hand) setDefault(op SetDefaultACLOp) Code {
	return h.do(func(x *Txn) Code { _, code := h.tree.SetDefaultACL(x, op); return code })
}

func (h *hand) setQuota(op SetQuotaOp) Code {
	return h.do(func(x *Txn) Code { _, code := h.tree.SetQuota(x, op); return code })
}

func (h *hand) reap(path string) (reaped bool) {
	h.do(func(x *Txn) Code { reaped = h.tree.Reap(x, path); return OK })
	return reaped
}

// make makes nodes that are expected to be possible.
func (h *hand) make(paths ...string) {
	h.t.Helper()
	for _, p := range paths {
		h.ok(h.create(CreateOp{Path: p}))
	}
}

func (h *hand) ok(code Code) {
	h.t.Helper()
	if code != OK {
		h.t.Fatal(code)
	}
}

func (h *hand) want(want, code Code) {
	h.t.Helper()
	if code != want {
		h.t.Fatalf("%v, want %v", code, want)
	}
}

func (h *hand) stat(path string) Stat {
	h.t.Helper()
	n, ok := h.tree.Freeze().Get(path)
	if !ok {
		h.t.Fatalf("no node %s", path)
	}
	return n.Stat
}

func (h *hand) has(path string) bool {
	_, ok := h.tree.Freeze().Get(path)
	return ok
}

// rules is a guard of lists: paths without a grant, and identities for ACLs.
type rules struct {
	closed map[string]Perms // grants that are missing, by exact path
	ids    Identities
}

func (r rules) Path(path string, p Perms) bool       { return p&^r.closed[path] != 0 }
func (r rules) May(_ string, acl *ACL, p Perms) bool { return acl.Allows(r.ids, p) }
func principal(name string, p Perms) ACLEntry        { return ACLEntry{SchemePrincipal, name, p} }
func as(name string) rules                           { return rules{ids: Identities{Principal: name}} }
func without(path string, p Perms) rules             { return rules{closed: map[string]Perms{path: p}} }
func bound(n int64) *int64                           { return &n }
func anything(p Perms) ACLEntry                      { return ACLEntry{SchemeWorld, anyone, p} }
func onlyPrincipal(name string, p Perms) []ACLEntry  { return []ACLEntry{principal(name, p)} }
func (h *hand) closeTo(path string, entries ...ACLEntry) {
	h.ok(h.setACL(SetACLOp{Path: path, ACL: entries}))
}

// records is everything that a snapshot of the tree keeps.
func records(r *Reader) (list []Record) {
	r.Scan(func(rec Record) bool { list = append(list, rec); return true })
	return list
}

// reload is the tree as a snapshot brings it back.
func reload(t failer, r *Reader) *Tree {
	t.Helper()
	l := NewLoader()
	for _, rec := range records(r) {
		// A snapshot knows nothing of pointers, and nothing of what a quota holds.
		rec.ACL = copied(rec.ACL)
		if d := rec.Default; d != nil {
			rec.Default = &DefaultRecord{copied(d.ACL), d.Zxid}
		}
		if q := rec.Quota; q != nil {
			rec.Quota = &Quota{MaxNodes: q.MaxNodes, MaxBytes: q.MaxBytes}
		}
		if err := l.Add(rec); err != nil {
			t.Fatal(rec, err)
		}
	}
	again, err := l.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func copied(a *ACL) *ACL {
	if a == nil {
		return nil
	}
	return &ACL{Entries: slices.Clone(a.Entries)}
}

// failer is what testing and rapid have in common.
type failer interface {
	Helper()
	Fatal(...any)
}
