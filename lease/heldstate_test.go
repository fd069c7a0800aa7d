package lease

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

func heldSettings() Settings {
	s := DefaultSettings()
	s.Waiting, s.SessionHolds, s.OverAgeMs, s.TTLMinMs = 5, 6, 100, 10
	return s
}

// drawHeld draws what can be done to what is held. It knows what was granted and
// which places there were.
func drawHeld(t *rapid.T, m *heldModel, known []Place, tokens []quorum.Zxid) *commandpb.Command {
	token := fmt.Sprint("token-", rapid.IntRange(0, 4).Draw(t, "token"))
	name := func() string { return fmt.Sprint("l", rapid.IntRange(0, 2).Draw(t, "name")) }
	var c *commandpb.Command
	switch rapid.IntRange(0, 16).Draw(t, "op") {
	case 0, 1, 2, 3, 4, 5:
		c = drawAcquire(t, token)
	case 6, 7, 8:
		c = drawRelease(t, token, tokens)
	case 9, 10:
		p := rapid.SampledFrom(append([]Place{{ID: 5}}, known...)).Draw(t, "place")
		c = leaving(p, rapid.Bool().Draw(t, "gone"))
	case 11:
		c = held(with(byToken(token), rapid.SampledFrom([]func() *commandpb.Command{
			func() *commandpb.Command { return openSession(1000) },
			func() *commandpb.Command { return closeSession(0) },
			func() *commandpb.Command {
				return proclaiming(token, &commandpb.Proclaim{Name: "l0", Value: token})
			},
		}).Draw(t, "session op")()))
	case 12:
		ids := append(slices.Sorted(maps.Keys(m.sessions)), 12345)
		c = held(expire(rapid.SampledFrom(ids).Draw(t, "expired"), rapid.SampledFrom(ids).Draw(t, "expired")))
	case 13:
		if c = breaking(commandpb.Kind(rapid.IntRange(0, 2).Draw(t, "kind")), name()); rapid.Bool().Draw(t, "revoke") {
			c = revoking(&commandpb.Revoke{Name: name(), BreakAfterMs: rapid.SampledFrom([]*uint64{nil, proto.Uint64(20)}).Draw(t, "break")})
		}
	case 14:
		op := &commandpb.Withdraw{Epoch: 1, Homes: []*commandpb.Home{{Node: 1, Instance: uint64(rapid.IntRange(1, 3).Draw(t, "home"))}}}
		if len(known) > 0 && rapid.Bool().Draw(t, "grants") {
			op = &commandpb.Withdraw{Epoch: 1, Places: []uint64{uint64(rapid.SampledFrom(known).Draw(t, "granted").ID)}}
		}
		c = withdrawing(op)
	case 15:
		c = lapsing()
	default:
		c = completing(token, &commandpb.Complete{Name: "job", Failed: rapid.Bool().Draw(t, "failed")})
	}
	c.Caller = &commandpb.Caller{Address: token}
	return c
}

func drawAcquire(t *rapid.T, token string) *commandpb.Command {
	op := &commandpb.Acquire{
		Owner: rapid.SampledFrom([]string{"", "x"}).Draw(t, "owner"), Wait: rapid.IntRange(0, 3).Draw(t, "wait") > 0,
		Home:   &commandpb.Home{Node: 1, Instance: uint64(rapid.IntRange(1, 3).Draw(t, "home"))},
		StayMs: rapid.SampledFrom([]uint64{0, 0, 30}).Draw(t, "stay"),
	}
	shared := rapid.Bool().Draw(t, "shared")
	name := fmt.Sprint("l", rapid.IntRange(0, 2).Draw(t, "name"))
	op.Wants = wants(name)
	switch rapid.IntRange(0, 8).Draw(t, "kind") {
	case 0, 1, 2, 3:
		op.LockDelayMs = rapid.SampledFrom([]uint64{0, 0, 15}).Draw(t, "delay")
		op.Wants[0].Shared = shared
	case 4, 5:
		op.Set, op.Wants = true, wants(rapid.SampledFrom([][]string{{"l0"}, {"l0", "l1"}, {"l2", "l1"}, {"l1", "l2", "l0"}}).Draw(t, "set")...)
		for _, w := range op.Wants {
			w.Shared = shared
		}
	case 6:
		op.Kind, op.Limit = kindSemaphore, 3
		op.Permits = rapid.Int64Range(1, 3).Draw(t, "permits")
		if rapid.IntRange(0, 9).Draw(t, "other limit") == 0 {
			op.Limit = 4
		}
	case 7:
		op.Kind, op.Value = kindElection, token
	default:
		op.Kind, op.Wants = kindOnce, wants("job")
		op.Run = &commandpb.Run{
			Key: rapid.SampledFrom([]string{"a", "b/%"}).Draw(t, "key"), MaxAttempts: uint64(rapid.IntRange(0, 3).Draw(t, "most")),
		}
	}
	return acquire(token, op)
}

func drawRelease(t *rapid.T, token string, tokens []quorum.Zxid) *commandpb.Command {
	op := &commandpb.Release{
		Kind:  commandpb.Kind(rapid.SampledFrom([]int{0, 0, 1, 2, 3}).Draw(t, "kind")),
		Names: []string{fmt.Sprint("l", rapid.IntRange(0, 2).Draw(t, "name"))},
	}
	if op.Kind == kindOnce {
		op.Names, op.Run = []string{"job"}, &commandpb.Run{Key: rapid.SampledFrom([]string{"a", "b/%"}).Draw(t, "key")}
	}
	if len(tokens) > 0 && rapid.IntRange(0, 2).Draw(t, "by token") == 0 {
		op.Token = uint64(rapid.SampledFrom(tokens).Draw(t, "fencing token"))
	}
	if rapid.IntRange(0, 5).Draw(t, "all") == 0 {
		op = &commandpb.Release{Set: true}
	}
	return release(token, op)
}

// What is held is what the slow model holds, whatever is asked for, in whatever
// order, and across restores; a panic at any change is an internal outcome on the
// unchanged state.
func TestHeldAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := New(heldSettings()), newHeldModel(heldSettings())
		z, age := quorum.MakeZxid(1, 0), uint64(0)
		do := func(c *commandpb.Command, fault int) (Result, bool) {
			z++
			data, _ := proto.Marshal(c)
			fired := armFault(s, z, fault)
			r, _, err := s.Apply(&quorum.Entry{Zxid: z, Kind: quorum.EntryCommand, Data: data, Stamp: quorum.Stamp{Wall: 1000, Age: age}})
			if err != nil || r.Code == tree.ErrInternal && !*fired {
				t.Fatal(err, r.Fault)
			}
			return r, *fired
		}
		do(raise(heldLevel), 0)
		var known []Place
		var tokens []quorum.Zxid
		last := map[string]quorum.Zxid{} // greatest token of a thing that excludes
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			age += uint64(rapid.SampledFrom([]int{0, 0, 1, 5, 20, 60}).Draw(t, "time"))
			if at, due := s.View().NextLapse(); due && at <= age { // the leader sees to it
				r, _ := do(lapsing(), 0)
				var want hmResult
				if m, want = m.apply(z, age, 1000, lapsing()); !reflect.DeepEqual(heldResult(&r), want) {
					t.Fatalf("lapse: got %+v, want %+v", heldResult(&r), want)
				}
			}
			c := drawHeld(t, m, known, tokens)
			r, fired := do(c, rapid.IntRange(0, 60).Draw(t, "fault at"))
			if fired {
				m.age = max(m.age, age)
				m.forgetOvers()
				continue
			}
			var want hmResult
			m, want = m.apply(z, age, 1000, c)
			if got := heldResult(&r); !reflect.DeepEqual(got, want) {
				t.Fatalf("%v\n got %+v\nwant %+v", c, got, want)
			}
			if r.Place.ID != 0 {
				known = append(known, r.Place)
			}
			if r.Hold.Token != 0 {
				tokens = append(tokens, r.Hold.Token)
			}
			compareHeld(t, s, m, last)
			if rapid.IntRange(0, 8).Draw(t, "restore") == 0 {
				s = restored(t, s)
			}
		}
		restored(t, s)
	})
}

func heldResult(r *Result) hmResult {
	got := hmResult{
		Code: r.Code, Token: r.Hold.Token, Replayed: r.Replayed, Place: r.Place.ID, Attach: r.Place.Attach, Position: r.Place.Position,
	}
	for _, o := range r.Outcomes {
		got.Outcomes = append(got.Outcomes, fmt.Sprint(o.Place, o.Attach, o.Home, o.Code, o.Hold.Token))
	}
	slices.Sort(got.Outcomes)
	got.Ended = append(got.Ended, r.Ended...)
	slices.Sort(got.Ended)
	return got
}

// compareHeld looks at all that can be held, and that tokens rise.
func compareHeld(t *rapid.T, s *State, m *heldModel, last map[string]quorum.Zxid) {
	if s.sessions.Len() != len(m.sessions) || s.holds.Len() != len(m.holds) || s.places.Len() != len(m.places) || s.overs.Len() != len(m.overs) {
		t.Fatalf("%d sessions, %d holds, %d places, %d over", s.sessions.Len(), s.holds.Len(), s.places.Len(), s.overs.Len())
	}
	for kind := kindLock; kind <= kindOnce; kind++ {
		names := []string{"l0", "l1", "l2"}
		if kind == kindOnce {
			names = []string{"job/a", "job/b/%"}
		}
		for _, name := range names {
			compareThing(t, s.View(), m, kind, name, last)
		}
	}
}

func compareThing(t *rapid.T, v *View, m *heldModel, kind commandpb.Kind, name string, last map[string]quorum.Zxid) {
	thing, q := thingOf(kind, name), Read{Kind: ReadHeld, Of: kind, Name: name}
	if kind == kindOnce {
		q.Name, q.Key = name[:3], name[4:]
	}
	a, _, err := v.Read(q, Cursor{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, list := a.Held[0], m.holdsOfThing(thing)
	waiting := 0
	for _, p := range m.places {
		if slices.Contains(p.things, thing) {
			waiting++
		}
	}
	if got.Held != len(list) || got.Waiting != waiting || got.Limit != m.limits[thing] || got.Value != m.values[thing] || got.Revoked != (m.revoked[thing] != nil) {
		t.Fatalf("%s: %+v, want %d held, %d waiting", thing, got, len(list), waiting)
	}
	if r := m.runs[thing]; r != nil && (got.Run.State != r.state || got.Run.Attempts != r.attempts) {
		t.Fatalf("%s: %+v, want %+v", thing, got.Run, r)
	}
	for i, h := range list {
		if g := got.Holders[i]; g.Session != h.session || g.Token != h.shown() || g.Shared != h.shared || g.Permits != h.permits {
			t.Fatalf("%s: holder %+v, want %+v", thing, g, h)
		}
		if kind == kindSemaphore {
			continue
		}
		if i > 0 && !(h.shared && list[0].shared) {
			t.Fatalf("%s: two hold it, %+v and %+v", thing, list[0], h)
		}
		if h.token < last[thing] {
			t.Fatalf("%s: token %v after %v", thing, h.token, last[thing])
		}
		last[thing] = h.token
	}
	path := "/perch/" + rooms[kind] + "/" + q.Name
	if kind == kindOnce {
		path = runPath(path, q.Key)
	}
	if _, shown := v.tree.Get(path); shown != (len(list)+waiting > 0 || m.delays[thing] > 0 && got.Tag != 0 || m.runs[thing] != nil) {
		t.Fatalf("%s: shown %v, %+v", thing, shown, got)
	}
}
