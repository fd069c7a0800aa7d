package lease

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/tree"
)

// as has a principal ask for c, which is of heldLevel.
func as(name string, c *commandpb.Command) *commandpb.Command {
	c = held(c)
	c.Caller = named(name)
	return c
}

// newRootedBench has tenants with roots, one below another, and others without.
func newRootedBench(t testing.TB) *bench {
	b := newHeldBench(t)
	b.must(enabling("root"))
	all := granting("/", PermAll&^PermCluster)
	for name, top := range map[string]string{"acme": "/acme", "org": "/org", "inner": "/org/in"} {
		b.must(as("root", putPrincipal(&commandpb.PutPrincipal{Name: name, Root: top, Grants: all})))
	}
	b.must(as("root", putPrincipal(&commandpb.PutPrincipal{Name: "writer", Grants: all})))
	b.must(as("root", putPrincipal(&commandpb.PutPrincipal{Name: "reader", Grants: granting("/", PermRead)})))
	return b
}

// What primitives keep below a root is reserved for everybody, as it is for the
// one whose root it is (API.md rule 20).
func TestReservedBelowRoots(t *testing.T) {
	b := newRootedBench(t)
	b.must(as("acme", addCounter("c", 5)))
	b.must(as("inner", addCounter("c", 5)))
	open := []*commandpb.AclEntry{{Scheme: "world", Id: "anyone", Perms: 31}}
	writes := func(top string) []*commandpb.Command {
		return []*commandpb.Command{
			put(&commandpb.Put{Path: top + "/perch/locks/sv", Parents: true}),
			put(&commandpb.Put{Path: top + "/perch/counters/c", Data: []byte("7")}),
			put(&commandpb.Put{Path: top + "/perch", Mode: ephemeral}),
			create(&commandpb.Create{Path: top + "/perch"}),
			create(&commandpb.Create{Path: top + "/perch/x"}),
			create(&commandpb.Create{Path: top + "/perch/", Sequential: true}),
			create(&commandpb.Create{Path: top + "/perch/x", Sequential: true}),
			del(&commandpb.Delete{Path: top + "/perch", Recursive: true}),
			del(&commandpb.Delete{Path: top + "/perch/counters/c"}),
			setACL(&commandpb.SetAcl{Path: top + "/perch", Acl: open}),
			setDefaultACL(&commandpb.SetDefaultAcl{Path: top + "/perch/counters", Acl: open}),
			multi(opPut(&commandpb.Put{Path: top + "/perch/x"})),
			multi(opCreate(&commandpb.Create{Path: top + "/perch/x"})),
			multi(opDelete(&commandpb.Delete{Path: top + "/perch/counters/c"})),
		}
	}
	check := func() {
		t.Helper()
		for who, top := range map[string]string{"root": "/acme", "writer": "/acme", "acme": "", "org": "/in", "inner": ""} {
			for _, c := range writes(top) {
				b.refused(tree.ErrReservedPath, as(who, c))
			}
		}
		for _, c := range writes("/acme") { // who may not write learns of no root
			if c.GetPut().GetMode() != ephemeral {
				b.refused(tree.ErrPermissionDenied, as("reader", c))
			}
		}
	}
	check()
	b.restart()
	check()
	for _, c := range []*commandpb.Command{
		put(&commandpb.Put{Path: "/acme/perchance"}),
		create(&commandpb.Create{Path: "/acme/perch", Sequential: true}),
		put(&commandpb.Put{Path: "/acme/x/perch/y", Parents: true}),
		put(&commandpb.Put{Path: "/other/perch/y", Parents: true}),
		setQuota(&commandpb.SetQuota{Path: "/acme/perch", MaxNodes: proto.Int64(9)}),
	} {
		b.must(as("root", c))
	}
	b.must(as("root", deletePrincipal(&commandpb.DeletePrincipal{Name: "acme"})))
	b.must(as("root", put(&commandpb.Put{Path: "/acme/perch/counters/c"})))
}

// Before heldLevel nothing but a caller's own subtree is reserved.
func TestReservedByLevel(t *testing.T) {
	b := twoTenants(t)
	b.must(by(root, put(&commandpb.Put{Path: "/t/a/perch/x", Parents: true})))
	b.must(by(root, setACL(&commandpb.SetAcl{Path: "/t/a/perch", Acl: []*commandpb.AclEntry{{Scheme: "world", Id: "anyone", Perms: 31}}})))
	b.principal("c", "/t/a/perch/x")
	b.must(by(root, del(&commandpb.Delete{Path: "/t/a/perch", Recursive: true})))
	b.must(raise(heldLevel))
	b.refused(tree.ErrReservedPath, by(root, put(&commandpb.Put{Path: "/t/a/perch/x", Parents: true})))
	b.principal("c", "/t/c")
	b.refused(tree.ErrReservedPath, by(root, putPrincipal(&commandpb.PutPrincipal{Name: "c", Root: "/t/a/perch/x"})))
}

// No principal has a root where another one's primitives are, whichever is first.
func TestRootsApart(t *testing.T) {
	b := newRootedBench(t)
	for _, top := range []string{"/acme/perch", "/acme/perch/x", "/org/in/perch/y"} {
		b.refused(tree.ErrReservedPath, as("root", putPrincipal(&commandpb.PutPrincipal{Name: "new", Root: top})))
	}
	for _, top := range []string{"/acme", "/acme/perchance", "/n/perch/deep"} {
		b.must(as("root", putPrincipal(&commandpb.PutPrincipal{Name: "new", Root: top})))
	}
	b.refused(tree.ErrReservedPath, as("root", putPrincipal(&commandpb.PutPrincipal{Name: "above", Root: "/n"})))
	b.must(as("root", putPrincipal(&commandpb.PutPrincipal{Name: "above", Root: "/n/per"})))
	b.must(as("root", putPrincipal(&commandpb.PutPrincipal{Name: "new", Root: "/n"})))
	b.restart()
	b.refused(tree.ErrReservedPath, as("root", put(&commandpb.Put{Path: "/n/perch/deep"})))
}

// needNode are the operations that make something to show.
func needNode() []*commandpb.Command {
	waits := claim("q", 1, 10_000, true)
	return []*commandpb.Command{
		addCounter("c", 1), held(multi(opAdd("c", 1))),
		held(&commandpb.Command{Op: &commandpb.Command_SetCounter{SetCounter: &commandpb.SetCounter{Name: "c", Value: 1}}}),
		lock("l", "l", false), lock("l", "l", true), lockShared("l", "l", false), lockSet("l", true, "k", "l"),
		semaphore("l", "s", 1, 2, false), campaign("l", "e", "v", false), beginRun("l", "o", &commandpb.Run{Key: "k"}, false),
		enqueue("q", "data", 0, 0), configureQueue("q", 3, ""), waits, with(anybody(), enter("b", 2)), closeBarrier("b"),
	}
}

// Nothing is made below what ends by itself.
func TestNothingBelowWhatEnds(t *testing.T) {
	modes := map[string]func(path string) *commandpb.Command{
		"ephemeral": func(path string) *commandpb.Command {
			return with(opening(byToken("s"), ttl), put(&commandpb.Put{Path: path, Mode: ephemeral, Parents: true}))
		},
		"ttl": func(path string) *commandpb.Command {
			return put(&commandpb.Put{Path: path, Mode: commandpb.Mode_MODE_TTL, TtlMs: ttl, Parents: true})
		},
		"container": func(path string) *commandpb.Command {
			return create(&commandpb.Create{Path: path, Mode: commandpb.Mode_MODE_CONTAINER, Parents: true})
		},
	}
	for mode, makes := range modes {
		for _, path := range []string{"/delta", "/delta/perch"} {
			t.Run(mode+path, func(t *testing.T) {
				b := newRootedBench(t)
				b.must(as("root", makes(path)))
				b.must(as("root", putPrincipal(&commandpb.PutPrincipal{Name: "delta", Root: "/delta", Grants: granting("/", PermAll&^PermCluster)})))
				for _, c := range needNode() {
					b.refused(tree.ErrNoChildrenForEphemeral, as("delta", c))
				}
				b.must(as("delta", claim("q", 1, 10_000, false)))
				b.restart()
			})
		}
	}
	b := newRootedBench(t)
	b.must(as("root", modes["ephemeral"]("/delta/perch")))
	b.must(as("root", putPrincipal(&commandpb.PutPrincipal{Name: "delta", Root: "/delta", Grants: granting("/", PermAll&^PermCluster)})))
	b.refused(tree.ErrReservedPath, as("root", modes["ephemeral"]("/delta/perch/counters")))
	b.must(as("root", with(byToken("s"), closeSession(0))))
	for _, c := range needNode()[:4] {
		b.must(as("delta", c))
	}
	b.restart()
	// Where the root is gone there is no place either.
	b = newRootedBench(t)
	b.must(as("root", del(&commandpb.Delete{Path: "/acme"})))
	for _, c := range needNode() {
		b.refused(tree.ErrNoParent, as("acme", c))
	}
}

// A root cannot be deleted from under what is held, queued or remembered below
// it; when that has ended, it can.
func TestNothingOutlivesItsRoot(t *testing.T) {
	type steps []*commandpb.Command
	tests := map[string]struct {
		with, end steps
		stays     bool // without its principal
	}{
		"lock": {with: steps{lock("h", "l", false)}, end: steps{unlock("h", "l")}},
		"kept place": {
			with: steps{lock("h", "l", false), staying(300_000, lock("w", "l", false)), unlock("h", "l")},
			end:  steps{unlock("w", "l")},
		},
		"run": {
			with: steps{beginRun("h", "job", &commandpb.Run{Key: "k"}, false), completing("h", &commandpb.Complete{Name: "job"})},
			end:  steps{forgetting("job", "")}, stays: true,
		},
		"queue":   {with: steps{enqueue("q", "m", 0, 0)}, end: steps{deleteQueue("q", true)}, stays: true},
		"claim":   {with: steps{claim("q", 1, 10_000, true)}, end: steps{withdrawing(&commandpb.Withdraw{Epoch: 1, Homes: []*commandpb.Home{{Node: 2, Instance: 7}}})}, stays: true},
		"closed":  {with: steps{closeBarrier("b")}, end: steps{openBarrier("b")}, stays: true},
		"entered": {with: steps{with(taker("h"), enter("b", 2))}, end: steps{with(byToken("h"), depart("b", false))}},
		"inside": {
			with: steps{with(taker("h"), enter("b", 1)), with(taker("i"), enter("b", 1)), with(byToken("i"), depart("b", false))},
			end:  steps{with(byToken("h"), depart("b", false))},
		},
		"counter": {with: steps{addCounter("c", 4)}},
	}
	away := func() *commandpb.Command { return as("root", del(&commandpb.Delete{Path: "/x/eps", Recursive: true})) }
	for name, c := range tests {
		for _, gone := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				b := newRootedBench(t)
				admit := as("root", putPrincipal(&commandpb.PutPrincipal{Name: "eps", Root: "/x/eps", Grants: granting("/", PermAll&^PermCluster)}))
				b.must(admit)
				b.must(as("root", put(&commandpb.Put{Path: "/x/eps-2"})))
				for _, one := range c.with {
					b.apply(as("eps", proto.Clone(one).(*commandpb.Command)))
				}
				if gone {
					b.must(as("root", deletePrincipal(&commandpb.DeletePrincipal{Name: "eps"})))
				}
				b.restart()
				if c.end != nil && (!gone || c.stays) {
					b.refused(tree.ErrReservedPath, away())
					b.refused(tree.ErrReservedPath, as("root", multi(opDelete(&commandpb.Delete{Path: "/x", Recursive: true}))))
					b.refused(tree.ErrReservedPath, as("root", put(&commandpb.Put{Path: "/x/eps/perch/queues/q", Parents: true})))
					b.must(as("root", del(&commandpb.Delete{Path: "/x/eps-2"})))
					b.must(proto.Clone(admit).(*commandpb.Command))
					for _, one := range c.end {
						if one.GetWithdraw() == nil {
							one = as("eps", proto.Clone(one).(*commandpb.Command))
						}
						b.must(one)
					}
				}
				b.must(away())
				if n := b.s.things.Len() + b.s.queues.Len() + b.s.barriers.Len() + b.s.waiters.Len() + b.s.entries.Len(); n != 0 {
					t.Errorf("%d records are left", n)
				}
				b.restart()
			})
		}
	}
}

// Who gets a root again finds there what was left, wherever he looks.
func TestRootGivenAgain(t *testing.T) {
	b := newRootedBench(t)
	b.must(as("acme", enqueue("q", "m", 0, 0)))
	b.must(as("root", deletePrincipal(&commandpb.DeletePrincipal{Name: "acme"})))
	for _, c := range []*commandpb.Command{
		del(&commandpb.Delete{Path: "/acme/perch/queues/q"}), del(&commandpb.Delete{Path: "/acme", Recursive: true}),
		put(&commandpb.Put{Path: "/acme/perch/queues/q"}), put(&commandpb.Put{Path: "/acme/perch/locks", Mode: ephemeral}),
	} {
		b.refused(tree.ErrReservedPath, as("root", c))
	}
	b.must(as("root", putPrincipal(&commandpb.PutPrincipal{Name: "next", Root: "/acme", Grants: granting("/", PermAll&^PermCluster)})))
	names, err := b.read(named("next"), Read{Kind: ReadNames, Of: commandpb.Kind_KIND_QUEUE, Limit: 9})
	if err != nil || len(names.Names) != 1 {
		t.Error(names.Names, err)
	}
	if q, err := b.read(named("next"), Read{Kind: ReadQueue, Name: "q"}); err != nil || q.Queue.Ready != 1 {
		t.Error(q.Queue, err)
	}
}

// A run of a name like that of the subtree is shown as others are.
func TestRunOfReservedName(t *testing.T) {
	b := newHeldBench(t)
	b.holds(beginRun("h", "perch", &commandpb.Run{Key: "perch"}, false))
	if s := b.state(kindOnce, "perch", "perch"); s.Name != "perch" || s.Run.Key != "perch" || s.Held != 1 {
		t.Errorf("%+v", s)
	}
	if s := b.state(kindOnce, "perch", "never"); s.Kind != kindOnce || s.Name != "perch" || s.Run.Key != "never" {
		t.Errorf("%+v", s)
	}
	for _, path := range []string{"/perch/once/perch", "/perch/once/perch/perch"} {
		if !b.has(path) {
			t.Errorf("no node %s", path)
		}
	}
}
