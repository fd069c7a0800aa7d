package lease

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"perch/quorum"
)

// slowLease is one session in the obvious way: when it was last renewed, and
// for how long.
type slowLease struct {
	ttl, renewed uint64
	closing      bool
}

func (l slowLease) due() uint64 { return l.renewed + l.ttl + min(l.ttl/50, 500) }

// Never early, never forgotten, in order, and a closing session waits.
func TestTrackerAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr, slow := NewTracker(), map[quorum.Zxid]*slowLease{}
		now := uint64(rapid.IntRange(0, 1000).Draw(t, "start"))
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now += uint64(rapid.IntRange(0, 300).Draw(t, "time"))
			id := quorum.Zxid(rapid.IntRange(1, 12).Draw(t, "id"))
			ttl := uint64(rapid.IntRange(1, 40).Draw(t, "ttl")) * 100
			l := slow[id]
			switch rapid.IntRange(0, 9).Draw(t, "do") {
			case 0, 1:
				tr.Add(id, time.Duration(ttl)*time.Millisecond, now)
				if l == nil {
					slow[id] = &slowLease{ttl: ttl, renewed: now}
				}
			case 2, 3, 4:
				checkTouch(t, tr, l, id, now)
			case 5:
				tr.SetTTL(id, time.Duration(ttl)*time.Millisecond, now)
				if l != nil {
					l.ttl, l.renewed = ttl, now
				}
			case 6:
				tr.Remove(id)
				delete(slow, id)
			case 7:
				tr.Reopen(id, now)
				if l != nil && l.closing {
					*l = slowLease{ttl: l.ttl, renewed: now}
				}
			default:
				checkDue(t, tr, slow, now)
			}
			if tr.Len() != len(slow) {
				t.Fatalf("%d tracked, want %d", tr.Len(), len(slow))
			}
		}
		checkDue(t, tr, slow, now+1_000_000)
		if _, any := tr.Next(); any {
			t.Fatal("something is left to become due")
		}
	})
}

func checkTouch(t *rapid.T, tr *Tracker, l *slowLease, id quorum.Zxid, now uint64) {
	before, _ := tr.Remaining(id, now)
	remaining, state := tr.Touch(id, now)
	switch {
	case l == nil && state != TouchUnknown, l != nil && l.closing && state != TouchClosing, l != nil && !l.closing && state != TouchAlive:
		t.Fatalf("%+v is %v", l, state)
	case state == TouchAlive:
		if want := time.Duration(l.ttl) * time.Millisecond; remaining != want || before > want {
			t.Fatalf("%v remaining, %v before, want %v", remaining, before, want)
		}
		l.renewed = now
	}
	if after, again := tr.Remaining(id, now); after != remaining || again != state {
		t.Fatal(after, again)
	}
}

func checkDue(t *rapid.T, tr *Tracker, slow map[quorum.Zxid]*slowLease, now uint64) {
	var want []quorum.Zxid
	for id, l := range slow {
		if !l.closing && l.due() <= now {
			want = append(want, id)
		}
	}
	if next, any := tr.Next(); len(want) > 0 && (!any || next > now) {
		t.Fatalf("next is %d, but %v are due at %d", next, want, now)
	}
	var got []quorum.Zxid
	for {
		ids := tr.Due(now, 2)
		if len(ids) > 2 {
			t.Fatal(ids)
		}
		if len(ids) == 0 {
			break
		}
		got = append(got, ids...)
	}
	byDue := slices.IsSortedFunc(got, func(a, b quorum.Zxid) int { return int(slow[a].due()) - int(slow[b].due()) })
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || !byDue {
		t.Fatalf("due at %d: %v, want %v, in order %v", now, got, want, byDue)
	}
	for _, id := range got {
		slow[id].closing = true
	}
}

// RULES.md R23: due at TTL + min(TTL/50, 500 ms) on the lease clock, not a
// millisecond before.
func TestTrackerIsNeverEarly(t *testing.T) {
	for ttlMs, slack := range map[uint64]uint64{1000: 20, 25_000: 500, 30_000: 500, 86_400_000: 500, 49: 0} {
		tr := NewTracker()
		tr.Add(1, time.Duration(ttlMs)*time.Millisecond, 100)
		if ids := tr.Due(100+ttlMs+slack-1, 10); ids != nil {
			t.Errorf("ttl %d: early", ttlMs)
		}
		if ids := tr.Due(100+ttlMs+slack, 10); !slices.Equal(ids, []quorum.Zxid{1}) {
			t.Errorf("ttl %d: late", ttlMs)
		}
	}
}

// A new reign grants every session its full TTL and takes back what was
// closing; the end of a reign leaves nothing.
func TestTrackerReigns(t *testing.T) {
	b := newBench(t, small())
	one := b.must(openSession(2000)).Zxid
	two := b.must(openSession(4000)).Zxid
	tr := NewTracker()
	tr.Reset(b.s.View(), 0)
	if ids := tr.Due(3000, 10); !slices.Equal(ids, []quorum.Zxid{one}) {
		t.Fatal(ids)
	}
	tr.Reset(b.s.View(), 10)
	want := map[quorum.Zxid]time.Duration{one: 2 * time.Second, two: 4 * time.Second}
	got := map[quorum.Zxid]time.Duration{}
	for id := range want {
		got[id], _ = tr.Remaining(id, 10)
	}
	if !maps.Equal(got, want) {
		t.Fatal(got)
	}
	tr.Forget()
	if _, state := tr.Touch(one, 10); state != TouchUnknown || tr.Len() != 0 {
		t.Fatal(state, tr.Len())
	}
}
