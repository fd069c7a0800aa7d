package lease

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// governed is a state with something of everything that accessLevel has.
func governed(t testing.TB) *bench {
	b := twoTenants(t)
	b.must(by(root, createToken(&commandpb.CreateToken{Principal: "a", SecretSha256: secretOf("a"), Label: "ci", ExpiresMs: b.wall + 1000})))
	b.must(by(named("a"), with(byToken("one"), openSession(ttl))))
	b.must(by(named("b"), openSession(ttl)))
	b.must(by(named("a"), with(byToken("one"), create(&commandpb.Create{Path: "/e", Mode: ephemeral}))))
	b.must(by(named("a"), with(byToken("two"), openSession(ttl))))
	b.must(by(named("a"), with(byToken("two"), closeSession(0))))
	b.must(by(named("b"), create(&commandpb.Create{Path: "/x", Acl: []*commandpb.AclEntry{{Scheme: "auth", Perms: 31}}})))
	b.must(by(named("b"), setDefaultACL(&commandpb.SetDefaultAcl{Path: "/x", Acl: []*commandpb.AclEntry{{Scheme: "world", Id: "anyone", Perms: 1}}})))
	b.must(by(named("b"), setQuota(&commandpb.SetQuota{Path: "/x", MaxNodes: proto.Int64(3), MaxBytes: proto.Int64(100)})))
	b.must(by(named("b"), create(&commandpb.Create{Path: "/ttl", Mode: commandpb.Mode_MODE_TTL, TtlMs: 5000})))
	b.must(by(root, putPrincipal(&commandpb.PutPrincipal{Name: "off", Disabled: true})))
	return b
}

// A state with principals, ACLs and quotas is the same after a snapshot: it has
// the same bytes and digest, and decides the same.
func TestPolicySurvivesRestore(t *testing.T) {
	b := governed(t)
	again := restoredState(t, b.s)
	data := snapshotBytes(t, b.s.View())
	if again.View().Digest() != b.s.View().Digest() || !bytes.Equal(snapshotBytes(t, again.View()), data) {
		t.Fatal("a restored state differs")
	}
	other := newBench(t, DefaultSettings())
	other.s, other.zxid, other.wall = again, b.zxid, b.wall
	for _, cmd := range []func() *commandpb.Command{
		func() *commandpb.Command { return by(named("a"), with(byToken("one"), setTTL(ttl*2))) },
		func() *commandpb.Command { return by(named("a"), with(byToken("two"), openSession(ttl))) },
		func() *commandpb.Command { return by(named("b"), with(byToken("one"), openSession(ttl))) },
		func() *commandpb.Command { return by(named("off"), put(&commandpb.Put{Path: "/x"})) },
		func() *commandpb.Command { return by(nil, put(&commandpb.Put{Path: "/x"})) },
		func() *commandpb.Command { return by(root, deletePrincipal(&commandpb.DeletePrincipal{Name: "a"})) },
	} {
		want, _ := b.apply(cmd())
		got, _ := other.apply(cmd())
		if fmt.Sprint(got) != fmt.Sprint(want) || other.s.View().Digest() != b.s.View().Digest() {
			t.Fatalf("%v: %+v, want %+v", cmd(), got, want)
		}
	}
}

// A snapshot with any byte changed is refused, or says the same.
func TestDamagedPolicySnapshots(t *testing.T) {
	good := snapshotBytes(t, governed(t).s.View())
	if _, err := Restore(iotest.OneByteReader(bytes.NewReader(good))); err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	for i := range good {
		bad[i] ^= 0x41
		if s, err := Restore(bytes.NewReader(bad)); err == nil && !sameState(t, s, good) {
			t.Fatalf("byte %d of %d: restored", i, len(good))
		}
		bad[i] = good[i]
	}
}

func drawPolicyCommand(t *rapid.T) *commandpb.Command {
	name := rapid.SampledFrom([]string{"a", "b", "c", "root", ""}).Draw(t, "name")
	perms := Perm(rapid.SampledFrom([]uint32{0, 1, 31, 127}).Draw(t, "perms"))
	secret := fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "secret"))
	switch rapid.IntRange(0, 9).Draw(t, "policy") {
	case 0, 1:
		root := rapid.SampledFrom([]string{"", "/t/a", "/t/b", "/x"}).Draw(t, "root")
		return putPrincipal(&commandpb.PutPrincipal{Name: name, Root: root, Grants: granting("/", perms), Disabled: rapid.IntRange(0, 5).Draw(t, "off") == 0})
	case 2:
		return deletePrincipal(&commandpb.DeletePrincipal{Name: name})
	case 3:
		return createToken(&commandpb.CreateToken{Principal: name, SecretSha256: secretOf(secret), ExpiresMs: rapid.SampledFrom([]int64{0, 30, 80}).Draw(t, "expires")})
	case 4:
		return revokeToken(tokenID(quorum.MakeZxid(3, uint32(rapid.IntRange(0, 40).Draw(t, "token of")))))
	case 5:
		return openSession(ttl)
	case 6:
		return enabling("root")
	}
	return drawTenantCommand(t)
}

// Whatever is done to the policy, and wherever a command panics: what is refused
// changes nothing, and a snapshot at any point gives the state again.
func TestPolicyUnderRandomCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(DefaultSettings())
		z := quorum.MakeZxid(3, 0)
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			z++
			cmd := raise(accessLevel)
			if i > 0 {
				who := rapid.SampledFrom([]string{"root", "a", "b", ""}).Draw(t, "who")
				cmd = by(&commandpb.Caller{Principal: who}, drawPolicyCommand(t))
			}
			data, err := proto.Marshal(cmd)
			if err != nil {
				t.Fatal(err)
			}
			faulty := armFault(s, z, rapid.IntRange(0, 40).Draw(t, "fault at"))
			before := contents(t, s.View())
			r, events, err := s.Apply(&quorum.Entry{Zxid: z, Kind: quorum.EntryCommand, Data: data, Stamp: quorum.Stamp{Wall: int64(i)}})
			if err != nil || *faulty != (r.Code == tree.ErrInternal) {
				t.Fatal(r, err)
			}
			if r.Code != tree.OK && (len(events) > 0 || contents(t, s.View()) != before) {
				t.Fatalf("%v: %v changed the state", cmd, r.Code)
			}
			if rapid.IntRange(0, 3).Draw(t, "restore") == 0 {
				s = restored(t, s)
			}
		}
		restored(t, s)
	})
}

func FuzzApplyWithPolicy(f *testing.F) {
	for _, c := range newCommands() {
		f.Add(marshal(f, by(root, c)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := governed(t)
		before := b.s.View()
		r, events, err := b.s.Apply(&quorum.Entry{Zxid: b.zxid + 1, Kind: quorum.EntryCommand, Data: data, Stamp: quorum.Stamp{Wall: b.wall}})
		switch {
		case err != nil:
			if !errors.Is(err, ErrFormat) || b.s.View() != before {
				t.Fatal(err)
			}
			return
		case r.Code == tree.ErrInternal && r.Fault != "the entry holds no command":
			t.Fatal(r.Fault)
		case r.Code != tree.OK && (len(events) > 0 || contents(t, before) != contents(t, b.s.View())):
			t.Fatalf("%v changed the state", r.Code)
		}
		if restoredState(t, b.s).View().Digest() != b.s.View().Digest() {
			t.Fatal("a restored state differs")
		}
	})
}
