package tree

import (
	"slices"
	"testing"
)

func TestSetACL(t *testing.T) {
	h := newHand(t)
	h.make("/n")
	before := h.stat("/n")
	ann := onlyPrincipal("ann", PermAll)
	h.ok(h.setACL(SetACLOp{Path: "/n", ACL: ann}))
	if len(h.last) != 1 || h.last[0].Type != EventACL || (Interest{Path: "/n", Scope: ScopeNode}).Wants(&h.last[0]) ||
		!(Interest{Path: "/n", Scope: ScopeNode, ACL: true}).Wants(&h.last[0]) {
		t.Fatal("what an ACL tells to those alone who wait for the stat:", h.last)
	}
	want := before
	want.Aversion = 1
	if s := h.stat("/n"); s != want {
		t.Fatalf("%+v, want %+v", s, want)
	}
	if acl, ok := h.tree.Freeze().ACL("/n"); !ok || !slices.Equal(acl.Entries, ann) {
		t.Fatal(acl)
	}
	one, two, none := int64(1), int64(2), int64(-1)
	for _, c := range []struct {
		op   SetACLOp
		want Code
	}{
		{SetACLOp{Aversion: &two}, ErrVersionMismatch},
		{SetACLOp{Aversion: &one, Czxid: before.Czxid + 1}, ErrETagMismatch},
		{SetACLOp{Aversion: &two, Czxid: before.Czxid}, ErrETagMismatch},
		{SetACLOp{Aversion: &one, Czxid: before.Czxid}, OK},
		{SetACLOp{Aversion: &two}, OK},
		{SetACLOp{Aversion: &none}, OK},
		{SetACLOp{}, OK},
	} {
		c.op.Path, c.op.ACL = "/n", []ACLEntry{anything(PermAll)}
		h.want(c.want, h.setACL(c.op))
	}
	if acl, ok := h.tree.Freeze().ACL("/n"); !ok || acl != nil {
		t.Fatal("the open list is stored as a list", acl)
	}
	if s := h.stat("/n"); s.Aversion != 5 {
		t.Fatal(s)
	}
	if _, ok := h.tree.Freeze().ACL("/none"); ok {
		t.Fatal("an ACL of nothing")
	}
	h.closeTo("/", ann...)
	h.guard = as("bob")
	h.want(ErrPermissionDenied, h.create(CreateOp{Path: "/x"}))
}

// TestACLOfRequest: "auth" is who asks, and lists that are equal are one.
func TestACLOfRequest(t *testing.T) {
	h := newHand(t)
	h.who = Identities{Principal: "ann"}
	mine := []ACLEntry{{SchemeAuth, "", PermAll}}
	h.ok(h.create(CreateOp{Path: "/a", ACL: mine}))
	h.ok(h.create(CreateOp{Path: "/b", ACL: onlyPrincipal("ann", PermAll)}))
	if a, b := h.tree.get("/a"), h.tree.get("/b"); a.ext != b.ext || !slices.Equal(a.acl().Entries, onlyPrincipal("ann", PermAll)) {
		t.Fatal(a.ext, b.ext)
	}
	h.who = Identities{}
	h.want(ErrInvalidACL, h.create(CreateOp{Path: "/c", ACL: mine}))
	h.want(ErrInvalidACL, h.setACL(SetACLOp{Path: "/a", ACL: mine}))
}

// TestDefaultACL: a node gets the nearest default at or above it, unless it
// brings a list of its own; the defaults go with their nodes.
func TestDefaultACL(t *testing.T) {
	h := newHand(t)
	ann, bob, own := onlyPrincipal("ann", PermAll), onlyPrincipal("bob", PermAll), onlyPrincipal("own", PermRead)
	open := []ACLEntry{anything(PermAll)}
	h.make("/a", "/a/b", "/a/b/old", "/ab")
	h.ok(h.setDefault(SetDefaultACLOp{Path: "/a", ACL: ann}))
	h.ok(h.setDefault(SetDefaultACLOp{Path: "/a/b", ACL: bob}))
	h.ok(h.create(CreateOp{Path: "/a/x/y", Parents: true}))
	h.ok(h.create(CreateOp{Path: "/a/b/x"}))
	h.ok(h.put(PutOp{Path: "/a/b/put"}))
	h.ok(h.create(CreateOp{Path: "/a/b/own/deep", ACL: own, Parents: true}))
	h.ok(h.create(CreateOp{Path: "/a/b/open", ACL: open}))
	h.make("/ab/x")
	h.ok(h.setDefault(SetDefaultACLOp{Path: "/a/b", ACL: open}))
	h.make("/a/b/later")
	for path, want := range map[string][]ACLEntry{
		"/a": open, "/a/b": open, "/a/b/old": open, "/ab/x": open,
		"/a/x": ann, "/a/x/y": ann, "/a/b/x": bob, "/a/b/put": bob,
		"/a/b/own": bob, "/a/b/own/deep": own, "/a/b/open": open, "/a/b/later": open,
	} {
		if acl, ok := h.tree.Freeze().ACL(path); !ok || !slices.Equal(acl.List(), want) {
			t.Errorf("%s: %v, want %v", path, acl.List(), want)
		}
	}
	h.ok(h.delete(DeleteOp{Path: "/a/b", Recursive: true}))
	h.make("/a/b")
	if _, _, ok := h.tree.Freeze().DefaultACL("/a/b"); ok {
		t.Fatal("a default has outlived its node")
	}
	if acl, _ := h.tree.Freeze().ACL("/a/b"); !slices.Equal(acl.List(), ann) {
		t.Fatal(acl)
	}
}

func TestDefaultACLConditions(t *testing.T) {
	h := newHand(t)
	h.make("/a")
	ann := onlyPrincipal("ann", PermAll)
	h.want(ErrETagMismatch, h.setDefault(SetDefaultACLOp{Path: "/a", ACL: ann, Present: true}))
	h.want(ErrETagMismatch, h.setDefault(SetDefaultACLOp{Path: "/a", ACL: ann, ETag: h.zxid}))
	h.ok(h.setDefault(SetDefaultACLOp{Path: "/a", ACL: ann, Absent: true}))
	h.want(ErrETagMismatch, h.setDefault(SetDefaultACLOp{Path: "/a", ACL: ann, Absent: true}))
	acl, tag, ok := h.tree.Freeze().DefaultACL("/a")
	if !ok || tag != h.zxid-1 || !slices.Equal(acl.Entries, ann) || h.last != nil {
		t.Fatal(acl, tag, ok, h.last)
	}
	h.ok(h.setDefault(SetDefaultACLOp{Path: "/a", ACL: ann, ETag: tag}))
	h.want(ErrETagMismatch, h.setDefault(SetDefaultACLOp{Path: "/a", ETag: tag}))
	h.ok(h.setDefault(SetDefaultACLOp{Path: "/a", Present: true}))
	if _, _, ok := h.tree.Freeze().DefaultACL("/a"); ok {
		t.Fatal("not removed")
	}
	h.ok(h.setDefault(SetDefaultACLOp{Path: "/a"})) // as it is
	h.want(ErrInvalidACL, h.setDefault(SetDefaultACLOp{Path: "/a", ACL: []ACLEntry{{}}}))
}

// TestEventACL: an event has the ACL that its node had, a deletion that before
// it.
func TestEventACL(t *testing.T) {
	h := newHand(t)
	ann, bob := onlyPrincipal("ann", PermAll), onlyPrincipal("bob", PermAll)
	acl := func(want []ACLEntry) {
		t.Helper()
		if e := h.last[len(h.last)-1]; !slices.Equal(e.ACL.List(), want) {
			t.Fatal(e)
		}
	}
	h.ok(h.create(CreateOp{Path: "/n", ACL: ann}))
	acl(ann)
	h.ok(h.put(PutOp{Path: "/n"}))
	acl(ann)
	h.closeTo("/n", bob...)
	h.ok(h.put(PutOp{Path: "/n"}))
	acl(bob)
	h.ok(h.delete(DeleteOp{Path: "/n"}))
	acl(bob)
	h.make("/n")
	acl([]ACLEntry{anything(PermAll)})
	if h.last[0].ACL != nil {
		t.Fatal("the open list is nil")
	}
}

// TestSequence: the name grows beyond its ten digits, and the number never
// wraps.
func TestSequence(t *testing.T) {
	h := newHand(t)
	h.make("/s")
	next := func() (string, Code) {
		var n Node
		code := h.do(func(x *Txn) (code Code) {
			n, code = h.tree.Create(x, CreateOp{Path: "/s/n-", Sequential: true})
			return code
		})
		return n.Path, code
	}
	jump := func(creates int64) {
		old := h.tree.get("/s")
		z := *old
		z.creates = creates
		h.tree.put(old, &z)
	}
	for _, c := range []struct {
		creates int64
		want    string
	}{
		{0, "/s/n-0000000000"}, {9_999_999_998, "/s/n-9999999998"}, {9_999_999_999, "/s/n-9999999999"},
		{10_000_000_000, "/s/n-10000000000"}, {1 << 40, "/s/n-1099511627776"}, {1<<62 - 2, "/s/n-4611686018427387902"},
	} {
		jump(c.creates)
		if got, code := next(); got != c.want || code != OK {
			t.Errorf("%s, %v, want %s", got, code, c.want)
		}
	}
	before := h.stat("/s")
	if before.Cversion < 0 {
		t.Fatal("the cversion has wrapped", before)
	}
	if _, code := next(); code != ErrTooLarge {
		t.Fatal(code)
	}
	h.want(ErrTooLarge, h.create(CreateOp{Path: "/s/plain"}))
	h.want(ErrTooLarge, h.put(PutOp{Path: "/s/deep/er", Parents: true}))
	if s := h.stat("/s"); s != before {
		t.Fatal(s)
	}
}
