package lease

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/tree"
)

// A log of level 1 gives the states, results and snapshots that programs gave
// which knew no other level: the sums were taken from one (RULES.md R6).
func TestLevelOneIsUnchanged(t *testing.T) {
	const (
		results  = 0x79732c28d7141d44
		snapshot = 0x8e7165a582ac14c4
	)
	b := newBench(t, small())
	h := xxhash.New()
	for i := range 400 {
		b.age += uint64(i % 7)
		r, ev := b.apply(scripted(i))
		_, _ = fmt.Fprintf(h, "%v %v %d %x\n", r.Zxid, r.Code, len(ev), b.s.View().Digest())
	}
	if h.Sum64() != results || xxhash.Sum64(snapshotBytes(t, b.s.View())) != snapshot {
		t.Errorf("%#x %#x", h.Sum64(), xxhash.Sum64(snapshotBytes(t, b.s.View())))
	}
}

// newCommands are commands that say more than format 1 does.
func newCommands() []*commandpb.Command {
	aux := proto.Uint64(1)
	return []*commandpb.Command{
		create(&commandpb.Create{Path: "/n", Mode: commandpb.Mode_MODE_CONTAINER}),
		create(&commandpb.Create{Path: "/n", Mode: commandpb.Mode_MODE_TTL, TtlMs: 5000}),
		create(&commandpb.Create{Path: "/n", Acl: []*commandpb.AclEntry{{Scheme: "world", Id: "anyone", Perms: 1}}}),
		put(&commandpb.Put{Path: "/n", Mode: commandpb.Mode_MODE_TTL, TtlMs: 5000}),
		put(&commandpb.Put{Path: "/n", Existing: true}),
		put(&commandpb.Put{Path: "/a", Condition: &commandpb.Condition{When: &commandpb.Condition_Version{Version: 0}, AlsoEtag: aux}}),
		del(&commandpb.Delete{Path: "/a", Condition: &commandpb.Condition{When: &commandpb.Condition_Version{Version: 0}, AlsoEtag: aux}}),
		configure(&commandpb.Configure{PrincipalNodes: proto.Int64(5)}),
		multi(opPut(&commandpb.Put{Path: "/n"})),
		setACL(&commandpb.SetAcl{Path: "/a"}), setDefaultACL(&commandpb.SetDefaultAcl{Path: "/a"}),
		setQuota(&commandpb.SetQuota{Path: "/a"}), reaping("/a"), enabling("root"),
		putPrincipal(&commandpb.PutPrincipal{Name: "a"}), deletePrincipal(&commandpb.DeletePrincipal{Name: "a"}),
		createToken(&commandpb.CreateToken{Principal: "a"}), revokeToken("t1"),
	}
}

// What a command says in a newer format a state of level 1 refuses, and in
// format 1 it is not said at all, whatever the level: so a program that does not
// know it sees the same.
func TestOlderFormatsMeanWhatTheyMeant(t *testing.T) {
	for _, raised := range []bool{false, true} {
		for _, cmd := range newCommands() {
			b := newBench(t, DefaultSettings())
			b.must(put(&commandpb.Put{Path: "/a"}))
			if raised {
				b.must(raise(accessLevel))
			}
			if FormatOf(cmd) != accessLevel {
				t.Errorf("%v: format %d is enough", cmd, FormatOf(cmd))
			}
			if !raised {
				cmd.Format = accessLevel
				b.refused(tree.ErrInvalidArgument, cmd)
			}
			cmd.Format = 1
			blind := proto.Clone(cmd).(*commandpb.Command)
			older(blind, 1)
			other := newBench(t, DefaultSettings())
			other.s, other.zxid, other.wall = restoredState(t, b.s), b.zxid, b.wall
			r, _ := b.apply(cmd)
			want, _ := other.apply(blind)
			if r.Code != want.Code || b.s.View().Digest() != other.s.View().Digest() {
				t.Errorf("%v: %v, to an older program %v", cmd, r.Code, want.Code)
			}
		}
	}
	b := newAccessBench(t, DefaultSettings())
	opening := by(named("a"), openSession(ttl))
	opening.Format = 1
	if r := b.must(opening); r.Session.Principal != "" {
		t.Errorf("format 1 has no caller, and still it is %q", r.Session.Principal)
	}
	for i := range 9 {
		if cmd := by(named("a"), scripted(i)); FormatOf(cmd) != 1 {
			t.Errorf("%v: format %d", cmd, FormatOf(cmd))
		}
	}
}

// Counters, queues, barriers, keys: what they say needs heldLevel.
func TestHeldFormats(t *testing.T) {
	for _, cmd := range keptCommands() {
		if FormatOf(cmd) != heldLevel {
			t.Errorf("%v: format %d is enough", cmd, FormatOf(cmd))
		}
		b := newAccessBench(t, DefaultSettings())
		b.refused(tree.ErrInvalidArgument, cmd)
		cmd.Format = accessLevel
		b.must(raise(heldLevel))
		blind := proto.Clone(cmd).(*commandpb.Command)
		older(blind, accessLevel)
		other := newBench(t, DefaultSettings())
		other.s, other.zxid, other.wall = restoredState(t, b.s), b.zxid, b.wall
		r, _ := b.apply(cmd)
		want, _ := other.apply(blind)
		if r.Code != want.Code || b.s.View().Digest() != other.s.View().Digest() {
			t.Errorf("%v: %v, to an older program %v", cmd, r.Code, want.Code)
		}
	}
}

// keptCommands are commands about what is counted, queued and gathered, and one
// with a key.
func keptCommands() []*commandpb.Command {
	return []*commandpb.Command{
		withKey("k", put(&commandpb.Put{Path: "/n"})),
		addCounter("c", 1), setCounter("c", 1), deleteCounter("c"), held(multi(opAdd("c", 1))),
		enqueue("q", "v", 0, 0), claim("q", 1, 1000, false), ack("q", "1-1"), configureQueue("q", 1, ""), deleteQueue("q", true),
		redrive("q", "p", 1), enter("b", 1), depart("b", false), closeBarrier("b"), openBarrier("b"),
	}
}

func restoredState(t testing.TB, s *State) *State {
	t.Helper()
	again, err := Restore(bytes.NewReader(snapshotBytes(t, s.View())))
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// TestSeed: what a level brings is set once, and only where it differs.
func TestSeed(t *testing.T) {
	s := DefaultSettings()
	if s.Seed(0, 1) != nil || s.Seed(1, 2) != nil || s.Seed(0, 2) != nil {
		t.Error("defaults are not set")
	}
	s.PrincipalNodes = 7
	if s.Seed(0, 1) != nil {
		t.Error("level 1 knows no principals")
	}
	if c := s.Seed(1, 2); c.GetPrincipalNodes() != 7 || c.ValueBytes != nil || c.PrincipalSessions == nil {
		t.Errorf("%v", c)
	}
	s = DefaultSettings()
	s.ValueBytes = 9
	if c := s.Seed(0, 1); c.GetValueBytes() != 9 || c.PrincipalNodes != nil {
		t.Errorf("%v", c)
	}
}
