package lease

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// twoTenants has principals a and b, each with a root of its own.
func twoTenants(t testing.TB) *bench {
	b := newPolicyBench(t)
	for _, name := range []string{"a", "b"} {
		b.principal(name, "/t/"+name, granting("/", PermAll&^PermCluster)[0])
	}
	return b
}

// A tenant has a tree of its own, from the root on, and nothing that he names is
// outside of it.
func TestTenantHasATreeOfItsOwn(t *testing.T) {
	b := twoTenants(t)
	a := named("a")
	if r := b.must(by(a, create(&commandpb.Create{Path: "/x/y", Parents: true, Data: []byte("1")}))); r.Node.Path != "/x/y" || !b.has("/t/a/x/y") {
		t.Fatal(r.Node.Path)
	}
	if r := b.must(by(a, create(&commandpb.Create{Path: "/", Sequential: true}))); r.Node.Path != "/0000000001" || !b.has("/t/a/0000000001") {
		t.Fatal(r.Node.Path)
	}
	if r := b.must(by(a, create(&commandpb.Create{Path: "/perch", Sequential: true}))); r.Node.Path != "/perch0000000002" {
		t.Fatal(r.Node.Path)
	}
	if r := b.refused(tree.ErrNodeExists, by(a, create(&commandpb.Create{Path: "/x"}))); r.Node.Path != "/x" {
		t.Fatal(r.Node.Path)
	}
	for _, c := range []struct {
		want tree.Code
		cmd  *commandpb.Command
	}{
		{tree.ErrInvalidPath, create(&commandpb.Create{Path: "b/x"})},
		{tree.ErrInvalidPath, create(&commandpb.Create{Path: "b/x", Sequential: true})},
		{tree.ErrInvalidPath, create(&commandpb.Create{Path: ""})},
		{tree.ErrInvalidPath, create(&commandpb.Create{Path: "/../b/x"})},
		{tree.ErrInvalidPath, put(&commandpb.Put{Path: "../b"})},
		{tree.ErrInvalidArgument, create(&commandpb.Create{Path: "/"})},
		{tree.ErrInvalidArgument, del(&commandpb.Delete{Path: "/"})},
		{tree.ErrInvalidArgument, del(&commandpb.Delete{Path: "/", Recursive: true})},
		{tree.ErrReservedPath, create(&commandpb.Create{Path: "/perch"})},
		{tree.ErrReservedPath, put(&commandpb.Put{Path: "/perch/x"})},
		{tree.ErrReservedPath, create(&commandpb.Create{Path: "/perch/", Sequential: true})},
		{tree.ErrReservedPath, del(&commandpb.Delete{Path: "/perch/x"})},
		{tree.ErrReservedPath, setACL(&commandpb.SetAcl{Path: "/perch"})},
		{tree.ErrNoNode, del(&commandpb.Delete{Path: "/t/b"})},
		{tree.ErrPermissionDenied, setQuota(&commandpb.SetQuota{Path: "/", MaxNodes: proto.Int64(5)})},
	} {
		b.refused(c.want, by(a, c.cmd))
	}
	b.must(by(a, put(&commandpb.Put{Path: "/", Data: []byte("mine")})))
	b.must(by(a, setQuota(&commandpb.SetQuota{Path: "/x", MaxNodes: proto.Int64(5)})))
	b.must(by(a, setACL(&commandpb.SetAcl{Path: "/x", Acl: []*commandpb.AclEntry{{Scheme: "auth", Perms: 31}}})))
	if r := b.must(by(a, multi(opPut(&commandpb.Put{Path: "/x/y"}), opGet("/x"), opDelete(&commandpb.Delete{Path: "/x/y"})))); r.Ops[0].Node.Path != "/x/y" || r.Ops[1].Node.Path != "/x" {
		t.Errorf("%+v", r.Ops)
	}
	for _, kind := range []ReadKind{ReadChildren, ReadTree} {
		got, err := b.read(a, Read{Kind: kind, Path: "/", Limit: 9})
		if err != nil || got.Node.Path != "/" || got.Children[len(got.Children)-1].Path != "/x" {
			t.Errorf("kind %d: %+v, %v", kind, got, err)
		}
	}
}

// A root that was deleted is not made again from below.
func TestRootThatIsGone(t *testing.T) {
	b := twoTenants(t)
	b.must(by(root, del(&commandpb.Delete{Path: "/t", Recursive: true})))
	for _, cmd := range []*commandpb.Command{
		create(&commandpb.Create{Path: "/x", Parents: true}), put(&commandpb.Put{Path: "/"}),
		create(&commandpb.Create{Path: "/", Sequential: true, Parents: true}),
	} {
		b.refused(tree.ErrNoParent, by(named("a"), cmd))
	}
	b.principal("a", "/t/a", granting("/", PermAll&^PermCluster)[0])
	b.must(by(named("a"), create(&commandpb.Create{Path: "/x"})))
}

// A session belongs to who opened it: to everybody else its token, whoever drew
// it, is like one that was never seen, and its id names nothing.
func TestForeignSessions(t *testing.T) {
	b := twoTenants(t)
	mine := b.must(by(named("a"), with(byToken("same"), openSession(ttl))))
	drawn := b.must(by(named("a"), openSession(ttl)))
	for _, cmd := range []func() *commandpb.Command{
		func() *commandpb.Command { return with(byToken("same"), put(&commandpb.Put{Path: "/x"})) },
		func() *commandpb.Command { return with(byToken("same"), closeSession(0)) },
		func() *commandpb.Command { return with(byID(drawn.Zxid), setTTL(ttl)) },
		func() *commandpb.Command { return with(byID(drawn.Zxid), closeSession(0)) },
	} {
		b.refused(tree.ErrSessionExpired, by(named("b"), cmd()))
		b.refused(tree.ErrSessionExpired, by(root, cmd()))
	}
	b.refused(tree.ErrNoSession, by(named("b"), closeSession(mine.Zxid)))
	b.refused(tree.ErrInvalidArgument, by(named("a"), closeSession(mine.Zxid))) // without its token
	other := b.must(by(named("b"), with(byToken("same"), openSession(ttl))))
	if !other.Opened || other.Session.ID == mine.Session.ID || other.Session.Principal != "b" {
		t.Fatalf("%+v", other)
	}
	v := b.s.View()
	for who, want := range map[string]quorum.Zxid{"a": mine.Zxid, "b": other.Zxid} {
		if info, known := v.Lookup(byToken("same"), who); known != KnownAlive || info.ID != want {
			t.Errorf("%s: %+v, %v", who, info, known)
		}
	}
	if _, known := v.Lookup(byToken("same"), ""); known != KnownNot {
		t.Error(known)
	}
	if _, known := v.Lookup(byID(drawn.Zxid), "b"); known != KnownEnded {
		t.Error(known)
	}
	if _, err := b.read(named("b"), Read{Kind: ReadSession, Session: mine.Zxid}); codeOf(err) != tree.ErrNoSession {
		t.Error(err)
	}
	b.must(by(named("a"), with(byToken("same"), create(&commandpb.Create{Path: "/e", Mode: ephemeral}))))
	for who, paths := range map[*commandpb.Caller][]string{named("a"): {"/e"}, root: {"/t/a/e"}} {
		got, err := b.read(who, Read{Kind: ReadSession, Session: mine.Zxid})
		if err != nil || !slices.Equal(got.Paths, paths) || got.Sessions[0].Ephemerals != 1 {
			t.Errorf("%v: %+v, %v", who, got, err)
		}
	}
	b.must(by(root, closeSession(mine.Zxid)))
	b.refused(tree.ErrSessionExpired, by(named("a"), with(byToken("same"), openSession(ttl))))
	b.must(by(named("b"), with(byToken("same"), setTTL(ttl))))
}

// transcript is everything that a tenant is told, with every position replaced
// by its rank among those that he is told: positions show how much others write.
type transcript struct {
	lines []any
}

func (tr *transcript) add(parts ...any) { tr.lines = append(tr.lines, parts...) }

func (tr *transcript) stat(s tree.Stat) {
	tr.add(s.Czxid, s.Mzxid, s.Pzxid, s.EphemeralOwner)
	s.Czxid, s.Mzxid, s.Pzxid, s.EphemeralOwner, s.Ctime, s.Mtime = 0, 0, 0, 0, 0, 0
	tr.add(fmt.Sprint(s))
}

func (tr *transcript) ranked() []string {
	var seen []quorum.Zxid
	for _, l := range tr.lines {
		if z, ok := l.(quorum.Zxid); ok {
			seen = append(seen, z)
		}
	}
	slices.Sort(seen)
	seen = slices.Compact(seen)
	out := make([]string, len(tr.lines))
	for i, l := range tr.lines {
		if z, ok := l.(quorum.Zxid); ok {
			l, _ = slices.BinarySearch(seen, z)
		}
		out[i] = fmt.Sprint(l)
	}
	return out
}

func (tr *transcript) result(r Result) {
	tr.add(r.Zxid, r.Code.String(), r.Node.Path, r.Created, r.Failed, r.Session.ID, r.Session.Ephemerals, len(r.Ended))
	tr.stat(r.Node.Stat)
	for _, o := range r.Ops {
		tr.add(o.Path, o.Created, o.Tagged, string(o.Node.Data))
		tr.stat(o.Node.Stat)
	}
}

// look asks for all that a tenant can ask for.
func (tr *transcript) look(v *View, who *commandpb.Caller, since, wall int64) {
	for _, kind := range []ReadKind{ReadTree, ReadSessions, ReadQuota, ReadPrincipals, ReadWhoami, ReadStat} {
		a, _, err := v.Read(Read{Kind: kind, Caller: who, Path: "/", Limit: 100, WithData: true}, Cursor{}, wall)
		tr.add(fmt.Sprint(err), fmt.Sprint(a.Principals), a.Quota.Nodes, a.Quota.Bytes)
		for _, n := range append(a.Children, a.Node) {
			tr.add(n.Path, string(n.Data))
			tr.stat(n.Stat)
		}
		for _, s := range a.Sessions {
			tr.add(s.ID, s.Ephemerals, s.Principal)
		}
	}
	batch, err := v.Events(EventQuery{Caller: who, Path: "/", Scope: tree.ScopeSubtree, Since: quorum.Zxid(since)}, tree.Bounds{Events: 5}, wall)
	tr.add(fmt.Sprint(err), batch.More)
	for _, e := range batch.Events {
		tr.add(e.Zxid, e.Path, e.Type, e.Cause)
		tr.stat(e.Stat)
	}
}

func drawTenantCommand(t *rapid.T) *commandpb.Command {
	path := rapid.SampledFrom([]string{"/", "/x", "/x/y", "/t/b", "/t/a/x", "/z", "/../b", "b/x", "/perch"}).Draw(t, "path")
	token := byToken(fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "token")))
	switch rapid.IntRange(0, 9).Draw(t, "op") {
	case 0, 1:
		return put(&commandpb.Put{Path: path, Data: []byte{byte(rapid.IntRange('a', 'z').Draw(t, "data"))}, Parents: true})
	case 2:
		return create(&commandpb.Create{Path: path + "n", Sequential: true, Parents: rapid.Bool().Draw(t, "parents")})
	case 3:
		return with(opening(token, ttl), create(&commandpb.Create{Path: path, Mode: ephemeral}))
	case 4:
		return del(&commandpb.Delete{Path: path, Recursive: true})
	case 5:
		return with(token, closeSession(0))
	case 6:
		return multi(opGet("/x"), opPut(&commandpb.Put{Path: path}), opCheck(&commandpb.Check{Path: "/z"}))
	case 7:
		return setQuota(&commandpb.SetQuota{Path: path, MaxNodes: proto.Int64(3)})
	case 8:
		return with(token, put(&commandpb.Put{Path: path, Mode: ephemeral, Takeover: true}))
	}
	return setACL(&commandpb.SetAcl{Path: path, Acl: []*commandpb.AclEntry{{Scheme: "auth", Perms: 31}}})
}

// Whatever tenant b does, tenant a is told the same.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		alone, beside := twoTenants(t), twoTenants(t)
		var want, got transcript
		from := alone.zxid
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			cmd := drawTenantCommand(r)
			if rapid.Bool().Draw(r, "of b") {
				beside.apply(by(named("b"), cmd))
				continue
			}
			data := proto.Clone(cmd).(*commandpb.Command)
			res, _ := alone.apply(by(named("a"), cmd))
			want.result(res)
			res, _ = beside.apply(by(named("a"), data))
			got.result(res)
			want.look(alone.s.View(), named("a"), int64(from), alone.wall)
			got.look(beside.s.View(), named("a"), int64(from), beside.wall)
		}
		a, b := want.ranked(), got.ranked()
		for i := range a {
			if a[i] != b[i] {
				r.Fatalf("entry %d: alone %s, beside another tenant %s", i, a[i], b[i])
			}
		}
	})
}

// A tenant without grants learns of nothing, also where another can look.
func TestDenialTellsNothing(t *testing.T) {
	b := twoTenants(t)
	b.principal("blind", "/t/b")
	b.must(by(named("b"), create(&commandpb.Create{Path: "/x"})))
	for _, path := range []string{"/x", "/none"} {
		for _, cmd := range []*commandpb.Command{
			create(&commandpb.Create{Path: path}), put(&commandpb.Put{Path: path, Condition: ifVersion(7)}), del(&commandpb.Delete{Path: path}),
			setACL(&commandpb.SetAcl{Path: path, Acl: []*commandpb.AclEntry{{Scheme: "world", Id: "anyone", Perms: 1}}}),
			setQuota(&commandpb.SetQuota{Path: path, MaxNodes: proto.Int64(5)}), multi(opGet(path)),
		} {
			b.refused(tree.ErrPermissionDenied, by(named("blind"), cmd))
		}
		if _, err := b.read(named("blind"), Read{Kind: ReadStat, Path: path}); !errors.Is(err, tree.ErrPermissionDenied) {
			t.Error(err)
		}
	}
}
