package lease

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// restored is the state of b as a restore brings it back, and the first transaction
// of the new cluster applied to it.
func (b *bench) restored(epoch quorum.Epoch) (*bench, Result) {
	b.t.Helper()
	s, err := Restore(bytes.NewReader(snapshotBytes(b.t, b.s.View())))
	if err != nil {
		b.t.Fatal(err)
	}
	after := &bench{t: b.t, s: s, zxid: quorum.MakeZxid(epoch, 1), wall: b.wall + 1, age: b.age}
	res, _, err := s.Apply(&quorum.Entry{
		Zxid: after.zxid, Kind: quorum.EntryRestored, Stamp: quorum.Stamp{Wall: after.wall, Age: after.age},
	})
	if err != nil || res.Code != tree.OK || res.Fault != "" {
		b.t.Fatal(res.Code, res.Fault, err)
	}
	return after, res
}

// TestRestored: what R9 says a restore does to the state, in one transaction.
func TestRestored(t *testing.T) {
	b := newHeldBench(t)
	b.must(put(&commandpb.Put{Path: "/a", Data: []byte("1")}))
	b.must(with(taker("t"), put(&commandpb.Put{Path: "/eph", Mode: ephemeral})))
	token := b.must(lock("t", "l", false)).Hold.Token
	if res, _ := b.apply(lock("u", "l", true)); res.Place.ID == 0 {
		t.Fatal("no place", res.Code)
	}
	b.must(enqueue("q", "m", 0, 0))
	counted := held(&commandpb.Command{
		Key: &commandpb.Key{Hash: secretOf("k"), Digest: secretOf("d")},
		Op:  &commandpb.Command_AddCounter{AddCounter: &commandpb.AddCounter{Name: "n", Add: 1}},
	})
	first := b.must(counted)
	b.age = 5_000
	b.must(put(&commandpb.Put{Path: "/b"}))
	past := b.zxid
	kept := b.stat("/a").Mzxid

	r, res := b.restored(5000)
	v := r.s.View()
	if len(res.Ended) != 2 || v.Sessions() != 0 || r.has("/eph") || !r.has("/a") || v.Level() != Format || v.Age() != 5_000 {
		t.Fatalf("ended %v, %d sessions, level %d, age %d", res.Ended, v.Sessions(), v.Level(), v.Age())
	}

	// Positions. The last one that was kept is no gap, nor is the first of today; a
	// cursor is good from that one on.
	for _, c := range []struct {
		z     quorum.Zxid
		in    bool
		since error
	}{
		{past, false, tree.ErrCursorExpired}, {0, false, tree.ErrCursorExpired}, {past + 1, true, tree.ErrHistoryLost},
		{r.zxid - 1, true, tree.ErrHistoryLost}, {r.zxid, false, nil},
	} {
		batch, err := eventsOf(v, "/", tree.ScopeSubtree, c.z, tree.Bounds{})
		if v.InGap(c.z) != c.in || !errors.Is(err, c.since) || batch.Oldest != r.zxid {
			t.Errorf("%v: in the gap %v, events %v, oldest %v", c.z, v.InGap(c.z), err, batch.Oldest)
		}
	}

	// Whoever brings a position from the gap is told so; one from before is judged as
	// ever, and so is one that never was.
	gone := past + 1
	fence := func(z quorum.Zxid) *commandpb.Command {
		c := held(put(&commandpb.Put{Path: "/a", Data: []byte("2")}))
		c.Fences = []*commandpb.Fence{{Name: "l", Token: uint64(z)}}
		return c
	}
	version := ifVersion(0)
	version.AlsoEtag = new(uint64)
	*version.AlsoEtag = uint64(gone)
	for code, cmds := range map[tree.Code][]*commandpb.Command{
		tree.ErrHistoryLost: {
			put(&commandpb.Put{Path: "/a", Condition: ifETag(gone)}),
			held(put(&commandpb.Put{Path: "/a", Condition: version})),
			del(&commandpb.Delete{Path: "/a", Condition: ifETag(gone)}),
			fence(gone), ack("q", receiptOf(1, gone)),
			held(&commandpb.Command{Op: &commandpb.Command_SetAcl{SetAcl: &commandpb.SetAcl{Path: "/a", Czxid: uint64(gone), Aversion: new(int64)}}}),
			held(&commandpb.Command{Op: &commandpb.Command_SetDefaultAcl{SetDefaultAcl: &commandpb.SetDefaultAcl{Path: "/a", Etag: uint64(gone)}}}),
			held(&commandpb.Command{Op: &commandpb.Command_Release{Release: &commandpb.Release{Names: []string{"l"}, Token: uint64(gone)}}}),
			held(&commandpb.Command{Op: &commandpb.Command_Complete{Complete: &commandpb.Complete{Name: "o", Token: uint64(gone)}}}),
			held(&commandpb.Command{Op: &commandpb.Command_Proclaim{Proclaim: &commandpb.Proclaim{Name: "e", Token: uint64(gone)}}}),
			held(putPrincipal(&commandpb.PutPrincipal{Name: "p", Condition: ifETag(gone)})),
			held(deletePrincipal(&commandpb.DeletePrincipal{Name: "p", Condition: ifETag(gone)})),
		},
		tree.ErrETagMismatch:   {put(&commandpb.Put{Path: "/a", Condition: ifETag(kept - 1)})},
		tree.ErrFenceStale:     {fence(token)},
		tree.ErrReceiptLost:    {ack("q", receiptOf(1, past))},
		tree.ErrSessionExpired: {with(byToken("t"), put(&commandpb.Put{Path: "/c"}))},
	} {
		for _, cmd := range cmds {
			r.refused(code, cmd)
		}
	}
	for i, op := range []*commandpb.Op{
		opPut(&commandpb.Put{Path: "/a", Condition: ifETag(gone)}), opDelete(&commandpb.Delete{Path: "/a", Condition: ifETag(gone)}),
		opCheck(&commandpb.Check{Path: "/a", Condition: ifETag(gone)}),
		{Op: &commandpb.Op_CheckLock{CheckLock: &commandpb.Fence{Name: "l", Token: uint64(gone)}}},
		{Op: &commandpb.Op_Ack{Ack: &commandpb.Settle{Queue: "q", Receipts: []string{receiptOf(1, gone)}}}},
	} {
		if res := r.refused(tree.ErrHistoryLost, held(multi(opPut(&commandpb.Put{Path: "/c"}), op))); res.Failed != 1 {
			t.Errorf("multi %d: operation %d is at fault", i, res.Failed)
		}
	}
	for _, q := range []Read{
		{Kind: ReadHold, Name: "l", Fencing: gone},
		{Kind: ReadMulti, Ops: []*commandpb.Op{opCheck(&commandpb.Check{Path: "/a", Condition: ifETag(gone)})}},
	} {
		if _, err := r.read(nil, q); !errors.Is(err, tree.ErrHistoryLost) {
			t.Errorf("read of kind %d: %v", q.Kind, err)
		}
	}
	r.must(put(&commandpb.Put{Path: "/a", Condition: ifETag(kept)}))

	// What goes up goes on above all of the past; what was done once is not done again.
	if res := r.must(lock("x", "l", false)); res.Hold.Token < quorum.MakeZxid(5000, 0) {
		t.Errorf("token %v", res.Hold.Token)
	}
	for _, queue := range []string{"q", "new"} {
		if id := r.must(enqueue(queue, "m", 0, 0)).Message; id <= int64(r.zxid-r.zxid%(1<<32)) {
			t.Errorf("message %d in %s", id, queue)
		}
	}
	if again, _ := r.apply(counted); !again.Replayed || again.Zxid != first.Zxid || again.Counter.Value != 1 {
		t.Errorf("the key counts again: %+v", again)
	}
}

// A restored state is restored again: all gaps stay, and a snapshot keeps them.
func TestRestoredAgain(t *testing.T) {
	b := newHeldBench(t)
	b.must(put(&commandpb.Put{Path: "/a"}))
	one := b.zxid
	b, _ = b.restored(5000)
	b.must(put(&commandpb.Put{Path: "/b"}))
	two := b.zxid
	b, _ = b.restored(9500)
	copied, err := Restore(bytes.NewReader(snapshotBytes(t, b.s.View())))
	if err != nil || copied.View().Digest() != b.s.View().Digest() {
		t.Fatal(err)
	}
	for _, v := range []*View{b.s.View(), copied.View()} {
		for z, want := range map[quorum.Zxid]error{
			one: tree.ErrCursorExpired, one + 1: tree.ErrHistoryLost, two: tree.ErrCursorExpired, two - 1: tree.ErrCursorExpired,
			two + 1: tree.ErrHistoryLost, b.zxid - 1: tree.ErrHistoryLost, b.zxid: nil,
		} {
			if _, err := eventsOf(v, "/", tree.ScopeSubtree, z, tree.Bounds{}); !errors.Is(err, want) {
				t.Errorf("since %v: %v, want %v", z, err, want)
			}
		}
	}
}

// The gaps are bounded, and a snapshot with impossible ones is refused.
func TestGaps(t *testing.T) {
	b := newHeldBench(t)
	b.must(put(&commandpb.Put{Path: "/a"}))
	s := b.s
	for i := range gapsMost + 5 {
		if _, _, err := s.Apply(&quorum.Entry{Zxid: quorum.MakeZxid(quorum.Epoch(10+i), 1), Kind: quorum.EntryRestored}); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.gaps) != gapsMost || s.View().InGap(b.zxid+1) || !s.View().InGap(s.zxid-1) {
		t.Errorf("%d gaps", len(s.gaps))
	}
	for i, bad := range []gaps{{{past: 5, first: 5}}, {{past: 5, first: 9}, {past: 8, first: 12}}, {{past: 1, first: s.zxid + 1}}} {
		v := *s.View()
		v.gaps = bad
		if _, err := Restore(bytes.NewReader(snapshotBytes(t, &v))); !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), "gaps") {
			t.Errorf("gaps %d: %v", i, err)
		}
	}
	old := New(DefaultSettings())
	old.Know(heldLevel)
	if _, _, err := old.Apply(&quorum.Entry{Zxid: 1, Kind: quorum.EntryRestored}); !errors.Is(err, ErrFormat) {
		t.Errorf("an older program goes on: %v", err)
	}
}
