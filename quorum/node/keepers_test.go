package node

import (
	"slices"
	"testing"
	"time"

	"perch/lease"
	"perch/quorum"
)

func TestGrantsAreTakenBackUnlessConfirmed(t *testing.T) {
	g := newGrants()
	all := func(_, _ quorum.Zxid) bool { return true }
	g.add(1, 10, 100, 0)
	g.add(2, 10, 200, 0)
	g.add(3, 11, 300, 500)
	g.add(4, 12, 400, 500)
	if at := g.confirm(10, grantRef{place: 1, token: 100}); at != confirmedNow {
		t.Fatalf("confirmed by place: %v", at)
	}
	if at := g.confirm(12, grantRef{token: 400}); at != confirmedNow {
		t.Fatalf("confirmed by token: %v", at)
	}
	if at := g.confirm(12, grantRef{token: 400}); at != confirmedBefore {
		t.Fatalf("confirmed again: %v", at)
	}
	if due := g.shut(confirmMs-1, all); due != nil {
		t.Fatalf("due too early: %v", due)
	}
	if due := g.shut(confirmMs, all); !slices.Equal(due, []uint64{2}) {
		t.Fatalf("due: %v", due)
	}
	if at := g.confirm(10, grantRef{place: 2, token: 200}); at != confirmedGoing {
		t.Fatalf("while it is taken back: %v", at)
	}
	g.decided([]uint64{2}, false, confirmMs)
	if at := g.confirm(10, grantRef{place: 2, token: 200}); at != confirmedNow {
		t.Fatalf("after it was not taken back: %v", at)
	}
	if due := g.shut(2*confirmMs, func(_, token quorum.Zxid) bool { return token != 300 }); due != nil || len(g.pending) != 0 || len(g.queue) != 0 {
		t.Fatalf("ended by others: due %v, left %v", due, g.pending)
	}
}

func TestSilentHomesAreFound(t *testing.T) {
	h := newHomes()
	h.begin()
	a, b, c := lease.HomeRef{Node: 1, Home: 1}, lease.HomeRef{Node: 2, Home: 1}, lease.HomeRef{Node: 2, Home: 2}
	h.beat(c, true, 0) // before it is known to have places, as in an earlier reign
	all := []lease.HomeRef{a, b, c}
	if out := h.silent(all, 1000); out != nil {
		t.Fatalf("at first: %v", out)
	}
	h.beat(a, false, 3500)
	if out := h.silent(all, 3999); out != nil {
		t.Fatalf("before the time: %v", out)
	}
	if out := h.silent(all, 4000); !slices.Equal(out, []lease.HomeRef{b}) {
		t.Fatalf("after 3 s: %v", out)
	}
	h.beat(a, true, 4000)
	if out := h.silent([]lease.HomeRef{a, c}, 6000); !slices.Equal(out, []lease.HomeRef{c}) {
		t.Fatalf("5 s after it said that it drains: %v", out)
	}
	if out := h.silent([]lease.HomeRef{a}, 8999); out != nil {
		t.Fatalf("while it drains: %v", out)
	}
	if out := h.silent([]lease.HomeRef{a, b}, 9000); !slices.Equal(out, []lease.HomeRef{a}) {
		t.Fatalf("drained: %v", out) // b had none in between and begins anew
	}
}

func TestLongSessionsAreCheckpointed(t *testing.T) {
	const ttl = 100 * time.Second
	track, cs := lease.NewTracker(), newCheckpoints()
	for id := quorum.Zxid(1); id <= 3; id++ {
		track.Add(id, ttl, 0)
		cs.add(id, ttl, 0, 0)
	}
	cs.add(4, time.Second, 0, 0) // is no long one
	ids := func(list []*checkpoint) (out []quorum.Zxid) {
		for _, c := range list {
			out = append(out, c.id)
		}
		slices.Sort(out)
		return out
	}
	if due := cs.due(track, 9_999); due != nil {
		t.Fatalf("before TTL/10: %v", ids(due))
	}
	track.Touch(2, 9_000)
	if due := cs.due(track, 10_000); !slices.Equal(ids(due), []quorum.Zxid{1, 3}) || due[0].left != 90_000 {
		t.Fatalf("after TTL/10: %v", ids(due))
	}
	if below := cs.below([]uint64{1, 2, 4, 9}); !slices.Equal(ids(below), []quorum.Zxid{1}) {
		t.Fatalf("below: %v", ids(below))
	}
	cs.setTTL(1, ttl, 10_000) // the same: the log says what it said
	cs.setTTL(3, 2*ttl, 10_000)
	if below := cs.below([]uint64{1, 3}); len(below) != 2 {
		t.Fatal("a checkpoint under way is forgotten")
	}
	if due := cs.due(track, 19_000); !slices.Equal(ids(due), []quorum.Zxid{2}) {
		t.Fatalf("touched at 9 s: %v", ids(due))
	}
	cs.remove(1)
	cs.setTTL(2, time.Second, 19_000)
	track.Remove(3)
	if due := cs.due(track, 20_000); due != nil {
		t.Fatalf("ended ones: %v", ids(due))
	}
}

func TestPlacesEndOnce(t *testing.T) {
	p := newPlaces()
	if p.active() {
		t.Fatal("active without places")
	}
	at := func(attach uint32) lease.Place { return lease.Place{ID: 7, Attach: attach} }
	end := func(attach uint32) []placeEnd {
		return []placeEnd{{outcome: lease.Outcome{Place: 7, Attach: attach}, zxid: 9}}
	}
	first, second, dropped := newPlaced(), newPlaced(), newPlaced()
	p.add(at(1), first)
	p.add(at(2), second)
	p.add(at(3), dropped)
	p.drop(at(3))
	p.end(append(append(end(1), end(1)...), end(3)...), nil)
	if e := <-first.done; e.zxid != 9 || e.err != nil {
		t.Fatalf("the first: %+v", e)
	}
	p.end(end(2), lease.ErrStateInDoubt)
	if e := <-second.done; e.err != lease.ErrCommitTimeout || e.zxid != 0 {
		t.Fatalf("in doubt: %+v", e)
	}
	select {
	case e := <-dropped.done:
		t.Fatalf("dropped: %+v", e)
	default:
	}
	if !p.active() || p.active() {
		t.Fatal("places that have come and gone make one beat")
	}
	lost, failed := newPlaced(), newPlaced()
	p.add(at(4), lost)
	p.replaced(lease.New(lease.DefaultSettings()).View())
	if e := <-lost.done; !e.look {
		t.Fatalf("after a snapshot: %+v", e)
	}
	p.add(at(5), failed)
	p.fail(lease.ErrCommitTimeout)
	if e := <-failed.done; e.err != lease.ErrCommitTimeout {
		t.Fatalf("failed: %+v", e)
	}
}
