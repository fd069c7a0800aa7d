package tree

import (
	"slices"
	"testing"
)

// TestTTL: a TTL node goes when its data has not changed for its TTL and it has
// no child; who proposed that is not believed.
func TestTTL(t *testing.T) {
	h := newHand(t)
	h.ok(h.create(CreateOp{Path: "/t", Mode: ModeTTL, TTLMs: 100}))
	if s := h.stat("/t"); s.Mode != ModeTTL || s.TTLMs != 100 || s.EphemeralOwner != 0 {
		t.Fatal(s)
	}
	due := func(want uint64) {
		t.Helper()
		if at, ok := h.tree.Freeze().NextDue(); at != want || ok != (want != 0) {
			t.Fatal(at, ok)
		}
	}
	due(1100)
	h.age = 1050
	h.ok(h.put(PutOp{Path: "/t"})) // refreshes, whoever writes
	due(1150)
	h.ok(h.put(PutOp{Path: "/t", Mode: ModeTTL, TTLMs: 200})) // and may change the TTL
	due(1250)
	h.ok(h.setACL(SetACLOp{Path: "/t", ACL: onlyPrincipal("ann", PermAll)})) // no change of data
	due(1250)
	h.ok(h.create(CreateOp{Path: "/t/child"}))
	due(0)
	h.age = 1300
	if h.reap("/t") || len(h.tree.Freeze().Due(h.age, 10)) != 0 {
		t.Fatal("a TTL node with a child was reaped")
	}
	h.ok(h.delete(DeleteOp{Path: "/t/child"}))
	due(1250)
	h.age = 1249
	if h.reap("/t") {
		t.Fatal("reaped too early")
	}
	h.age = 1250
	if !h.reap("/t") || h.has("/t") || h.reap("/t") {
		t.Fatal("not reaped")
	}
	if e := h.last; len(e) != 0 {
		t.Fatal("an event of nothing")
	}
	due(0)
}

// TestContainer: a container goes 500 ms after its last child, and never before
// it had one.
func TestContainer(t *testing.T) {
	h := newHand(t)
	h.ok(h.create(CreateOp{Path: "/c", Mode: ModeContainer}))
	h.age = 100_000
	if h.reap("/c") {
		t.Fatal("a container that was never used was reaped")
	}
	h.make("/c/a", "/c/b")
	h.ok(h.delete(DeleteOp{Path: "/c/a"}))
	h.age += 1000
	if h.reap("/c") {
		t.Fatal("a container with a child was reaped")
	}
	h.ok(h.delete(DeleteOp{Path: "/c/b"}))
	emptied := h.age
	h.make("/c/again")
	h.age += containerMs
	if h.reap("/c") || h.stat("/c").Mode != ModeContainer {
		t.Fatal("a container that is in use again was reaped")
	}
	h.ok(h.delete(DeleteOp{Path: "/c/again"}))
	if at, _ := h.tree.Freeze().NextDue(); at != emptied+2*containerMs {
		t.Fatal(at)
	}
	h.age += containerMs
	if !h.reap("/c") || h.has("/c") {
		t.Fatal("not reaped")
	}
	if len(h.last) != 1 || h.last[0].Cause != CauseContainer || h.last[0].Type != EventDeleted {
		t.Fatal(h.last)
	}
}

// TestReapCause: the cause is that of each node, and a container that loses its
// last child so is next.
func TestReapCause(t *testing.T) {
	h := newHand(t)
	h.ok(h.create(CreateOp{Path: "/c", Mode: ModeContainer}))
	h.ok(h.create(CreateOp{Path: "/c/t", Mode: ModeTTL, TTLMs: 50}))
	h.age += 50
	if !h.reap("/c/t") || h.last[0].Cause != CauseTTL {
		t.Fatal(h.last)
	}
	if got := h.tree.Freeze().Due(h.age+containerMs, 10); !slices.Equal(got, []string{"/c"}) {
		t.Fatal(got)
	}
}

// TestReapLooksAgain: the node of the name may be another one by now.
func TestReapLooksAgain(t *testing.T) {
	h := newHand(t)
	h.ok(h.create(CreateOp{Path: "/t", Mode: ModeTTL, TTLMs: 50}))
	h.age += 50
	h.ok(h.delete(DeleteOp{Path: "/t"}))
	h.make("/t")
	for _, path := range []string{"/t", "/", "/none", "no path", ""} {
		if h.reap(path) {
			t.Errorf("%q was reaped", path)
		}
	}
}

func TestDueInOrder(t *testing.T) {
	h := newHand(t)
	for _, n := range []struct {
		path string
		ttl  int64
	}{{"/b", 30}, {"/a", 30}, {"/z", 20}, {"/late", 500}} {
		h.ok(h.create(CreateOp{Path: n.path, Mode: ModeTTL, TTLMs: n.ttl}))
	}
	r := h.tree.Freeze()
	if got := r.Due(1030, 10); !slices.Equal(got, []string{"/z", "/a", "/b"}) {
		t.Fatal(got)
	}
	if got := r.Due(1030, 2); !slices.Equal(got, []string{"/z", "/a"}) {
		t.Fatal(got)
	}
	if got := r.Due(1019, 10); got != nil {
		t.Fatal(got)
	}
}

// TestModes: what a mode needs, and that a put never changes it.
func TestModes(t *testing.T) {
	h := newHand(t)
	for _, op := range []CreateOp{
		{Mode: ModeTTL}, {Mode: ModeTTL, TTLMs: 9}, {Mode: ModeTTL, TTLMs: 100_001}, {Mode: ModeTTL, TTLMs: -1},
		{TTLMs: 50}, {Mode: ModeContainer, TTLMs: 50}, {Mode: ModeEphemeral},
	} {
		op.Path = "/x"
		h.want(ErrInvalidArgument, h.create(op))
		h.want(ErrInvalidArgument, h.put(PutOp{Path: "/x", Mode: op.Mode, TTLMs: op.TTLMs}))
	}
	h.want(ErrInvalidArgument, h.put(PutOp{Path: "/x", Mode: ModeContainer}))
	h.owner = 7
	h.make("/persistent")
	h.ok(h.create(CreateOp{Path: "/ephemeral", Mode: ModeEphemeral}))
	h.ok(h.create(CreateOp{Path: "/container", Mode: ModeContainer}))
	h.ok(h.put(PutOp{Path: "/ttl", Mode: ModeTTL, TTLMs: 10}))
	modes := map[string]Mode{"/persistent": ModePersistent, "/ephemeral": ModeEphemeral, "/container": ModeContainer, "/ttl": ModeTTL}
	for path, mode := range modes {
		for _, op := range []PutOp{{}, {Mode: ModeEphemeral}, {Mode: ModeTTL, TTLMs: 10}} {
			op.Path = path
			want := OK
			if op.Mode != ModePersistent && op.Mode != mode {
				want = ErrNodeExists
			}
			h.want(want, h.put(op))
			if s := h.stat(path); s.Mode != mode {
				t.Fatal(path, s.Mode)
			}
		}
	}
	h.want(ErrNoChildrenForEphemeral, h.create(CreateOp{Path: "/ephemeral/x"}))
	h.make("/container/x", "/ttl/x")
}
