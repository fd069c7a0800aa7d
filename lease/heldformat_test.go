package lease

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// heldCommands are commands on what is held, which say more than format 2 does.
func heldCommands() []*commandpb.Command {
	check := &commandpb.Op{Op: &commandpb.Op_CheckLock{CheckLock: fenceOf(kindLock, "l", 0)}}
	return []*commandpb.Command{
		lock("b", "l", true), lockSet("b", true, "l", "m"), semaphore("b", "s", 1, 3, true), campaign("b", "e", "v", true),
		beginRun("b", "job", &commandpb.Run{Key: "k"}, true), staying(100, lock("c", "l", true)),
		leaving(Place{ID: 9, Attach: 1}, false), unlock("a", "l"), release("a", &commandpb.Release{Set: true}),
		breaking(kindLock, "l"), revoking(&commandpb.Revoke{Name: "l", BreakAfterMs: proto.Uint64(1)}),
		proclaiming("a", &commandpb.Proclaim{Name: "e", Value: "w"}), completing("a", &commandpb.Complete{Name: "job", Data: []byte("d")}),
		forgetting("job", ""), withdrawing(&commandpb.Withdraw{Epoch: 1, Homes: []*commandpb.Home{{Node: 1, Instance: 7}}}), lapsing(),
		checkpointing(&commandpb.Checkpoint{Epoch: 1, Ids: []uint64{5}, LeftMs: []uint64{5}}),
		fenced(put(&commandpb.Put{Path: "/n"}), fenceOf(kindLock, "l", 0)),
		multi(check, opPut(&commandpb.Put{Path: "/n"})),
		configure(&commandpb.Configure{Waiting: proto.Int64(5)}), configure(&commandpb.Configure{SessionHolds: proto.Int64(5)}),
		configure(&commandpb.Configure{OverAgeMs: proto.Int64(5)}),
	}
}

// What a command says of what is held a state below level 3 refuses, and in an
// older format it is not said at all, whatever the level (RULES.md R6).
func TestOlderFormatsHoldNothing(t *testing.T) {
	for _, raised := range []uint32{1, accessLevel, heldLevel} {
		for _, cmd := range heldCommands() {
			b := newBench(t, DefaultSettings())
			b.must(put(&commandpb.Put{Path: "/a"}))
			if raised > 1 {
				b.must(raise(raised))
			}
			if FormatOf(cmd) != heldLevel {
				t.Errorf("%v: format %d is enough", cmd, FormatOf(cmd))
			}
			if cmd.Format = heldLevel; raised < heldLevel {
				b.refused(tree.ErrInvalidArgument, cmd)
			}
			cmd.Format = min(raised, accessLevel)
			blind := proto.Clone(cmd).(*commandpb.Command)
			older(blind, cmd.Format)
			other := newBench(t, DefaultSettings())
			other.s, other.zxid, other.wall = restoredState(t, b.s), b.zxid, b.wall
			r, _ := b.apply(cmd)
			want, _ := other.apply(blind)
			if r.Code != want.Code || b.s.View().Digest() != other.s.View().Digest() {
				t.Errorf("%v: %v, to an older program %v", cmd, r.Code, want.Code)
			}
		}
	}
}

// heldLived is a state with something of everything that can be held.
func heldLived(t testing.TB) *bench {
	set := DefaultSettings()
	set.EventAgeMs = 0
	b := newHeldBenchWith(t, set)
	b.must(with(opening(byToken("long"), 90_000), held(lock("", "m", false))))
	b.must(checkpointing(&commandpb.Checkpoint{Epoch: 1, Ids: []uint64{uint64(b.zxid)}, LeftMs: []uint64{70_000}}))
	b.holds(lock("a", "l", false))
	b.queues(lock("d", "l", true))
	kept := b.queues(staying(100, lockSet("b", true, "l", "n")))
	b.answers(tree.ErrLockHeld, leaving(kept, false))
	b.holds(lockShared("a", "r", false))
	b.must(revoking(&commandpb.Revoke{Name: "r", Reason: "why", BreakAfterMs: proto.Uint64(50)}))
	b.holds(semaphore("a", "s", 2, 3, false))
	b.holds(campaign("a", "e", "v", false))
	b.holds(beginRun("a", "job", &commandpb.Run{Key: "one/%"}, false))
	b.must(completing("a", &commandpb.Complete{Name: "job", Data: []byte("result")}))
	b.holds(beginRun("a", "job", &commandpb.Run{Key: "two", MaxAttempts: 2}, false))
	b.queues(beginRun("d", "job", &commandpb.Run{Key: "two", MaxAttempts: 2}, true))
	c := lock("c", "x", false)
	c.GetAcquire().LockDelayMs = 40
	id := b.must(c).Session.ID
	b.must(held(expire(id)))
	return b
}

// A snapshot of what is held with any byte changed, or cut anywhere, is refused.
func TestDamagedHolds(t *testing.T) {
	b := heldLived(t)
	good := snapshotBytes(t, b.s.View())
	again := restoredState(t, b.s)
	if again.View().Digest() != b.s.View().Digest() || again.dues.Len() != b.s.dues.Len() || again.dues.Len() != 4 {
		t.Fatal("a restored state differs", b.s.dues.Len(), again.dues.Len())
	}
	refusesDamage(t, good)
}

// Whatever a command says, it does not panic, is done or leaves everything as it
// was but for what an answer of its own is about, and can be restored.
func FuzzApplyHeld(f *testing.F) {
	for _, c := range heldCommands() {
		f.Add(marshal(f, held(c)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := heldLived(t)
		r, _, err := b.s.Apply(&quorum.Entry{Zxid: b.zxid + 1, Kind: quorum.EntryCommand, Data: data, Stamp: quorum.Stamp{Wall: b.wall, Age: 1000}})
		switch {
		case err != nil && !errors.Is(err, ErrFormat):
			t.Fatal(err)
		case r.Code == tree.ErrInternal && r.Fault != "the entry holds no command":
			t.Fatal(r.Fault)
		}
		again := restoredState(t, b.s)
		if again.View().Digest() != b.s.View().Digest() || again.dues.Len() != b.s.dues.Len() {
			t.Fatal("a restored state differs")
		}
	})
}

// Reads of what is held: one, lists in pages, names, what a session holds.
func TestReadHeld(t *testing.T) {
	b := heldLived(t)
	if s := b.state(kindLock, "never", ""); s.Tag != 0 || s.Name != "never" || s.Kind != kindLock || s.Held+s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	if s := b.state(kindOnce, "job", ""); s.Run.Key != "two" || s.Run.State != "running" || s.Name != "job" || s.Waiting != 1 {
		t.Errorf("%+v", s)
	}
	if s := b.state(kindOnce, "job", "one/%"); s.Run.State != "done" || string(s.Run.Data) != "result" {
		t.Errorf("%+v", s)
	}
	if s := b.state(kindOnce, "job", "none"); s.Run.State != "idle" || s.Run.Key != "none" || s.Tag != 0 {
		t.Errorf("%+v", s)
	}
	list := func(q Read) (names []string) {
		v := b.s.View()
		for from, more := (Cursor{}), true; more; {
			var a Answer
			var err error
			if a, more, err = v.Read(q, from, b.wall); err != nil || len(a.Held)+len(a.Names) > q.Limit {
				t.Fatal(a, err)
			}
			for _, h := range a.Held {
				names = append(names, h.Name)
			}
			if names = append(names, a.Names...); more {
				from = After(q.Kind, a)
			}
		}
		return names
	}
	b.holds(lock("a", "l2", false))
	b.holds(lock("a", "k", false))
	for limit := 1; limit < 9; limit++ {
		for _, kind := range []ReadKind{ReadHelds, ReadNames} {
			for prefix, want := range map[string]string{"": "[k l l2 m n r x]", "l": "[l l2]", "l2": "[l2]", "z": "[]"} {
				if got := fmt.Sprint(list(Read{Kind: kind, Of: kindLock, Name: prefix, Limit: limit})); got != want {
					t.Errorf("%d of %d, %q: %v, want %v", kind, limit, prefix, got, want)
				}
			}
		}
	}
	if got := list(Read{Kind: ReadNames, Of: kindOnce, Limit: 5}); !slices.Equal(got, []string{"job"}) {
		t.Error(got)
	}
	a, err := b.read(nil, Read{Kind: ReadSession, Session: b.s.View().sessionOf(t, "a")})
	if err != nil || fmt.Sprint(a.Holds) != "[elections/e locks/k locks/l locks/l2 locks/r once/job/two semaphores/s]" {
		t.Error(a.Holds, err)
	}
	for _, q := range []Read{
		{Kind: ReadHeld, Of: kindLock, Name: "a/b"}, {Kind: ReadHeld, Of: kindLock}, {Kind: ReadHeld, Of: 9, Name: "a"},
		{Kind: ReadHeld, Of: kindLock, Name: "l", Key: "k"}, {Kind: ReadHelds, Of: kindOnce}, {Kind: ReadNames, Of: kindLock, Name: "/"},
	} {
		if _, err := b.read(nil, q); err != tree.ErrInvalidArgument {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// Bounds have their answers.
func TestHeldBounds(t *testing.T) {
	set := DefaultSettings()
	set.Waiting, set.SessionHolds = 2, 3
	b := newHeldBenchWith(t, set)
	b.holds(lock("a", "l", false))
	b.queues(lock("b", "l", true))
	b.queues(lock("c", "l", true))
	b.refused(tree.ErrTooManyWaiters, lock("d", "l", true))
	b.holds(lockSet("a", false, "m", "n"))
	b.refused(tree.ErrTooManyWaiters, lock("a", "o", false))
	b.must(lock("a", "l", false))
	for _, c := range []*commandpb.Command{
		lock("d", "", false), lock("d", "a/b", false), lock("d", "-a", false), lockSet("d", false, "x", "x"), lockSet("d", false),
		semaphore("d", "s", -1, 3, false), semaphore("d", "s", 1, 0, false), staying(stayMs+1, lock("d", "x", true)),
		owned(string(make([]byte, 256)), lock("d", "x", false)),
		beginRun("d", "job", nil, false), beginRun("d", "job", &commandpb.Run{Key: "k", PeriodMs: 5}, false),
		release("a", &commandpb.Release{}), release("a", &commandpb.Release{Kind: kindElection, Set: true}),
		held(&commandpb.Command{Op: &commandpb.Command_Release{Release: &commandpb.Release{Names: []string{"l"}}}}),
	} {
		b.refused(tree.ErrInvalidArgument, c)
	}
}
