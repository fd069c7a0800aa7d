package tree

import (
	"cmp"
	"testing"
)

func (h *hand) quota(path string) Quota {
	h.t.Helper()
	q, ok := h.tree.Freeze().Quota(path)
	if !ok {
		h.t.Fatalf("no node %s", path)
	}
	return q
}

func (h *hand) holds(path string, nodes, bytes int64) {
	h.t.Helper()
	if q := h.quota(path); q.Nodes != nodes || q.Bytes != bytes {
		h.t.Fatalf("%s holds %d nodes and %d bytes, want %d and %d", path, q.Nodes, q.Bytes, nodes, bytes)
	}
}

// TestQuotaExact: a quota lets exactly as much in as it says, at its own node
// and far below, and never refuses what does not grow.
func TestQuotaExact(t *testing.T) {
	h := newHand(t)
	h.make("/q", "/q/a")
	h.ok(h.setQuota(SetQuotaOp{Path: "/q", MaxNodes: bound(4), MaxBytes: bound(10)}))
	h.holds("/q", 2, 0)
	h.want(ErrQuotaExceeded, h.create(CreateOp{Path: "/q/a/b/c/d", Parents: true})) // three more
	h.ok(h.create(CreateOp{Path: "/q/a/b/c", Parents: true, Data: []byte("12345")}))
	h.holds("/q", 4, 5)
	h.want(ErrQuotaExceeded, h.create(CreateOp{Path: "/q/x"}))
	h.want(ErrQuotaExceeded, h.create(CreateOp{Path: "/q/x", Sequential: true}))
	h.want(ErrQuotaExceeded, h.put(PutOp{Path: "/q/x"}))
	h.make("/beside", "/qq")
	h.ok(h.put(PutOp{Path: "/q/a/b/c", Data: make([]byte, 10)}))
	h.want(ErrQuotaExceeded, h.put(PutOp{Path: "/q/a/b/c", Data: make([]byte, 11)}))
	h.want(ErrQuotaExceeded, h.put(PutOp{Path: "/q", Data: make([]byte, 1)}))
	h.ok(h.put(PutOp{Path: "/q/a/b/c", Data: make([]byte, 9)}))
	h.ok(h.put(PutOp{Path: "/q", Data: make([]byte, 1)}))
	h.holds("/q", 4, 10)
	h.ok(h.delete(DeleteOp{Path: "/q/a", Recursive: true}))
	h.holds("/q", 1, 1)
}

// TestOverrun: a refusal tells which quota it was, the nearest first.
func TestOverrun(t *testing.T) {
	h := newHand(t)
	h.make("/q", "/q/a")
	h.ok(h.setQuota(SetQuotaOp{Path: "/q", MaxNodes: bound(3), MaxBytes: bound(10)}))
	h.ok(h.setQuota(SetQuotaOp{Path: "/q/a", MaxBytes: bound(4)}))
	for op, want := range map[*CreateOp]Overrun{
		{Path: "/q/a/b/c", Parents: true}:            {Path: "/q", Limit: 3},
		{Path: "/q/a/b", Data: make([]byte, 5)}:      {Path: "/q/a", Bytes: true, Limit: 4},
		{Path: "/q/a/b", Data: make([]byte, 11)}:     {Path: "/q/a", Bytes: true, Limit: 4},
		{Path: "/q/b", Data: make([]byte, 11)}:       {Path: "/q", Bytes: true, Limit: 10},
		{Path: "/q/a/b", Data: make([]byte, 4)}:      {},
		{Path: "/beside", Data: make([]byte, 1_000)}: {},
	} {
		var met Overrun
		h.do(func(x *Txn) Code {
			_, code := h.tree.Create(x, *op)
			met = x.Overrun
			return cmp.Or(code, ErrInternal) // nothing stays
		})
		if met != want {
			t.Errorf("%+v meets %+v, want %+v", op, met, want)
		}
	}
}

// TestQuotaBelowUse: bounds below what is there are allowed, and then nothing
// grows.
func TestQuotaBelowUse(t *testing.T) {
	h := newHand(t)
	h.make("/q", "/q/a", "/q/b")
	h.ok(h.put(PutOp{Path: "/q/a", Data: make([]byte, 100)}))
	h.ok(h.setQuota(SetQuotaOp{Path: "/q", MaxNodes: bound(1), MaxBytes: bound(0)}))
	h.want(ErrQuotaExceeded, h.create(CreateOp{Path: "/q/c"}))
	h.want(ErrQuotaExceeded, h.put(PutOp{Path: "/q/b", Data: make([]byte, 1)}))
	h.ok(h.put(PutOp{Path: "/q/a", Data: make([]byte, 100)}))
	h.ok(h.put(PutOp{Path: "/q/a", Data: make([]byte, 99)}))
	h.ok(h.delete(DeleteOp{Path: "/q/b"}))
	h.holds("/q", 2, 99)
	h.ok(h.setQuota(SetQuotaOp{Path: "/q", MaxNodes: bound(3)}))
	if q := h.quota("/q"); q.MaxBytes != nil || *q.MaxNodes != 3 || q.Nodes != 2 || q.Bytes != 99 {
		t.Fatal(q)
	}
	h.ok(h.put(PutOp{Path: "/q/a", Data: make([]byte, 1000)}))
}

// TestQuotaNested: all that lie above a node count it, and the narrowest
// decides.
func TestQuotaNested(t *testing.T) {
	h := newHand(t)
	h.make("/a", "/a/b", "/a/b/c")
	h.ok(h.setQuota(SetQuotaOp{Path: "/", MaxNodes: bound(7)}))
	h.ok(h.setQuota(SetQuotaOp{Path: "/a", MaxNodes: bound(4)}))
	h.ok(h.setQuota(SetQuotaOp{Path: "/a/b/c", MaxNodes: bound(10), MaxBytes: bound(5)}))
	h.holds("/", 4, 0)
	h.ok(h.put(PutOp{Path: "/a/b/c/d", Data: make([]byte, 5)}))
	h.want(ErrQuotaExceeded, h.put(PutOp{Path: "/a/b/c/d", Data: make([]byte, 6)}))
	h.want(ErrQuotaExceeded, h.create(CreateOp{Path: "/a/b/c/e"})) // by /a
	h.make("/x", "/y")
	h.want(ErrQuotaExceeded, h.create(CreateOp{Path: "/z"})) // by the root
	h.holds("/", 7, 5)
	h.holds("/a", 4, 5)
	h.holds("/a/b/c", 2, 5)
	h.holds("/a/b", 3, 5) // no quota: counted
	h.ok(h.delete(DeleteOp{Path: "/a/b", Recursive: true}))
	h.holds("/a", 1, 0)
	h.make("/a/b", "/a/b/c")
	if q := h.quota("/a/b/c"); q.MaxNodes != nil || q.MaxBytes != nil {
		t.Fatal("a quota has outlived its node", q)
	}
	h.ok(h.put(PutOp{Path: "/a/b/c", Data: make([]byte, 6)}))
}

// TestQuotaOfEphemerals: what ends with a session or a time makes room.
func TestQuotaOfEphemerals(t *testing.T) {
	h := newHand(t)
	h.make("/q")
	h.ok(h.setQuota(SetQuotaOp{Path: "/q", MaxNodes: bound(2), MaxBytes: bound(3)}))
	h.owner = 5
	h.ok(h.put(PutOp{Path: "/q/e", Mode: ModeEphemeral, Data: make([]byte, 3)}))
	h.owner = 6
	h.want(ErrQuotaExceeded, h.put(PutOp{Path: "/q/e", Mode: ModeEphemeral, Takeover: true, Data: make([]byte, 4)}))
	h.ok(h.put(PutOp{Path: "/q/e", Mode: ModeEphemeral, Takeover: true, Data: make([]byte, 2)}))
	h.holds("/q", 2, 2)
	h.ok(h.do(func(x *Txn) Code { h.tree.DropOwned(x, 6); return OK }))
	h.holds("/q", 1, 0)
	h.ok(h.put(PutOp{Path: "/q/t", Mode: ModeTTL, TTLMs: 10}))
	h.age += 10
	h.reap("/q/t")
	h.holds("/q", 1, 0)
}

// TestQuotaInOneTransaction: later operations see what earlier ones took.
func TestQuotaInOneTransaction(t *testing.T) {
	h := newHand(t)
	h.make("/q", "/q/a")
	h.ok(h.setQuota(SetQuotaOp{Path: "/q", MaxNodes: bound(3)}))
	before := h.tree.Sum()
	h.want(ErrQuotaExceeded, h.do(func(x *Txn) Code {
		if _, code := h.tree.Create(x, CreateOp{Path: "/q/b"}); code != OK {
			return code
		}
		_, code := h.tree.Create(x, CreateOp{Path: "/q/c"})
		return code
	}))
	if h.tree.Sum() != before {
		t.Fatal("a refused transaction has left something")
	}
	h.holds("/q", 2, 0)
	h.ok(h.do(func(x *Txn) Code {
		if code := h.tree.Delete(x, DeleteOp{Path: "/q/a"}); code != OK {
			return code
		}
		if _, code := h.tree.Create(x, CreateOp{Path: "/q/b"}); code != OK {
			return code
		}
		_, code := h.tree.Create(x, CreateOp{Path: "/q/c"})
		return code
	}))
	h.holds("/q", 3, 0)
}

func TestQuotaArguments(t *testing.T) {
	h := newHand(t)
	h.make("/q")
	for _, c := range []struct {
		op   SetQuotaOp
		code Code
	}{
		{SetQuotaOp{Path: "/q"}, ErrInvalidArgument},
		{SetQuotaOp{Path: "/q", MaxNodes: bound(-1)}, ErrInvalidArgument},
		{SetQuotaOp{Path: "/q", MaxNodes: bound(1), MaxBytes: bound(-1)}, ErrInvalidArgument},
		{SetQuotaOp{Path: "/q", MaxNodes: bound(1), Remove: true}, ErrInvalidArgument},
		{SetQuotaOp{Path: "/none", MaxNodes: bound(1)}, ErrNoNode},
		{SetQuotaOp{Path: "/none", Remove: true}, ErrNoNode},
		{SetQuotaOp{Path: "q", MaxNodes: bound(1)}, ErrInvalidPath},
		{SetQuotaOp{Path: "/perch", MaxNodes: bound(1)}, ErrReservedPath},
		{SetQuotaOp{Path: "/q", Remove: true}, OK},
		{SetQuotaOp{Path: "/q", MaxNodes: bound(0)}, OK},
		{SetQuotaOp{Path: "/q", Remove: true}, OK},
	} {
		h.want(c.code, h.setQuota(c.op))
	}
	h.make("/q/free")
	if h.last == nil {
		t.Fatal("no event")
	}
}

// TestUsageOfCreators: who has made a node answers for it until somebody takes
// it over.
func TestUsageOfCreators(t *testing.T) {
	h := newHand(t)
	h.limits.CreatorNodes, h.limits.CreatorBytes = 3, 10
	h.by, h.owner = "ann", 5
	h.ok(h.create(CreateOp{Path: "/a/b", Parents: true, Data: make([]byte, 4)}))
	h.want(ErrTooManyNodes, h.create(CreateOp{Path: "/a/c/d", Parents: true}))
	h.want(ErrTooManyNodes, h.create(CreateOp{Path: "/a/c", Data: make([]byte, 7)}))
	h.ok(h.put(PutOp{Path: "/e", Mode: ModeEphemeral, Data: make([]byte, 6)}))
	h.want(ErrTooManyNodes, h.put(PutOp{Path: "/a/c"}))
	h.want(ErrTooManyNodes, h.put(PutOp{Path: "/e", Data: make([]byte, 7)}))
	h.by, h.owner = "bob", 6
	h.want(ErrTooManyNodes, h.put(PutOp{Path: "/a/b", Data: make([]byte, 5)})) // at ann's expense
	h.ok(h.put(PutOp{Path: "/b", Data: make([]byte, 5)}))
	h.want(ErrTooManyNodes, h.put(PutOp{Path: "/e", Mode: ModeEphemeral, Takeover: true, Data: make([]byte, 6)}))
	h.ok(h.put(PutOp{Path: "/e", Mode: ModeEphemeral, Takeover: true, Data: make([]byte, 5)}))
	usage := func(who string, nodes, bytes int64) {
		t.Helper()
		if u, _ := h.tree.usages.Get(usage{creator: who}); u.nodes != nodes || u.bytes != bytes {
			t.Fatal(u)
		}
	}
	usage("ann", 2, 4)
	usage("bob", 2, 10)
	h.ok(h.delete(DeleteOp{Path: "/a", Recursive: true}))
	usage("ann", 0, 0)
	if h.tree.usages.Len() != 1 {
		t.Fatal("a usage of nothing")
	}
	h.by = ""
	h.make("/nobody")
	if z := h.tree.get("/nobody"); z.ext != nil {
		t.Fatal("an ordinary node with an ext")
	}
}
