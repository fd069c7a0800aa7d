package lease

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

func enter(name string, count uint64, generation ...uint64) *commandpb.Command {
	op := &commandpb.Enter{Name: name, Count: count, Owner: "o"}
	if len(generation) > 0 {
		op.Generation = &generation[0]
	}
	return held(&commandpb.Command{Op: &commandpb.Command_Enter{Enter: op}})
}

func depart(name string, failed bool, generation ...uint64) *commandpb.Command {
	op := &commandpb.Depart{Name: name, Failed: failed}
	if len(generation) > 0 {
		op.Generation = &generation[0]
	}
	return held(&commandpb.Command{Op: &commandpb.Command_Depart{Depart: op}})
}

func closeBarrier(name string) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_CloseBarrier{CloseBarrier: &commandpb.CloseBarrier{Name: name}}})
}

func openBarrier(name string) *commandpb.Command {
	return held(&commandpb.Command{Op: &commandpb.Command_OpenBarrier{OpenBarrier: &commandpb.OpenBarrier{Name: name}}})
}

// anybody opens a session for what is asked for, with a token that the server
// draws.
func anybody() *commandpb.SessionRef { return &commandpb.SessionRef{OpenTtlMs: ttl} }

// mbarrier is the slow, obvious model of a barrier: who is inside, and in which
// generation.
type mbarrier struct {
	generation, count int64
	closed            bool
	inside            map[string]int64 // by token
	told              map[string]bool  // those who know that they are through
}

func newBarrierModel() *mbarrier {
	return &mbarrier{inside: map[string]int64{}, told: map[string]bool{}}
}

// tell answers that a generation is through.
func (m *mbarrier) tell(who string, generation int64) {
	if g := m.inside[who]; g > 0 && g <= generation {
		m.told[who] = true
	}
}

func (m *mbarrier) leave(who string) {
	delete(m.inside, who)
	delete(m.told, who)
}

func (m *mbarrier) in(generation int64) (n int64) {
	for _, g := range m.inside {
		if g == generation {
			n++
		}
	}
	return n
}

func (m *mbarrier) shown(name string, mine int64) Barrier {
	b := Barrier{
		Name: name, Entered: m.in(m.generation + 1), Leaving: m.in(m.generation), Count: m.count,
		Generation: m.generation, Mine: mine,
	}
	if b.Open = !m.closed && b.Entered == 0; mine > 0 {
		b.Open = mine <= m.generation
	}
	return b
}

func (m *mbarrier) enter(who string, count int64, next bool) (int64, tree.Code) {
	coming := m.generation + 1
	switch g := m.inside[who]; {
	case g > 0 && g < coming && !m.told[who] && !next:
		m.tell(who, g)
		return g, tree.OK
	case m.in(coming) > 0 && m.count != count:
		return 0, tree.ErrLimitMismatch
	case m.inside[who] == coming:
		return coming, tree.OK
	}
	m.leave(who)
	m.inside[who], m.count = coming, count
	if m.in(coming) >= count && !m.closed {
		m.generation++
		m.tell(who, coming)
	}
	return coming, tree.OK
}

// Barriers do what the obvious model does.
func TestBarriersAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newHeldBench(rapidTB{t: t})
		model := map[string]*mbarrier{"a": newBarrierModel(), "b": newBarrierModel()}
		live := map[string]quorum.Zxid{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "barrier")
			who := rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "who")
			m := model[name]
			if live[who] == 0 {
				live[who] = b.must(openSession(ttl)).Session.ID
			}
			ref := byID(live[who])
			want, code := Barrier{}, tree.OK
			var cmd *commandpb.Command
			switch rapid.IntRange(0, 8).Draw(t, "op") {
			case 0, 1, 2, 3:
				count := int64(rapid.IntRange(1, 3).Draw(t, "count"))
				var mine int64
				next := rapid.Bool().Draw(t, "next")
				if cmd = with(ref, enter(name, uint64(count))); next {
					cmd = with(ref, enter(name, uint64(count), uint64(m.generation+1)))
				}
				mine, code = m.enter(who, count, next)
				want = m.shown(name, mine)
			case 4:
				past := int64(rapid.IntRange(0, int(m.generation)).Draw(t, "past"))
				cmd = with(ref, enter(name, 2, uint64(past)))
				m.tell(who, past)
				want = m.shown(name, past)
				want.Open = true
			case 5, 6:
				failed := rapid.Bool().Draw(t, "failed")
				cmd = with(ref, depart(name, failed))
				mine := m.inside[who]
				if !failed {
					m.leave(who)
				}
				want = m.shown(name, mine)
			case 7:
				if rapid.Bool().Draw(t, "close") {
					cmd, m.closed = closeBarrier(name), true
				} else {
					if cmd = openBarrier(name); m.closed || m.in(m.generation+1) > 0 {
						m.generation++
					}
					m.closed = false
				}
				want = m.shown(name, 0)
			default:
				cmd = expire(live[who])
				delete(live, who)
				for _, m := range model {
					m.leave(who)
				}
				model = maps.Clone(model)
			}
			r, _ := b.apply(held(cmd))
			r.Barrier.Tag = 0
			if r.Code != code || !reflect.DeepEqual(r.Barrier, want) {
				t.Fatalf("%v: %v %+v, want %v %+v", cmd, r.Code, r.Barrier, code, want)
			}
			compareBarriers(t, b, model, live)
			if rapid.IntRange(0, 9).Draw(t, "restore") == 0 {
				b.s = restored(t, b.s)
			}
		}
	})
}

func compareBarriers(t *rapid.T, b *bench, model map[string]*mbarrier, live map[string]quorum.Zxid) {
	for name, m := range model {
		shown := m.closed || m.in(m.generation) > 0 && m.generation > 0 || m.in(m.generation+1) > 0
		if b.has("/perch/barriers/"+name) != shown {
			t.Fatalf("%s is shown: %v", name, !shown)
		}
		for _, who := range append([]string{""}, slices.Sorted(maps.Keys(live))...) {
			a, err := b.read(nil, Read{Kind: ReadBarrier, Name: name, Session: live[who]})
			if a.Barrier.Tag = 0; err != nil || a.Barrier != m.shown(name, m.inside[who]) {
				t.Fatalf("%s for %q: %+v, want %+v", name, who, a.Barrier, m.shown(name, m.inside[who]))
			}
		}
	}
}

func TestBarrierRules(t *testing.T) {
	set := DefaultSettings()
	set.SessionHolds, set.Waiting = 2, 3
	b := newHeldBenchWith(t, set)
	one := func() *commandpb.SessionRef { return opening(byToken("one"), ttl) }
	if a, err := b.read(nil, Read{Kind: ReadBarrier, Name: "b"}); err != nil || a.Barrier != (Barrier{Name: "b", Open: true}) {
		t.Error(a.Barrier, err)
	}
	b.refused(tree.ErrInvalidArgument, enter("b", 2)) // without a session
	b.refused(tree.ErrInvalidArgument, with(one(), enter("b", 0)))
	b.refused(tree.ErrInvalidArgument, with(one(), enter("b", 2, 2))) // a generation that nobody waits for
	b.refused(tree.ErrSessionExpired, with(byToken("one"), enter("b", 2)))
	first := b.must(with(one(), enter("b", 2)))
	if !first.Opened || first.Session.ID != first.Zxid || first.Barrier.Open || first.Barrier.Mine != 1 {
		t.Fatalf("%+v", first)
	}
	if r := b.refused(tree.ErrLimitMismatch, with(opening(byToken("two"), ttl), enter("b", 3))); r.Barrier.Count != 2 {
		t.Error(r.Barrier)
	}
	b.must(with(one(), enter("c", 2)))
	b.refused(tree.ErrTooManyWaiters, with(one(), enter("d", 2)))
	// The session that the server drew ends with the wait that fails, the client's
	// own stays inside.
	b.must(with(one(), depart("b", true)))
	if a, _ := b.read(nil, Read{Kind: ReadBarrier, Name: "c", Session: first.Zxid}); a.Barrier.Entered != 1 || a.Barrier.Mine != 1 {
		t.Error(a.Barrier)
	}
	drawn := b.must(with(anybody(), enter("c", 3-1)))
	if !drawn.Opened || !drawn.Barrier.Open || drawn.Barrier.Generation != 1 {
		t.Fatalf("%+v", drawn)
	}
	b.must(with(byID(drawn.Session.ID), depart("c", false)))
	if _, alive := b.s.View().Session(drawn.Session.ID); alive {
		t.Error("a session that was opened for a barrier is still there")
	}
	waits := b.must(with(anybody(), enter("d", 2)))
	if r := b.must(with(byID(waits.Session.ID), depart("d", true))); r.Barrier.Entered != 0 || !slices.Contains(r.Ended, waits.Session.ID) {
		t.Errorf("%+v", r)
	}
	// With a past generation nothing is opened.
	if r := b.must(with(anybody(), enter("c", 2, 1))); r.Opened || r.Session.ID != 0 || !r.Barrier.Open || len(r.Ended) != 0 {
		t.Errorf("%+v", r)
	}
	for i := range 3 {
		b.must(with(opening(byToken(fmt.Sprint("many", i)), ttl), enter("full", 9)))
	}
	b.refused(tree.ErrTooManyWaiters, with(opening(byToken("many3"), ttl), enter("full", 9)))
}

// A session that asks again and again learns that it is through, however late it
// comes, and enters the next generation once it has been told.
func TestPolledBarrier(t *testing.T) {
	b := newHeldBench(t)
	one, two := opening(byToken("1"), ttl), opening(byToken("2"), ttl)
	b.must(with(one, enter("b", 2)))
	b.must(with(two, enter("b", 2)))
	tag := func() quorum.Zxid {
		a, _ := b.read(nil, Read{Kind: ReadBarrier, Name: "b"})
		return a.Barrier.Tag
	}
	// The other one knows, and asks for more: with another count.
	if r := b.must(with(two, enter("b", 3))); r.Barrier.Mine != 2 || r.Barrier.Open {
		t.Fatalf("%+v", r.Barrier)
	}
	b.must(with(two, depart("b", false)))
	opened := tag()
	b.restart()
	if r := b.must(with(one, enter("b", 2))); r.Barrier.Mine != 1 || !r.Barrier.Open || r.Barrier.Leaving != 1 || tag() != opened {
		t.Fatalf("%+v", r.Barrier)
	}
	b.restart()
	if r := b.must(with(one, enter("b", 2))); r.Barrier.Mine != 2 || r.Barrier.Open || r.Barrier.Leaving != 0 {
		t.Fatalf("%+v", r.Barrier)
	}
	b.must(openBarrier("b"))
	b.must(openBarrier("b")) // nothing is left to open
	if r := b.must(with(one, enter("b", 2))); r.Barrier.Mine != 2 || !r.Barrier.Open {
		t.Fatalf("%+v", r.Barrier)
	}
	// The key of a later request is told as well, and tells it again.
	three := opening(byToken("3"), ttl)
	b.must(with(three, enter("c", 2)))
	b.must(openBarrier("c"))
	keyed := withKey("k", with(three, enter("c", 2)))
	for range 2 {
		if r := b.must(keyed); r.Barrier.Mine != 1 || !r.Barrier.Open {
			t.Fatalf("%+v", r.Barrier)
		}
	}
	if r := b.must(with(three, enter("c", 2))); r.Barrier.Mine != 2 || r.Barrier.Open {
		t.Fatalf("%+v", r.Barrier)
	}
	// A generation that it names is told, too, and the coming one needs no telling.
	b.must(openBarrier("c"))
	b.must(with(three, enter("c", 2, 2)))
	if r := b.must(with(three, enter("c", 2))); r.Barrier.Mine != 3 || r.Barrier.Open {
		t.Fatalf("%+v", r.Barrier)
	}
	b.must(openBarrier("c"))
	if r := b.must(with(three, enter("c", 2, 4))); r.Barrier.Mine != 4 || r.Barrier.Open {
		t.Fatalf("%+v", r.Barrier)
	}
}

// The key of an entry: the same generation, as long as there is one.
func TestKeyedEntries(t *testing.T) {
	b := newHeldBench(t)
	one := withKey("1", with(anybody(), enter("b", 2)))
	first := b.must(one)
	again := b.must(one)
	if !again.Replayed || again.Session.ID != first.Session.ID || again.Barrier.Mine != 1 || again.Barrier.Entered != 1 {
		t.Fatalf("%+v", again)
	}
	// The wait fails: the same key enters anew.
	b.must(with(byID(first.Session.ID), depart("b", true)))
	first = b.must(one)
	if first.Replayed || !first.Opened || first.Barrier.Entered != 1 {
		t.Fatalf("%+v", first)
	}
	b.must(expire(first.Session.ID))
	first = b.must(one)
	if first.Replayed || !first.Opened {
		t.Fatalf("%+v", first)
	}
	if r := b.must(with(opening(byToken("2"), ttl), enter("b", 2))); !r.Barrier.Open {
		t.Fatalf("%+v", r)
	}
	b.s = restoredState(t, b.s)
	for range 2 {
		if r := b.must(one); !r.Replayed || r.Barrier.Mine != 1 || !r.Barrier.Open || r.Opened {
			t.Fatalf("%+v", r)
		}
		b.must(expire(first.Session.ID)) // it is through, whatever became of it
	}
	// The same key of another session is another one.
	two := b.must(withKey("s", with(opening(byToken("x"), ttl), enter("c", 3))))
	three := b.must(withKey("s", with(opening(byToken("y"), ttl), enter("c", 3))))
	if two.Session.ID == three.Session.ID || three.Replayed || three.Barrier.Entered != 2 {
		t.Errorf("%+v", three)
	}
}
