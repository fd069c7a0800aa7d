package lease

import (
	"reflect"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

func TestSessionRules(t *testing.T) {
	b := newBench(t, small())
	drawn := b.must(openSession(ttl))
	if !drawn.Opened || drawn.Session.ID != drawn.Zxid || drawn.Session.TTL.Milliseconds() != ttl {
		t.Fatal(drawn)
	}
	one := b.must(with(byToken("one"), openSession(ttl)))
	again := b.must(with(byToken("one"), openSession(ttl*2)))
	if again.Opened || again.Session != one.Session {
		t.Fatal("a token that is alive answers with its session as it is", again)
	}
	if r := b.must(with(byID(drawn.Zxid), openSession(ttl))); r.Opened || r.Session.ID != drawn.Zxid {
		t.Fatal(r)
	}
	b.refused(tree.ErrInvalidArgument, openSession(999))
	b.refused(tree.ErrInvalidArgument, openSession(86_400_001))
	b.refused(tree.ErrInvalidArgument, with(byToken("x"), openSession(0)))
	b.refused(tree.ErrSessionExpired, with(byID(12345), openSession(ttl)))
	b.refused(tree.ErrSessionExpired, with(byID(one.Zxid), setTTL(ttl))) // its client holds the token
	b.refused(tree.ErrSessionExpired, with(&commandpb.SessionRef{}, setTTL(ttl)))
	b.refused(tree.ErrSessionExpired, with(&commandpb.SessionRef{Ref: &commandpb.SessionRef_TokenHash{TokenHash: []byte("short")}}, openSession(ttl)))
	b.refused(tree.ErrSessionExpired, with(byToken("never"), put(&commandpb.Put{Path: "/a"})))
	b.refused(tree.ErrSessionExpired, with(opening(byToken("never"), ttl), setTTL(ttl)))
	b.refused(tree.ErrInvalidArgument, with(opening(byToken("never"), 1), put(&commandpb.Put{Path: "/a", Mode: ephemeral})))
	b.refused(tree.ErrInvalidArgument, setTTL(ttl))
	b.refused(tree.ErrInvalidArgument, with(byToken("one"), setTTL(1)))
	if r := b.must(with(byToken("one"), setTTL(ttl*3))); r.Session.TTL.Milliseconds() != ttl*3 || r.Opened {
		t.Fatal(r)
	}
	b.must(with(byToken("two"), openSession(ttl)))
	b.refused(tree.ErrTooManySessions, openSession(ttl))
	b.refused(tree.ErrTooManySessions, with(opening(byToken("four"), ttl), create(&commandpb.Create{Path: "/a", Mode: ephemeral})))
	b.refused(tree.ErrInvalidArgument, closeSession(0))
	b.refused(tree.ErrNoSession, closeSession(999))
	b.refused(tree.ErrInvalidArgument, with(byToken("one"), closeSession(drawn.Zxid)))
	if r := b.must(with(byToken("one"), closeSession(one.Zxid))); !reflect.DeepEqual(r.Ended, []quorum.Zxid{one.Zxid}) {
		t.Fatal(r)
	}
	b.refused(tree.ErrSessionExpired, with(byToken("one"), closeSession(0)))
	b.must(closeSession(drawn.Zxid)) // by an administrator
	b.refused(tree.ErrSessionExpired, with(byID(drawn.Zxid), setTTL(ttl)))
}

// API.md rule 10: a token of an ended session opens nothing for ClosedAgeMs of
// cluster age, and then it is as if never seen.
func TestEndedTokensAreRemembered(t *testing.T) {
	b := newBench(t, small())
	b.age = 5000
	b.must(with(byToken("one"), openSession(ttl)))
	id := b.must(with(byToken("two"), openSession(ttl))).Session.ID
	b.must(with(byToken("one"), closeSession(0)))
	b.must(expire(id))
	b.age = 5999
	for _, token := range []string{"one", "two"} {
		b.refused(tree.ErrSessionExpired, with(byToken(token), openSession(ttl)))
		b.refused(tree.ErrSessionExpired, with(opening(byToken(token), ttl), put(&commandpb.Put{Path: "/e", Mode: ephemeral})))
		if _, known := b.s.View().Lookup(byToken(token), ""); known != KnownEnded {
			t.Fatal(token, known)
		}
	}
	b.age = 100 // a wall clock or an old leader does not turn cluster age back
	b.refused(tree.ErrSessionExpired, with(byToken("one"), openSession(ttl)))
	b.age = 6000
	b.must(put(&commandpb.Put{Path: "/tick"}))
	if _, known := b.s.View().Lookup(byToken("one"), ""); known != KnownNot {
		t.Fatal(known)
	}
	b.must(with(byToken("one"), openSession(ttl)))
	// Never more than Settings.Sessions of them.
	for _, token := range []string{"a", "b", "c", "d"} {
		b.must(with(byToken(token), openSession(ttl)))
		b.must(with(byToken(token), closeSession(0)))
	}
	if n := b.s.View().ended.Len(); n != 3 {
		t.Fatal(n, "ended tokens")
	}
}

// API.md rule 10: a token never seen opens its session on a PUT or POST of an
// ephemeral with ttl_ms; a refused one leaves the token unused.
func TestOpenByFirstUse(t *testing.T) {
	b := newBench(t, small())
	first := b.must(with(opening(byToken("one"), ttl), create(&commandpb.Create{Path: "/m", Mode: ephemeral})))
	if !first.Opened || first.Session.ID != first.Zxid || first.Session.Ephemerals != 1 || first.Node.Stat.EphemeralOwner != first.Zxid {
		t.Fatal(first)
	}
	second := b.must(with(opening(byToken("one"), ttl*2), create(&commandpb.Create{Path: "/n", Mode: ephemeral})))
	if second.Opened || second.Session.ID != 0 {
		t.Fatal(second)
	}
	if i, _ := b.s.View().Session(first.Zxid); i.TTL.Milliseconds() != ttl || i.Ephemerals != 2 {
		t.Fatal(i)
	}
	loser := opening(byToken("two"), ttl)
	b.refused(tree.ErrNodeExists, with(loser, create(&commandpb.Create{Path: "/m", Mode: ephemeral})))
	if _, known := b.s.View().Lookup(byToken("two"), ""); known != KnownNot {
		t.Fatal(known)
	}
	b.must(expire(first.Zxid))
	if r := b.must(with(loser, create(&commandpb.Create{Path: "/m", Mode: ephemeral}))); !r.Opened {
		t.Fatal(r)
	}
}

// All ephemerals of a session go at one zxid, with the cause (RELIABILITY.md
// G8); sessions that are gone are passed over.
func TestEndOfSession(t *testing.T) {
	b := newBench(t, small())
	one := b.must(with(opening(byToken("one"), ttl), create(&commandpb.Create{Path: "/x", Mode: ephemeral}))).Zxid
	b.must(with(byToken("one"), create(&commandpb.Create{Path: "/a", Mode: ephemeral})))
	two := b.must(with(opening(byToken("two"), ttl), create(&commandpb.Create{Path: "/b", Mode: ephemeral}))).Zxid
	b.must(create(&commandpb.Create{Path: "/p"}))
	r, ev := b.apply(expire(one, 77, one))
	if r.Code != tree.OK || !reflect.DeepEqual(r.Ended, []quorum.Zxid{one}) || len(ev) != 2 {
		t.Fatal(r, ev)
	}
	for i, p := range []string{"/a", "/x"} {
		if ev[i].Path != p || ev[i].Cause != tree.CauseSessionExpired || ev[i].Zxid != r.Zxid {
			t.Fatal(ev[i])
		}
	}
	_, ev = b.apply(with(byToken("two"), closeSession(two)))
	if len(ev) != 1 || ev[0].Cause != tree.CauseSessionClosed || b.s.View().Sessions() != 0 || b.s.View().Nodes() != 2 {
		t.Fatal(ev)
	}
	// Whoever deletes an ephemeral, its owner's count goes down.
	three := b.must(with(opening(byToken("three"), ttl), create(&commandpb.Create{Path: "/x", Mode: ephemeral}))).Zxid
	b.must(del(&commandpb.Delete{Path: "/x"}))
	if i, _ := b.s.View().Session(three); i.Ephemerals != 0 {
		t.Fatal(i)
	}
}
