package lease

import (
	"errors"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// keptLived is a state with something of everything that is counted, queued,
// gathered and remembered.
func keptLived(t testing.TB) *bench {
	set := DefaultSettings()
	set.EventAgeMs = 0
	b := newHeldBenchWith(t, set)
	b.must(withKey("1", addCounter("c", 7)))
	b.must(held(configureQueue("q", 1, "d")))
	for _, c := range []*commandpb.Command{
		enqueue("q", "one", 0, 0), enqueue("q", "two", -1, 0), enqueue("q", "three", 0, 50), enqueue("q", "four", 2, 0),
	} {
		b.must(c)
	}
	got := b.must(withKey("2", claim("q", 3, 1000, false))).Claimed
	b.must(ack("q", got[0].Receipt))
	b.must(settle("q", commandpb.Settle_HOW_NACK, 0, got[1].Receipt))
	b.must(withKey("3", claim("w", 1, 1000, true)))
	b.must(with(opening(byToken("s"), ttl), enter("b", 2)))
	b.must(withKey("4", with(anybody(), enter("b", 2))))
	b.must(withKey("5", with(anybody(), enter("b", 2))))
	b.must(closeBarrier("p"))
	return b
}

// A snapshot with any byte changed, or cut anywhere, is refused.
func TestDamagedKept(t *testing.T) {
	b := keptLived(t)
	good := snapshotBytes(t, b.s.View())
	again := restoredState(t, b.s)
	if again.dues.Len() != b.s.dues.Len() || again.dues.Len() != 2 || again.tallies.Len() != b.s.tallies.Len() {
		t.Fatal("a restored state differs", b.s.dues.Len(), again.dues.Len())
	}
	refusesDamage(t, good)
}

// Whatever a command says, it does not panic, and what comes of it can be
// restored; one that is refused has at most left a record of that.
func FuzzApplyKept(f *testing.F) {
	for _, c := range keptCommands() {
		f.Add(marshal(f, held(c)))
	}
	for _, c := range []*commandpb.Command{
		ack("q", "4-1"), leaveFrom(1, 1, true), lapsing(), raise(heldLevel),
		held(multi(opAdd("c", 1), &commandpb.Op{Op: &commandpb.Op_Enqueue{Enqueue: &commandpb.Enqueue{Queue: "w"}}})),
	} {
		f.Add(marshal(f, c))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := keptLived(t)
		before := b.s.View()
		r, events, err := b.s.Apply(&quorum.Entry{Zxid: b.zxid + 1, Kind: quorum.EntryCommand, Data: data, Stamp: quorum.Stamp{Wall: b.wall, Age: 2000}})
		switch {
		case err != nil && !errors.Is(err, ErrFormat):
			t.Fatal(err)
		case err != nil:
			return
		case r.Code == tree.ErrInternal && r.Fault != "the entry holds no command":
			t.Fatal(r.Fault)
		case r.Code != tree.OK && !stored(r.Code) && r.Code != tree.ErrReceiptLost && (len(events) > 0 || contents(t, before) != contents(t, b.s.View())):
			t.Fatalf("%v changed the state", r.Code)
		}
		again := restoredState(t, b.s)
		if again.dues.Len() != b.s.dues.Len() || again.tallies.Len() != b.s.tallies.Len() || again.takens.Len() != b.s.takens.Len() {
			t.Fatal("a restored state differs")
		}
	})
}
