package lease

import (
	"errors"
	"strings"

	"perch/gen/commandpb"
	"perch/gen/snapshotpb"
	"perch/quorum"
	"perch/tree"
)

// What is held, in snapshots.

func init() {
	snapshotParts = append(snapshotParts,
		snapshotPart{16, func(v *View) int { return v.things.Len() }, (*View).writeThings, readThing},
		snapshotPart{17, func(v *View) int { return v.holds.Len() }, (*View).writeHolds, readHold},
		snapshotPart{18, func(v *View) int { return v.places.Len() }, (*View).writePlaces, readPlace},
		snapshotPart{19, func(v *View) int { return v.overs.Len() }, (*View).writeOvers, readOver},
	)
}

func (v *View) writeThings(f *frameWriter) {
	v.things.Scan(func(t *thing) bool {
		m := &snapshotpb.Thing{
			Path: t.path, Kind: uint32(t.kind), Tag: uint64(t.tag), Limit: t.limit, SharedSince: uint64(t.sharedSince),
			DelayUntil: t.delayUntil, RevokedAt: uint64(t.revokedAt), Reason: t.reason, BreakAt: t.breakAt, Value: t.value,
		}
		if r := t.run; r != nil {
			m.Run = &snapshotpb.Run{
				State: uint32(r.state), Attempts: uint64(r.attempts), MaxAttempts: uint64(r.maxAttempts), KeepMs: r.keep,
				PeriodMs: r.period, OffsetMs: r.offset, Data: r.data, CompletedMs: r.completed, Begun: uint64(r.begun),
				ForgetAt: r.forgetAt, Key: r.key,
			}
		}
		return f.frame(16, m)
	})
}

func (v *View) writeHolds(f *frameWriter) {
	var m snapshotpb.Hold
	v.holds.Scan(func(h *hold) bool {
		m.Path, m.Token, m.Session, m.Identity = h.path, uint64(h.token), uint64(h.session), []byte(h.identity)
		m.Owner, m.Shared, m.Permits, m.SinceMs, m.Granted = h.owner, h.shared, h.permits, h.since, uint64(h.granted)
		m.Place, m.Attach, m.Again, m.DelayMs, m.Paths = uint64(h.place), h.attach, h.again, h.delay, h.paths
		return f.frame(17, &m)
	})
}

func (v *View) writePlaces(f *frameWriter) {
	var m snapshotpb.Place
	v.places.Scan(func(p *place) bool {
		m.Id, m.Paths, m.Shared, m.Session, m.Set = uint64(p.id), p.paths, p.shared, uint64(p.session), p.set
		m.Identity, m.Digest, m.Owner, m.Permits = []byte(p.identity), []byte(p.request), p.owner, p.permits
		m.DelayMs, m.Attach, m.Node, m.Home, m.Asking = p.delay, p.attach, uint32(p.node), p.home, p.asking
		m.StayMs, m.Until, m.Value, m.MaxAttempts = p.stay, p.until, p.value, uint64(p.run.maxAttempts)
		m.KeepMs, m.PeriodMs, m.OffsetMs, m.Key = p.run.keep, p.run.period, p.run.offset, p.run.key
		return f.frame(18, &m)
	})
}

func (v *View) writeOvers(f *frameWriter) {
	var m snapshotpb.Over
	v.overs.Scan(func(o *over) bool {
		m.Path, m.Ref, m.Token, m.How, m.AgeMs = o.path, []byte(o.ref), uint64(o.token), uint32(o.how), o.age
		return f.frame(19, &m)
	})
}

var errImpossible = errors.New("an impossible record of what is held")

func readThing(s *State, f *frameReader) error {
	var m snapshotpb.Thing
	if err := f.next(16, &m); err != nil {
		return err
	}
	t := &thing{
		path: m.Path, kind: commandpb.Kind(m.Kind), tag: quorum.Zxid(m.Tag), limit: m.Limit,
		sharedSince: quorum.Zxid(m.SharedSince), delayUntil: m.DelayUntil, revokedAt: quorum.Zxid(m.RevokedAt),
		reason: m.Reason, breakAt: m.BreakAt, value: m.Value,
	}
	if t.kind < 0 || t.kind > commandpb.Kind_KIND_ONCE || t.tag > s.zxid || s.thing(t.path) != nil || !ofRoom(t) {
		return errImpossible
	}
	if r := m.Run; r != nil {
		if r.State > uint32(runFailed) || r.Attempts > 1<<62 || r.MaxAttempts > 1<<31 {
			return errImpossible
		}
		t.run = &run{
			state: runState(r.State), attempts: int64(r.Attempts), maxAttempts: int64(r.MaxAttempts), keep: r.KeepMs,
			period: r.PeriodMs, offset: r.OffsetMs, data: r.Data, completed: r.CompletedMs, begun: quorum.Zxid(r.Begun),
			forgetAt: r.ForgetAt, key: r.Key,
		}
	}
	s.loadThing(t)
	return nil
}

func (s *State) loadThing(t *thing) {
	s.sum += t.digest()
	s.things.Set(t)
	if t.delayUntil > 0 {
		s.dues.Set(due{age: t.delayUntil, what: dueDelay, path: t.path})
	}
	if t.breakAt > 0 {
		s.dues.Set(due{age: t.breakAt, what: dueBreak, path: t.path})
	}
	if t.run != nil {
		s.runs.Set(runSpot{tree.Parent(t.path), t.run.begun, t.path})
		if t.run.forgetAt > 0 {
			s.dues.Set(due{age: t.run.forgetAt, what: dueRun, path: t.path})
		}
	}
}

// ofRoom says whether the path of a thing is one of its kind.
func ofRoom(t *thing) bool {
	room := tree.Reserved + "/" + rooms[t.kind] + "/"
	at := strings.LastIndex(t.path, room)
	return at >= 0 && len(t.path) > at+len(room) && (t.run == nil || t.kind == commandpb.Kind_KIND_ONCE)
}

func readHold(s *State, f *frameReader) error {
	var m snapshotpb.Hold
	if err := f.next(17, &m); err != nil {
		return err
	}
	h := &hold{
		path: m.Path, token: quorum.Zxid(m.Token), session: quorum.Zxid(m.Session), identity: string(m.Identity), owner: m.Owner,
		shared: m.Shared, permits: m.Permits, since: m.SinceMs, granted: quorum.Zxid(m.Granted), place: quorum.Zxid(m.Place),
		attach: m.Attach, again: m.Again, delay: m.DelayMs, paths: m.Paths,
	}
	t := s.thing(h.path)
	_, alive := s.sessions.Get(&session{id: h.session})
	_, twice := s.holdsOf.Get(h)
	if t == nil || !alive || twice || h.granted > s.zxid {
		return errImpossible
	}
	s.listHold(nil, t.kind, h)
	return nil
}

func readPlace(s *State, f *frameReader) error {
	var m snapshotpb.Place
	if err := f.next(18, &m); err != nil {
		return err
	}
	p := &place{
		id: quorum.Zxid(m.Id), paths: m.Paths, shared: m.Shared, set: m.Set, session: quorum.Zxid(m.Session),
		identity: string(m.Identity), request: string(m.Digest), owner: m.Owner, permits: m.Permits, delay: m.DelayMs,
		value: m.Value, attach: m.Attach, node: quorum.NodeID(m.Node), home: m.Home, asking: m.Asking,
		stay: m.StayMs, until: m.Until,
		run: run{
			key: m.Key, maxAttempts: int64(m.MaxAttempts), keep: m.KeepMs, period: m.PeriodMs, offset: m.OffsetMs,
		},
	}
	_, alive := s.sessions.Get(&session{id: p.session})
	_, twice := s.places.Get(p)
	if !alive || twice || p.id > s.zxid || len(p.paths) == 0 || len(p.shared) != len(p.paths) {
		return errImpossible
	}
	for _, path := range p.paths {
		if s.thing(path) == nil {
			return errImpossible
		}
	}
	s.listPlace(nil, 0, p)
	return nil
}

func readOver(s *State, f *frameReader) error {
	var m snapshotpb.Over
	if err := f.next(19, &m); err != nil {
		return err
	}
	o := &over{path: m.Path, ref: string(m.Ref), token: quorum.Zxid(m.Token), how: endHow(m.How), age: m.AgeMs}
	if _, twice := s.overs.Get(o); twice || m.How > uint32(howLost) || o.age > s.age {
		return errImpossible
	}
	s.listOver(o)
	return nil
}
