package lease

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/tree"
)

var root = named("root")

// newPolicyBench is a cluster with authentication, where root administers.
func newPolicyBench(t testing.TB) *bench {
	b := newAccessBench(t, DefaultSettings())
	b.must(enabling("root"))
	return b
}

// principal makes one, by root.
func (b *bench) principal(name, root string, grants ...*commandpb.Grant) Result {
	b.t.Helper()
	return b.must(by(named("root"), putPrincipal(&commandpb.PutPrincipal{Name: name, Root: root, Grants: grants})))
}

// Grants match whole segments, add up over roles, and are the only thing that
// lets anybody do anything once authentication is on.
func TestGrants(t *testing.T) {
	b := newPolicyBench(t)
	b.principal("app", "", granting("/app", PermRead|PermWrite)[0], granting("/app/own", PermAll&^PermCluster)[0])
	b.principal("reader", "", granting("/", PermRead)[0])
	b.principal("none", "")
	for _, path := range []string{"/app", "/app/own", "/apple"} {
		b.must(by(root, create(&commandpb.Create{Path: path})))
	}
	withRole := &commandpb.Caller{Principal: "none", Roles: []string{"reader", "unheard-of"}}
	for _, c := range []struct {
		who  *commandpb.Caller
		cmd  *commandpb.Command
		want tree.Code
	}{
		{named("app"), put(&commandpb.Put{Path: "/app", Data: []byte("x")}), tree.OK},
		{named("app"), put(&commandpb.Put{Path: "/apple"}), tree.ErrPermissionDenied},
		{named("app"), put(&commandpb.Put{Path: "/"}), tree.ErrPermissionDenied},
		{named("app"), create(&commandpb.Create{Path: "/app/x"}), tree.ErrPermissionDenied},
		{named("app"), create(&commandpb.Create{Path: "/app/own/x"}), tree.OK},
		{named("app"), create(&commandpb.Create{Path: "/app/own/x"}), tree.ErrNodeExists},
		{named("app"), del(&commandpb.Delete{Path: "/app/own/x"}), tree.OK},
		{named("app"), del(&commandpb.Delete{Path: "/app/gone"}), tree.ErrPermissionDenied},
		{named("app"), put(&commandpb.Put{Path: "/elsewhere/x"}), tree.ErrPermissionDenied},
		{named("app"), setQuota(&commandpb.SetQuota{Path: "/app", MaxNodes: proto.Int64(9)}), tree.ErrPermissionDenied},
		{named("app"), setQuota(&commandpb.SetQuota{Path: "/app/own", MaxNodes: proto.Int64(9)}), tree.OK},
		{named("reader"), put(&commandpb.Put{Path: "/app"}), tree.ErrPermissionDenied},
		{named("none"), put(&commandpb.Put{Path: "/app"}), tree.ErrPermissionDenied},
		{withRole, put(&commandpb.Put{Path: "/app"}), tree.ErrPermissionDenied},
		{nil, put(&commandpb.Put{Path: "/app"}), tree.ErrUnauthenticated},
		{named("stranger"), put(&commandpb.Put{Path: "/app"}), tree.ErrUnauthenticated},
		{&commandpb.Caller{Roles: []string{"root"}}, put(&commandpb.Put{Path: "/app"}), tree.ErrUnauthenticated},
		{named("app"), putPrincipal(&commandpb.PutPrincipal{Name: "app"}), tree.ErrPermissionDenied},
		{named("app"), createToken(&commandpb.CreateToken{Principal: "app", SecretSha256: secretOf("x")}), tree.ErrPermissionDenied},
		{named("app"), revokeToken(FirstToken), tree.ErrPermissionDenied},
		{named("app"), deletePrincipal(&commandpb.DeletePrincipal{Name: "app"}), tree.ErrPermissionDenied},
	} {
		if r, _ := b.apply(by(c.who, c.cmd)); r.Code != c.want {
			t.Errorf("%v: %v: %v, want %v", c.who, c.cmd, r.Code, c.want)
		}
	}
	for _, c := range []struct {
		who  *commandpb.Caller
		path string
		want tree.Code
	}{
		{named("app"), "/app", tree.OK}, {named("app"), "/apple", tree.ErrPermissionDenied},
		{named("app"), "/missing", tree.ErrPermissionDenied}, {named("app"), "/app/missing", tree.ErrNoNode},
		{withRole, "/apple", tree.OK}, {named("none"), "/app", tree.ErrPermissionDenied},
		{nil, "/app", tree.ErrUnauthenticated}, {named("stranger"), "/app", tree.ErrUnauthenticated},
	} {
		for _, kind := range []ReadKind{ReadNode, ReadStat, ReadChildren, ReadTree, ReadACL, ReadDefaultACL, ReadQuota} {
			if a, err := b.read(c.who, Read{Kind: kind, Path: c.path, Limit: 10}); codeOf(err) != c.want || a.Zxid != b.zxid {
				t.Errorf("kind %d of %s by %v: %v, want %v", kind, c.path, c.who, err, c.want)
			}
		}
		q := EventQuery{Caller: c.who, Path: c.path, Scope: tree.ScopeSubtree}
		if _, err := b.s.View().Events(q, tree.Bounds{}, b.wall); c.want != tree.ErrNoNode && codeOf(err) != c.want {
			t.Errorf("events of %s by %v: %v, want %v", c.path, c.who, err, c.want)
		}
	}
}

func codeOf(err error) tree.Code {
	var code tree.Code
	errors.As(err, &code)
	return code
}

// Without authentication everybody may do everything but what the ACL of a node
// keeps from him.
func TestACLsWithoutAuthentication(t *testing.T) {
	b := newAccessBench(t, DefaultSettings())
	joe := &commandpb.Caller{Digests: []string{"joe:" + sha1Text}, Address: "10.1.2.3"}
	b.must(by(joe, create(&commandpb.Create{Path: "/joe", Data: []byte("x"), Acl: []*commandpb.AclEntry{{Scheme: "auth", Perms: 31}}})))
	b.must(by(nil, create(&commandpb.Create{Path: "/net", Data: []byte("x"), Acl: []*commandpb.AclEntry{{Scheme: "ip", Id: "10.0.0.0/8", Perms: 1}}})))
	b.refused(tree.ErrInvalidACL, by(nil, create(&commandpb.Create{Path: "/x", Acl: []*commandpb.AclEntry{{Scheme: "auth", Perms: 31}}})))
	b.refused(tree.ErrInvalidACL, by(joe, create(&commandpb.Create{Path: "/x", Acl: []*commandpb.AclEntry{{Scheme: "world", Id: "anyone", Perms: 256 | 1}}})))
	b.refused(tree.ErrPermissionDenied, by(nil, put(&commandpb.Put{Path: "/joe"})))
	b.refused(tree.ErrPermissionDenied, put(&commandpb.Put{Path: "/joe"}))
	b.must(by(joe, put(&commandpb.Put{Path: "/joe", Data: []byte("y")})))
	for _, c := range []struct {
		who  *commandpb.Caller
		kind ReadKind
		path string
		want tree.Code
	}{
		{joe, ReadNode, "/joe", tree.OK}, {nil, ReadNode, "/joe", tree.ErrPermissionDenied},
		{nil, ReadStat, "/joe", tree.OK}, {nil, ReadChildren, "/joe", tree.ErrPermissionDenied},
		{nil, ReadACL, "/joe", tree.ErrPermissionDenied}, {nil, ReadTree, "/joe", tree.ErrPermissionDenied},
		{joe, ReadNode, "/net", tree.OK}, {&commandpb.Caller{Address: "::ffff:10.9.9.9"}, ReadNode, "/net", tree.OK},
		{&commandpb.Caller{Address: "11.0.0.1"}, ReadNode, "/net", tree.ErrPermissionDenied},
	} {
		if _, err := b.read(c.who, Read{Kind: c.kind, Path: c.path, Limit: 9}); codeOf(err) != c.want {
			t.Errorf("kind %d of %s by %v: %v, want %v", c.kind, c.path, c.who, err, c.want)
		}
	}
	if _, err := b.read(nil, Read{Kind: ReadStat, Path: "/joe", WithData: true}); codeOf(err) != tree.ErrPermissionDenied {
		t.Error("a stat with data asks for READ", err)
	}
	for _, kind := range []ReadKind{ReadChildren, ReadTree} {
		a, _ := b.read(nil, Read{Kind: kind, Path: "/", Limit: 9, WithData: true})
		for _, n := range a.Children {
			if n.Data != nil && n.Path != "/" {
				t.Errorf("kind %d shows the data of %s", kind, n.Path)
			}
		}
	}
	events, _ := b.s.View().Events(EventQuery{Caller: nil, Path: "/", Scope: tree.ScopeSubtree}, tree.Bounds{Events: 1}, 0)
	if len(events.Events) != 0 || events.More || events.Cursor != b.zxid {
		t.Errorf("nobody sees %+v", events)
	}
	events, _ = b.s.View().Events(EventQuery{Caller: joe, Path: "/joe", Scope: tree.ScopeNode}, tree.Bounds{}, 0)
	if len(events.Events) != 2 {
		t.Errorf("joe sees %+v", events)
	}
}

const sha1Text = "AAAAAAAAAAAAAAAAAAAAAAAAAAA="

// Hashes of passwords are shown only to who may administer the node.
func TestACLIsMasked(t *testing.T) {
	b := newAccessBench(t, DefaultSettings())
	joe := &commandpb.Caller{Digests: []string{"joe:" + sha1Text}}
	acl := []*commandpb.AclEntry{{Scheme: "auth", Perms: 31}, {Scheme: "world", Id: "anyone", Perms: 1}}
	b.must(by(joe, create(&commandpb.Create{Path: "/a", Acl: acl})))
	b.must(by(joe, setDefaultACL(&commandpb.SetDefaultAcl{Path: "/a", Acl: acl})))
	for _, kind := range []ReadKind{ReadACL, ReadDefaultACL} {
		own, _ := b.read(joe, Read{Kind: kind, Path: "/a"})
		other, _ := b.read(nil, Read{Kind: kind, Path: "/a"})
		if own.ACL.Entries[0].ID != "joe:"+sha1Text || other.ACL.Entries[0].ID != "joe:x" {
			t.Errorf("kind %d: %+v, %+v", kind, own.ACL, other.ACL)
		}
	}
	if a, _ := b.read(joe, Read{Kind: ReadDefaultACL, Path: "/a"}); a.ETag != b.zxid {
		t.Error(a.ETag)
	}
}

// Whoever may do what concerns the whole cluster passes every ACL, a tenant with
// a root never does.
func TestSuper(t *testing.T) {
	b := newPolicyBench(t)
	b.principal("app", "", granting("/", PermAll&^PermCluster)[0])
	only := []*commandpb.AclEntry{{Scheme: "principal", Id: "app", Perms: 31}}
	b.must(by(named("app"), create(&commandpb.Create{Path: "/a", Acl: only})))
	b.must(by(root, put(&commandpb.Put{Path: "/a"})))
	b.principal("tenant", "/a", granting("/", PermAll&^PermCluster)[0])
	b.refused(tree.ErrPermissionDenied, by(named("tenant"), put(&commandpb.Put{Path: "/"})))
	roles := &commandpb.Caller{Principal: "tenant", Roles: []string{"root"}}
	b.refused(tree.ErrPermissionDenied, by(roles, put(&commandpb.Put{Path: "/"})))
	b.refused(tree.ErrPermissionDenied, by(roles, putPrincipal(&commandpb.PutPrincipal{Name: "x"})))
	if code := b.s.View().Governs(roles, b.wall); code != tree.ErrPermissionDenied {
		t.Error(code)
	}
	if code := b.s.View().Governs(root, b.wall); code != tree.OK {
		t.Error(code)
	}
	for _, kind := range []ReadKind{ReadPrincipal, ReadPrincipals, ReadTokens} {
		if _, err := b.read(named("app"), Read{Kind: kind, Name: "app", Limit: 9}); codeOf(err) != tree.ErrPermissionDenied {
			t.Error(kind, err)
		}
	}
}

// A node that stands in the way is described to those alone who may read it.
func TestWhatStandsInTheWay(t *testing.T) {
	b := newPolicyBench(t)
	b.principal("maker", "", granting("/", PermCreate)[0])
	b.principal("reader", "", granting("/", PermCreate|PermRead)[0])
	b.must(by(root, create(&commandpb.Create{Path: "/a", Data: []byte("x")})))
	for name, path := range map[string]string{"maker": "", "reader": "/a"} {
		r, _ := b.apply(by(named(name), create(&commandpb.Create{Path: "/a"})))
		if r.Code != tree.ErrNodeExists || r.Node.Path != path || (r.Node.Stat.Mzxid != 0) != (path != "") {
			t.Errorf("%s is told %v and %+v", name, r.Code, r.Node)
		}
	}
}

// A page of a list is of the past; what may be seen of it is of now.
func TestAPageObeysThePolicyOfNow(t *testing.T) {
	b := newPolicyBench(t)
	b.principal("a", "", granting("/", PermRead)[0])
	for _, path := range []string{"/x", "/x/1", "/x/2"} {
		b.must(by(root, create(&commandpb.Create{Path: path, Data: []byte("v")})))
	}
	old := b.s.View()
	q := Read{Kind: ReadChildren, Caller: named("a"), Path: "/x", Limit: 9, WithData: true}
	values := func() (list []string) {
		a, _, err := old.Continue(b.s.View(), q, Cursor{}, b.wall)
		if err != nil {
			return []string{codeOf(err).String()}
		}
		for _, n := range a.Children {
			list = append(list, string(n.Data))
		}
		return list
	}
	only := []*commandpb.AclEntry{{Scheme: "principal", Id: "root", Perms: 31}}
	for _, c := range []struct {
		change *commandpb.Command
		want   []string
	}{
		{put(&commandpb.Put{Path: "/x/1", Data: []byte("new")}), []string{"v", "v"}},
		{&commandpb.Command{Op: &commandpb.Command_SetAcl{SetAcl: &commandpb.SetAcl{Path: "/x/1", Acl: only}}}, []string{"", "v"}},
		{putPrincipal(&commandpb.PutPrincipal{Name: "a"}), []string{"permission_denied"}},
		{deletePrincipal(&commandpb.DeletePrincipal{Name: "a"}), []string{"unauthenticated"}},
	} {
		if b.must(by(root, c.change)); !slices.Equal(values(), c.want) {
			t.Errorf("after %v: %q, want %q", c.change, values(), c.want)
		}
	}
}

func TestPathsBelowARoot(t *testing.T) {
	a := &access{root: "/t/a"}
	for path, want := range map[string]string{"/": "/t/a", "/x": "/t/a/x", "/x/y": "/t/a/x/y"} {
		full, code := a.resolve(path)
		back, ok := a.shown(full)
		if full != want || code != tree.OK || back != path || !ok {
			t.Errorf("%s: %s %v, and back %s", path, full, code, back)
		}
	}
	for _, path := range []string{"", "x", "../x", "b"} {
		if full, code := a.resolve(path); code != tree.ErrInvalidPath {
			t.Errorf("%q: %q %v", path, full, code)
		}
	}
	for _, path := range []string{"/", "/t", "/t/ab", "/t/b", "/u"} {
		if p, ok := a.shown(path); ok {
			t.Errorf("%s is shown as %s", path, p)
		}
	}
}

func TestWhoami(t *testing.T) {
	b := newPolicyBench(t)
	b.principal("ops", "", granting("/t", PermRead)[0], granting("/t/a/sub", PermWrite)[0], granting("/other", PermAll&^PermCluster)[0])
	b.principal("a", "/t/a", granting("/x", PermCreate)[0])
	got, err := b.read(&commandpb.Caller{Principal: "a", Roles: []string{"ops"}}, Read{Kind: ReadWhoami})
	want := Principal{Name: "a", Root: "/t/a", Grants: []Grant{{"/x", PermCreate}, {"/", PermRead}, {"/sub", PermWrite}}}
	if err != nil || !reflect.DeepEqual(got.Principals, []Principal{want}) {
		t.Errorf("%+v, %v", got.Principals, err)
	}
	open := newAccessBench(t, DefaultSettings())
	if got, _ := open.read(nil, Read{Kind: ReadWhoami}); !slices.Equal(got.Principals[0].Grants, []Grant{{"/", PermAll}}) {
		t.Errorf("%+v", got.Principals)
	}
}

// A list goes on behind the last entry of its page, whatever it lists.
func TestPagesOfPolicy(t *testing.T) {
	b := newPolicyBench(t)
	for i := range 5 {
		name := fmt.Sprintf("p%d", i)
		b.principal(name, "")
		for _, secret := range []string{"x", "y"} {
			b.must(by(root, createToken(&commandpb.CreateToken{Principal: name, SecretSha256: secretOf(name + secret)})))
		}
		b.must(by(named(name), openSession(ttl)))
	}
	for kind, want := range map[ReadKind]int{ReadPrincipals: 6, ReadTokens: 11, ReadSessions: 5} {
		seen, at := map[string]bool{}, Cursor{}
		for more := true; more; {
			var a Answer
			var err error
			a, more, err = b.s.View().Read(Read{Kind: kind, Caller: root, Limit: 2}, at, b.wall)
			if err != nil || more && len(a.Principals)+len(a.APITokens)+len(a.Sessions) != 2 {
				t.Fatal(kind, a, err)
			}
			for _, p := range a.Principals {
				seen[p.Name] = true
			}
			for _, k := range a.APITokens {
				seen[k.ID] = true
			}
			for _, s := range a.Sessions {
				seen[s.Principal] = true
			}
			at = After(kind, a)
		}
		if len(seen) != want {
			t.Errorf("kind %d: %d entries, want %d", kind, len(seen), want)
		}
	}
}
