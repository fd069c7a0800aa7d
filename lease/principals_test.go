package lease

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

func TestPrincipalRules(t *testing.T) {
	b := newPolicyBench(t)
	many := make([]*commandpb.Grant, principalGrants+1)
	for i := range many {
		many[i] = granting("/", PermRead)[0]
	}
	for _, c := range []struct {
		want tree.Code
		op   *commandpb.PutPrincipal
	}{
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{}},
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: strings.Repeat("n", 256)}},
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: "a\nb"}},
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: "a", Grants: many}},
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: "a", Grants: granting("/", 0)}},
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: "a", Grants: granting("/", 128)}},
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: "a", Grants: granting("/x", PermCluster)}},
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: "a", Root: "/x", Grants: granting("/", PermCluster)}},
		{tree.ErrInvalidPath, &commandpb.PutPrincipal{Name: "a", Grants: granting("/x/", PermRead)}},
		{tree.ErrInvalidPath, &commandpb.PutPrincipal{Name: "a", Root: "x"}},
		{tree.ErrReservedPath, &commandpb.PutPrincipal{Name: "a", Root: "/perch/x"}},
		{tree.ErrETagMismatch, &commandpb.PutPrincipal{Name: "a", Condition: ifPresent()}},
		{tree.ErrETagMismatch, &commandpb.PutPrincipal{Name: "a", Condition: ifETag(1)}},
		{tree.ErrETagMismatch, &commandpb.PutPrincipal{Name: "root", Condition: ifAbsent()}},
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: "a", Condition: ifVersion(1)}},
		// The last one who can administer the cluster.
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: "root"}},
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: "root", Root: "/x", Grants: granting("/", PermRead)}},
		{tree.ErrInvalidArgument, &commandpb.PutPrincipal{Name: "root", Grants: granting("/", PermAll), Disabled: true}},
	} {
		b.refused(c.want, by(root, putPrincipal(c.op)))
	}
	b.refused(tree.ErrInvalidArgument, by(root, deletePrincipal(&commandpb.DeletePrincipal{Name: "root"})))
	made := b.must(by(root, putPrincipal(&commandpb.PutPrincipal{Name: "a", Root: "/t/a", Grants: granting("/", PermRead), Condition: ifAbsent()})))
	want := Principal{Name: "a", Root: "/t/a", Grants: []Grant{{"/", PermRead}}, ETag: made.Zxid}
	if !made.Created || !reflect.DeepEqual(made.Principal, want) || !b.has("/t/a") {
		t.Fatalf("%+v", made)
	}
	changed := b.must(by(root, putPrincipal(&commandpb.PutPrincipal{Name: "a", Root: "/", Condition: ifETag(made.Zxid)})))
	if changed.Created || changed.Principal.Root != "" || changed.Principal.ETag != changed.Zxid {
		t.Fatalf("%+v", changed)
	}
	b.refused(tree.ErrETagMismatch, by(root, putPrincipal(&commandpb.PutPrincipal{Name: "a", Condition: ifETag(made.Zxid)})))
	b.refused(tree.ErrETagMismatch, by(root, deletePrincipal(&commandpb.DeletePrincipal{Name: "a", Condition: ifETag(made.Zxid)})))
	b.must(by(root, deletePrincipal(&commandpb.DeletePrincipal{Name: "a", Condition: ifETag(changed.Zxid)})))
	b.refused(tree.ErrNoPrincipal, by(root, deletePrincipal(&commandpb.DeletePrincipal{Name: "a"})))
	b.refused(tree.ErrETagMismatch, by(root, deletePrincipal(&commandpb.DeletePrincipal{Name: "a", Condition: ifPresent()})))
	if _, err := b.read(root, Read{Kind: ReadPrincipal, Name: "a"}); codeOf(err) != tree.ErrNoPrincipal {
		t.Error(err)
	}
	b.principal("second", "", granting("/", PermCluster)[0])
	b.refused(tree.ErrInvalidArgument, by(root, deletePrincipal(&commandpb.DeletePrincipal{Name: "root"}))) // nothing proves the second
	b.must(by(root, createToken(&commandpb.CreateToken{Principal: "second", SecretSha256: secretOf("second")})))
	b.must(by(root, deletePrincipal(&commandpb.DeletePrincipal{Name: "root"})))
}

func TestDisabledPrincipal(t *testing.T) {
	b := newPolicyBench(t)
	b.principal("a", "", granting("/", PermRead|PermCreate)[0])
	b.must(by(root, createToken(&commandpb.CreateToken{Principal: "a", SecretSha256: secretOf("x")})))
	b.must(by(named("a"), create(&commandpb.Create{Path: "/x"})))
	b.must(by(root, putPrincipal(&commandpb.PutPrincipal{Name: "a", Grants: granting("/", PermRead|PermCreate), Disabled: true})))
	b.refused(tree.ErrUnauthenticated, by(named("a"), create(&commandpb.Create{Path: "/y"})))
	if _, err := b.read(named("a"), Read{Kind: ReadNode, Path: "/x"}); codeOf(err) != tree.ErrUnauthenticated {
		t.Error(err)
	}
	if _, ok := b.s.View().Identify([32]byte(secretOf("x")), b.wall); ok {
		t.Error("its token still proves something")
	}
}

func TestAPITokenRules(t *testing.T) {
	b := newPolicyBench(t)
	b.principal("a", "", granting("/", PermRead|PermCreate)[0])
	at := b.wall
	for _, c := range []struct {
		want tree.Code
		op   *commandpb.CreateToken
	}{
		{tree.ErrNoPrincipal, &commandpb.CreateToken{Principal: "none", SecretSha256: secretOf("x")}},
		{tree.ErrInvalidArgument, &commandpb.CreateToken{Principal: "a"}},
		{tree.ErrInvalidArgument, &commandpb.CreateToken{Principal: "a", SecretSha256: append(secretOf("x"), 0)}},
		{tree.ErrInvalidArgument, &commandpb.CreateToken{Principal: "a", SecretSha256: secretOf("x"), Label: strings.Repeat("l", 256)}},
		{tree.ErrInvalidArgument, &commandpb.CreateToken{Principal: "a", SecretSha256: secretOf("x"), ExpiresMs: at}},
		{tree.ErrInvalidArgument, &commandpb.CreateToken{Principal: "a", SecretSha256: secretOf("first")}}, // root's
	} {
		b.refused(c.want, by(root, createToken(c.op)))
	}
	one := &commandpb.CreateToken{Principal: "a", SecretSha256: secretOf("one"), Label: "ci", ExpiresMs: at + 100}
	made := b.must(by(root, createToken(one)))
	want := APIToken{ID: tokenID(made.Zxid), Principal: "a", Label: "ci", Created: b.wall, Expires: at + 100}
	if made.APIToken != want {
		t.Fatalf("%+v", made.APIToken)
	}
	if again := b.must(by(root, createToken(one))); again.APIToken != want {
		t.Fatalf("the same again: %+v", again.APIToken)
	}
	b.must(by(root, createToken(&commandpb.CreateToken{Principal: "a", SecretSha256: secretOf("two")})))
	third := by(root, createToken(&commandpb.CreateToken{Principal: "a", SecretSha256: secretOf("three")}))
	b.refused(tree.ErrInvalidArgument, third)

	proof := &commandpb.Caller{Principal: "a", Token: want.ID}
	b.must(by(proof, create(&commandpb.Create{Path: "/x"})))
	if id, ok := b.s.View().Identify([32]byte(secretOf("one")), b.wall); !ok || id != (Identity{"a", want.ID, at + 100}) {
		t.Error(id, ok)
	}
	for _, token := range []string{"t7", "x", "t", FirstToken, "t0" + want.ID[1:]} {
		b.refused(tree.ErrUnauthenticated, by(&commandpb.Caller{Principal: "a", Token: token}, create(&commandpb.Create{Path: "/y"})))
	}
	b.wall = at + 100
	b.refused(tree.ErrUnauthenticated, by(proof, create(&commandpb.Create{Path: "/y"})))
	if _, ok := b.s.View().Identify([32]byte(secretOf("one")), b.wall); ok {
		t.Error("an expired token proves something")
	}
	if _, err := b.read(proof, Read{Kind: ReadNode, Path: "/x"}); codeOf(err) != tree.ErrUnauthenticated {
		t.Error(err)
	}
	b.must(third) // the expired one makes room
	if a, _ := b.read(root, Read{Kind: ReadTokens, Limit: 9}); len(a.APITokens) != 3 {
		t.Errorf("%+v", a.APITokens)
	}
	b.refused(tree.ErrNoToken, by(root, revokeToken(want.ID)))
	b.refused(tree.ErrNoToken, by(root, revokeToken("")))
	b.refused(tree.ErrInvalidArgument, by(root, revokeToken(FirstToken))) // the last that proves who runs the cluster
	b.must(by(root, createToken(&commandpb.CreateToken{Principal: "root", SecretSha256: secretOf("another")})))
	b.must(by(root, revokeToken(FirstToken)))
	if _, ok := b.s.View().Identify([32]byte(secretOf("first")), b.wall); ok {
		t.Error("a revoked token proves something")
	}
}

func TestEnableAuth(t *testing.T) {
	b := newAccessBench(t, DefaultSettings())
	b.must(by(nil, putPrincipal(&commandpb.PutPrincipal{Name: "early", Grants: granting("/", PermRead)})))
	b.must(by(nil, deletePrincipal(&commandpb.DeletePrincipal{Name: "early"})))
	weak := enabling("root")
	weak.GetEnableAuth().Admin.Grants = granting("/", PermRead)
	b.refused(tree.ErrInvalidArgument, weak)
	other := enabling("root")
	other.GetEnableAuth().Token.Principal = "other"
	b.refused(tree.ErrInvalidArgument, other)
	b.refused(tree.ErrInvalidArgument, &commandpb.Command{Format: accessLevel, Op: &commandpb.Command_EnableAuth{EnableAuth: &commandpb.EnableAuth{}}})
	if b.s.View().Auth() {
		t.Fatal("it is on")
	}
	if r := b.must(enabling("root")); r.APIToken.ID != FirstToken || r.Principal.Name != "root" || !b.s.View().Auth() {
		t.Fatalf("%+v", r)
	}
	if r := b.must(enabling("second")); r.APIToken.ID != "" || r.Principal.Name != "" {
		t.Fatalf("a second time: %+v", r)
	}
	b.refused(tree.ErrUnauthenticated, by(nil, put(&commandpb.Put{Path: "/a"})))
	b.refused(tree.ErrUnauthenticated, put(&commandpb.Put{Path: "/a"})) // of level 1
	b.must(by(&commandpb.Caller{Principal: "root", Token: FirstToken}, put(&commandpb.Put{Path: "/a"})))
}

// The end of a principal is that of its sessions, with what they own, and of its
// tokens; in one transaction, or not at all.
func TestDeletedPrincipalLeavesNothing(t *testing.T) {
	set := DefaultSettings()
	set.TxnNodes = 5
	b := newAccessBench(t, set)
	b.must(enabling("root"))
	for _, name := range []string{"a", "b"} {
		b.principal(name, "", granting("/", PermAll&^PermCluster)[0])
		b.must(by(root, createToken(&commandpb.CreateToken{Principal: name, SecretSha256: secretOf(name)})))
	}
	var ids []quorum.Zxid
	for _, token := range []string{"one", "two"} {
		b.must(by(named("b"), with(opening(byToken(token), ttl), create(&commandpb.Create{Path: "/b" + token, Mode: ephemeral}))))
		r := b.must(by(named("a"), with(opening(byToken(token), ttl), create(&commandpb.Create{Path: "/a" + token, Mode: ephemeral}))))
		ids = append(ids, r.Session.ID)
	}
	b.must(by(named("a"), with(byToken("one"), create(&commandpb.Create{Path: "/more", Mode: ephemeral}))))
	b.must(by(named("a"), with(byToken("one"), create(&commandpb.Create{Path: "/most", Mode: ephemeral}))))
	b.refused(tree.ErrTooLarge, by(root, deletePrincipal(&commandpb.DeletePrincipal{Name: "a"})))
	b.must(by(root, del(&commandpb.Delete{Path: "/most"})))
	r, events := b.apply(by(root, deletePrincipal(&commandpb.DeletePrincipal{Name: "a"})))
	if r.Code != tree.OK || !reflect.DeepEqual(r.Ended, ids) || len(events) != 3 || events[0].Cause != tree.CauseSessionClosed {
		t.Fatalf("%+v %+v", r, events)
	}
	if b.has("/aone") || b.has("/more") || !b.has("/bone") || b.s.View().Sessions() != 2 {
		t.Error("not what should be left")
	}
	a, _ := b.read(root, Read{Kind: ReadTokens, Limit: 9})
	if len(a.APITokens) != 2 || a.APITokens[0].Principal != "b" {
		t.Errorf("%+v", a.APITokens)
	}
	b.principal("a", "", granting("/", PermAll&^PermCluster)[0])
	b.refused(tree.ErrSessionExpired, by(named("a"), with(byToken("one"), put(&commandpb.Put{Path: "/x"}))))
}

func TestCapsOfAPrincipal(t *testing.T) {
	set := DefaultSettings()
	set.PrincipalSessions, set.PrincipalNodes, set.PrincipalBytes = 2, 2, 10
	b := newAccessBench(t, DefaultSettings())
	b.must(by(nil, configure(&commandpb.Configure{PrincipalSessions: proto.Int64(2), PrincipalNodes: proto.Int64(2), PrincipalBytes: proto.Int64(10)})))
	if b.s.View().Settings() != set {
		t.Fatalf("%+v", b.s.View().Settings())
	}
	b.must(enabling("root"))
	for _, name := range []string{"a", "b"} {
		b.principal(name, "", granting("/", PermAll&^PermCluster)[0])
	}
	b.must(by(named("a"), openSession(ttl)))
	second := b.must(by(named("a"), openSession(ttl)))
	b.refused(tree.ErrTooManySessions, by(named("a"), openSession(ttl)))
	b.must(by(named("b"), openSession(ttl)))
	b.must(by(named("a"), with(byID(second.Zxid), closeSession(0))))
	b.must(by(named("a"), openSession(ttl)))

	b.must(by(named("a"), create(&commandpb.Create{Path: "/1", Data: []byte("1234567")})))
	b.refused(tree.ErrTooManyNodes, by(named("a"), create(&commandpb.Create{Path: "/2", Data: []byte("1234")})))
	b.must(by(named("a"), create(&commandpb.Create{Path: "/2"})))
	b.refused(tree.ErrTooManyNodes, by(named("a"), create(&commandpb.Create{Path: "/3"})))
	b.must(by(named("b"), create(&commandpb.Create{Path: "/3"})))
	b.must(by(named("b"), del(&commandpb.Delete{Path: "/1"})))
	b.must(by(named("a"), create(&commandpb.Create{Path: "/4", Data: []byte("1234567890")})))
}
