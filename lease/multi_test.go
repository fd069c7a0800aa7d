package lease

import (
	"fmt"
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/tree"
)

func TestMultiIsOneTransaction(t *testing.T) {
	b := newAccessBench(t, DefaultSettings())
	b.must(put(&commandpb.Put{Path: "/a", Data: []byte("old")}))
	r, events := b.apply(by(nil, multi(
		opCheck(&commandpb.Check{Path: "/a", Condition: ifVersion(0)}),
		opCheck(&commandpb.Check{Path: "/q", Condition: ifAbsent()}),
		opPut(&commandpb.Put{Path: "/a", Data: []byte("new")}),
		opGet("/a"),
		opCreate(&commandpb.Create{Path: "/q"}),
		opCreate(&commandpb.Create{Path: "/q/n-", Sequential: true}),
		opPut(&commandpb.Put{Path: "/a", Data: []byte("newer"), Condition: ifVersion(1)}),
		opDelete(&commandpb.Delete{Path: "/q", Recursive: true}),
	)))
	if r.Code != tree.OK || r.Failed != -1 || len(r.Ops) != 8 || len(events) != 6 {
		t.Fatalf("%+v, %d events", r, len(events))
	}
	if got := r.Ops[3].Node; string(got.Data) != "new" || got.Stat.Version != 1 || got.Stat.Mzxid != r.Zxid {
		t.Errorf("the get: %+v", got)
	}
	if r.Ops[5].Path != "/q/n-0000000000" || !r.Ops[5].Created || r.Ops[2].Created || b.has("/q") {
		t.Errorf("%+v", r.Ops)
	}
	for i, tagged := range []bool{false, false, false, false, false, true, true, true} {
		if r.Ops[i].Tagged != tagged {
			t.Errorf("operation %d: tagged %v", i, r.Ops[i].Tagged)
		}
	}
}

// The first operation that is refused is named, and nothing is left of any.
func TestMultiRefused(t *testing.T) {
	b := newAccessBench(t, small())
	b.must(put(&commandpb.Put{Path: "/a", Data: []byte("1")}))
	fine := func() *commandpb.Op { return opPut(&commandpb.Put{Path: "/a", Data: []byte("2")}) }
	many := make([]*commandpb.Op, multiOps+1)
	for i := range many {
		many[i] = opGet("/a")
	}
	sixNodes := []*commandpb.Op{}
	for i := range 6 {
		sixNodes = append(sixNodes, opCreate(&commandpb.Create{Path: fmt.Sprintf("/n%d", i)}))
	}
	for _, c := range []struct {
		want   tree.Code
		failed int
		cmd    *commandpb.Command
	}{
		{tree.ErrInvalidArgument, -1, multi()},
		{tree.ErrInvalidArgument, -1, multi(many...)},
		{tree.ErrInvalidArgument, 1, multi(fine(), &commandpb.Op{})},
		{tree.ErrInvalidArgument, 1, multi(fine(), opCheck(&commandpb.Check{Path: "/a", Condition: &commandpb.Condition{When: &commandpb.Condition_IfAbsent{}}}))},
		{tree.ErrNoNode, 1, multi(fine(), opGet("/none"))},
		{tree.ErrNoNode, 1, multi(fine(), opCheck(&commandpb.Check{Path: "/none"}))},
		{tree.ErrNoNode, 1, multi(fine(), opPut(&commandpb.Put{Path: "/none", Existing: true}))},
		{tree.ErrVersionMismatch, 2, multi(fine(), fine(), opCheck(&commandpb.Check{Path: "/a", Condition: ifVersion(1)}))},
		{tree.ErrNodeExists, 0, multi(opCreate(&commandpb.Create{Path: "/a"}), fine())},
		{tree.ErrReservedPath, 1, multi(fine(), opCreate(&commandpb.Create{Path: "/perch"}))},
		{tree.ErrTooLarge, 5, multi(sixNodes...)},
		{tree.ErrSessionExpired, -1, with(byToken("never"), multi(fine()))},
		{tree.ErrInvalidArgument, 0, multi(opCreate(&commandpb.Create{Path: "/e", Mode: ephemeral}))},
	} {
		if r := b.refused(c.want, by(nil, c.cmd)); r.Failed != c.failed || r.Ops != nil {
			t.Errorf("%v: failed %d, %d results", c.want, r.Failed, len(r.Ops))
		}
	}
	if r := b.refused(tree.ErrNodeExists, by(nil, multi(fine(), opCreate(&commandpb.Create{Path: "/a"})))); r.Node.Path != "/a" || r.Node.Stat.Version != 1 {
		t.Errorf("the holder: %+v", r.Node)
	}
}

func TestMultiBoundsItsAnswer(t *testing.T) {
	b := newAccessBench(t, DefaultSettings())
	b.must(put(&commandpb.Put{Path: "/a", Data: []byte(strings.Repeat("x", 600<<10))}))
	b.must(by(nil, multi(opGet("/a"))))
	if r := b.refused(tree.ErrTooLarge, by(nil, multi(opGet("/a"), opGet("/a")))); r.Failed != 1 {
		t.Error(r.Failed)
	}
	a, err := b.read(nil, Read{Kind: ReadMulti, Ops: []*commandpb.Op{opGet("/a"), opGet("/a")}})
	if err != nil || a.Ops[0].Code != tree.OK || a.Ops[1].Code != tree.ErrTooLarge || a.Ops[1].Node.Data != nil {
		t.Error(a.Ops, err)
	}
}

// Every part of a multi is checked like an operation of its own.
func TestMultiAsksForEveryPart(t *testing.T) {
	b := newPolicyBench(t)
	b.principal("a", "", granting("/a", PermRead|PermWrite)[0])
	b.must(by(root, create(&commandpb.Create{Path: "/a"})))
	b.must(by(root, create(&commandpb.Create{Path: "/b"})))
	for _, op := range []*commandpb.Op{
		opCreate(&commandpb.Create{Path: "/a/x"}), opPut(&commandpb.Put{Path: "/b"}), opDelete(&commandpb.Delete{Path: "/a"}),
		opCheck(&commandpb.Check{Path: "/b"}), opGet("/b"), opGet("/none"), opCheck(&commandpb.Check{Path: "/none", Condition: ifAbsent()}),
	} {
		r := b.refused(tree.ErrPermissionDenied, by(named("a"), multi(opPut(&commandpb.Put{Path: "/a"}), op)))
		if r.Failed != 1 {
			t.Errorf("%v: failed %d", op, r.Failed)
		}
	}
}

// What a read-only multi finds is each operation's own outcome.
func TestReadOnlyMulti(t *testing.T) {
	b := newPolicyBench(t)
	b.principal("a", "", granting("/a", PermRead)[0])
	b.must(by(root, put(&commandpb.Put{Path: "/a", Data: []byte("x")})))
	a, err := b.read(named("a"), Read{Kind: ReadMulti, Ops: []*commandpb.Op{
		opGet("/a"), opGet("/a/none"), opGet("/b"), opCheck(&commandpb.Check{Path: "/a", Condition: ifVersion(7)}),
		opCheck(&commandpb.Check{Path: "/a/none", Condition: ifAbsent()}), opPut(&commandpb.Put{Path: "/a"}),
	}})
	if err != nil || len(a.Ops) != 6 || string(a.Ops[0].Node.Data) != "x" || a.Zxid != b.zxid {
		t.Fatal(a, err)
	}
	for i, want := range []tree.Code{
		tree.OK, tree.ErrNoNode, tree.ErrPermissionDenied, tree.ErrVersionMismatch, tree.OK, tree.ErrInvalidArgument,
	} {
		if a.Ops[i].Code != want {
			t.Errorf("operation %d: %v, want %v", i, a.Ops[i].Code, want)
		}
	}
	if _, err := b.read(root, Read{Kind: ReadMulti}); codeOf(err) != tree.ErrInvalidArgument {
		t.Error(err)
	}
}
