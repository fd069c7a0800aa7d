package lease

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

func acquireLock(name string, wait bool) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Acquire{Acquire: &commandpb.Acquire{
		Wants: []*commandpb.Want{{Name: name}}, Wait: wait, Home: &commandpb.Home{Node: 2, Instance: 7},
	}}})
}

func releaseLock(name string) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_Release{Release: &commandpb.Release{Names: []string{name}}}})
}

// The key of an acquisition: the same hold while it is held, the same place while
// it waits, and when it is over it is lost (RULES.md R13).
func TestKeyedAcquisitions(t *testing.T) {
	b := newHeldBench(t)
	one := withKey("1", with(anybody(), acquireLock("l", true)))
	first := b.must(one)
	again := b.must(one)
	if first.Hold.Token != first.Zxid || !again.Replayed || again.Hold.Token != first.Hold.Token || again.Session.ID != first.Session.ID {
		t.Fatalf("%+v\n%+v", first, again)
	}
	// A second one waits, and is asked for again by another request.
	two := withKey("2", with(anybody(), acquireLock("l", true)))
	waits := b.must(two)
	b.s = restoredState(t, b.s)
	later := b.must(two)
	if waits.Place.ID != waits.Zxid || later.Place.ID != waits.Place.ID || later.Place.Attach != 2 || !later.Replayed || b.s.sessions.Len() != 2 {
		t.Fatalf("%+v\n%+v", waits, later)
	}
	free := b.must(with(byID(first.Session.ID), releaseLock("l")))
	if len(free.Outcomes) != 1 || free.Outcomes[0].Attach != 2 {
		t.Fatalf("%+v", free)
	}
	b.refused(tree.ErrHoldLost, one)
	if r := b.must(two); !r.Replayed || r.Hold.Token != free.Zxid {
		t.Fatalf("%+v", r)
	}
	b.must(expire(waits.Session.ID))
	b.refused(tree.ErrHoldLost, two)
	// Not obtained is not stored, and neither is a wait that ends so.
	b.must(with(opening(byToken("own"), ttl), acquireLock("l", false)))
	three := withKey("3", with(anybody(), acquireLock("l", false)))
	b.refused(tree.ErrLockHeld, three)
	three.GetAcquire().Wait = true // as the digest leaves out wait_ms
	place := b.must(three).Place
	if r, _ := b.apply(leaveFrom(place.ID, 1, false)); r.Code != tree.ErrLockHeld {
		t.Fatal(r.Code)
	}
	if r := b.must(three); r.Replayed || r.Place.ID != r.Zxid {
		t.Fatalf("%+v", r)
	}
	// A grant that nobody received and that was given back leaves the key as new.
	place = b.must(three).Place
	b.must(with(byToken("own"), releaseLock("l")))
	if r, _ := b.apply(leaveFrom(place.ID, place.Attach, true)); r.Code != tree.OK {
		t.Fatal(r.Code)
	}
	if r := b.must(three); r.Replayed || r.Hold.Token != r.Zxid {
		t.Fatalf("%+v", r)
	}
	b.must(with(byID(b.must(three).Session.ID), releaseLock("l")))
	// The same with a grant that the leader takes back.
	b.must(with(opening(byToken("own"), ttl), acquireLock("l", false)))
	four := withKey("4", with(anybody(), acquireLock("l", true)))
	place = b.must(four).Place
	b.must(with(byToken("own"), releaseLock("l")))
	withdraw := &commandpb.Withdraw{Epoch: 1, Places: []uint64{uint64(place.ID)}}
	b.must(held(&commandpb.Command{Op: &commandpb.Command_Withdraw{Withdraw: withdraw}}))
	if r := b.must(four); r.Replayed || r.Hold.Token != r.Zxid {
		t.Fatalf("%+v", r)
	}
}

// A key belongs to a session where the request names one (RULES.md R15), and a
// grant that was confirmed is not taken back.
func TestKeysAreOfSessions(t *testing.T) {
	b := newHeldBench(t)
	mine := withKey("k", with(opening(byToken("a"), ttl), acquireLock("l", true)))
	yours := withKey("k", with(opening(byToken("b"), ttl), acquireLock("l", true)))
	first, second := b.must(mine), b.must(yours)
	if first.Hold.Token == 0 || second.Replayed || second.Place.ID == 0 {
		t.Fatalf("%+v", second)
	}
	b.must(with(byToken("a"), releaseLock("l")))
	if r := b.must(yours); !r.Replayed || r.Hold.Session != second.Session.ID {
		t.Fatalf("%+v", r)
	}
	withdraw := &commandpb.Withdraw{Epoch: 1, Places: []uint64{uint64(second.Place.ID)}}
	b.must(held(&commandpb.Command{Op: &commandpb.Command_Withdraw{Withdraw: withdraw}}))
	if r := b.must(yours); !r.Replayed {
		t.Fatalf("%+v", r)
	}
	// A loop takes the same token again, with another key.
	next := withKey("k2", with(opening(byToken("a"), ttl), acquireLock("m", true)))
	if r := b.must(next); r.Replayed || r.Hold.Token != r.Zxid {
		t.Fatalf("%+v", r)
	}
}

// Nothing local decides what a key finds: states with other pasts than a log, and
// the same log, answer the same (RULES.md R5).
func TestReplayIsTheSameEverywhere(t *testing.T) {
	type outcome struct {
		zxid     quorum.Zxid
		replayed bool
		code     tree.Code
	}
	run := func(restoreAt int) (list []outcome, digests []uint64) {
		b := newHeldBench(t)
		b.must(held(configure(&commandpb.Configure{RecordBytes: proto.Int64(2600), RecordAgeMs: proto.Int64(5000), RecordLeastMs: proto.Int64(300)})))
		for i := range 400 {
			b.age += uint64(i % 90)
			c := put(&commandpb.Put{Path: "/a"})
			c.Caller = named([]string{"x", "y"}[i%2])
			r, _ := b.apply(withKey(string(rune('a'+i*7%9)), c))
			list, digests = append(list, outcome{r.Zxid, r.Replayed, r.Code}), append(digests, b.s.View().Digest())
			if i == restoreAt {
				b.s = restoredState(t, b.s)
			}
		}
		return list, digests
	}
	want, digests := run(-1)
	replayed := 0
	for _, at := range []int{17, 200} {
		got, sums := run(at)
		for i := range want {
			if got[i] != want[i] || sums[i] != digests[i] {
				t.Fatalf("step %d: %v, want %v", i, got[i], want[i])
			}
			if got[i].replayed {
				replayed++
			}
		}
	}
	if replayed == 0 || replayed == 800 {
		t.Error(replayed)
	}
}
