package lease

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// heldModel is what is held as a slow and obvious program would keep it: lists
// that it goes through again and again.
type heldModel struct {
	set      Settings
	age      uint64
	sessions map[quorum.Zxid]*hmSession
	ended    map[string]bool // tokens of sessions that have expired or were closed
	holds    []*hmHold       // in the order of grants
	places   []*hmPlace      // in the order of coming
	delays   map[string]uint64
	limits   map[string]int64
	values   map[string]string
	runs     map[string]*hmRun
	revoked  map[string]*hmRevoked
	overs    []hmOver
}

type hmSession struct {
	id        quorum.Zxid
	token     string
	transient bool
}

type hmHold struct {
	thing          string // kind/name
	session        quorum.Zxid
	owner          string // with a mark for sets
	shared         bool
	permits        int64
	token, granted quorum.Zxid
	place          quorum.Zxid
	attach         uint32
	again          bool
	delay          uint64
	set            []string
}

type hmPlace struct {
	id      quorum.Zxid
	things  []string
	shared  bool
	set     bool
	session quorum.Zxid
	owner   string
	permits int64
	delay   uint64
	value   string
	attach  uint32
	asking  bool
	home    uint64
	stay    uint64
	until   uint64
	most    int64
}

type hmRun struct {
	state    string
	attempts int64
	most     int64
	begun    quorum.Zxid
	until    uint64
}

type hmRevoked struct {
	at      quorum.Zxid
	breakAt uint64
}

type hmOver struct {
	thing, token string
	hold         quorum.Zxid
	how          endHow
	age          uint64
}

// hmResult is what is compared of a result.
type hmResult struct {
	Code     tree.Code
	Token    quorum.Zxid
	Replayed bool
	Place    quorum.Zxid
	Attach   uint32
	Position int
	Outcomes []string
	Ended    []quorum.Zxid
}

func newHeldModel(set Settings) *heldModel {
	return &heldModel{
		set: set, sessions: map[quorum.Zxid]*hmSession{}, ended: map[string]bool{}, delays: map[string]uint64{},
		limits: map[string]int64{}, values: map[string]string{}, runs: map[string]*hmRun{}, revoked: map[string]*hmRevoked{},
	}
}

// copy is a deep copy, to go back to.
func (m *heldModel) copy() *heldModel {
	n := *m
	n.sessions, n.ended, n.delays = maps.Clone(m.sessions), maps.Clone(m.ended), maps.Clone(m.delays)
	n.limits, n.values = maps.Clone(m.limits), maps.Clone(m.values)
	n.runs, n.revoked = map[string]*hmRun{}, map[string]*hmRevoked{}
	for k, r := range m.runs {
		c := *r
		n.runs[k] = &c
	}
	for k, r := range m.revoked {
		c := *r
		n.revoked[k] = &c
	}
	n.holds, n.places = nil, nil
	for _, h := range m.holds {
		c := *h
		n.holds = append(n.holds, &c)
	}
	for _, p := range m.places {
		c := *p
		n.places = append(n.places, &c)
	}
	n.overs = slices.Clone(m.overs)
	return &n
}

// hmTxn is one command on the model.
type hmTxn struct {
	*heldModel
	z     quorum.Zxid
	res   hmResult
	loose map[quorum.Zxid]bool
}

// apply runs a command; the model that comes back is the one to go on with.
func (m *heldModel) apply(z quorum.Zxid, age uint64, wall int64, cmd *commandpb.Command) (*heldModel, hmResult) {
	x := &hmTxn{heldModel: m.copy(), z: z, loose: map[quorum.Zxid]bool{}}
	x.age = max(m.age, age)
	before := x.copy()
	code, kept := x.run(cmd)
	if code != tree.OK && !kept {
		before.forgetOvers()
		return before, hmResult{Code: code, Position: x.res.Position}
	}
	x.res.Code = code
	x.settle()
	x.forgetOvers()
	slices.Sort(x.res.Outcomes)
	slices.Sort(x.res.Ended)
	return x.heldModel, x.res
}

func (m *heldModel) forgetOvers() {
	m.overs = slices.DeleteFunc(m.overs, func(o hmOver) bool { return m.age-o.age >= uint64(m.set.OverAgeMs) })
}

func kindOf(thing string) string { return thing[:strings.Index(thing, "/")] }

// settle ends sessions that were opened for what they held, and grants what can
// be granted, the longest waiting first, till nothing can.
func (x *hmTxn) settle() {
	for {
		for id := range x.loose {
			if s := x.sessions[id]; s != nil && s.transient && !x.busy(id) {
				delete(x.sessions, id)
				x.res.Ended = append(x.res.Ended, id)
			}
		}
		x.loose = map[quorum.Zxid]bool{}
		if !x.step() {
			break
		}
	}
	for _, table := range []map[string]int64{x.limits} {
		maps.DeleteFunc(table, func(thing string, _ int64) bool { return !x.used(thing) })
	}
}

func (m *heldModel) used(thing string) bool {
	return slices.ContainsFunc(m.holds, func(h *hmHold) bool { return h.thing == thing }) ||
		slices.ContainsFunc(m.places, func(p *hmPlace) bool { return slices.Contains(p.things, thing) })
}

func (m *heldModel) busy(id quorum.Zxid) bool {
	return slices.ContainsFunc(m.holds, func(h *hmHold) bool { return h.session == id }) ||
		slices.ContainsFunc(m.places, func(p *hmPlace) bool { return p.session == id })
}

// step grants or ends one place.
func (x *hmTxn) step() bool {
	for _, p := range x.places {
		if !p.asking {
			continue
		}
		if code := x.spent(p); code != tree.OK {
			x.endPlace(p, code)
			return true
		}
		if x.barred(p) == "" {
			x.drop(p)
			token := x.grant(p, p.id)
			x.tell(p, tree.OK, token)
			return true
		}
	}
	return false
}

func (m *heldModel) spent(p *hmPlace) tree.Code {
	r := m.runs[p.things[0]]
	switch {
	case r == nil:
	case r.state == "done":
		return tree.ErrOnceDone
	case r.state == "failed", r.state == "idle" && p.most > 0 && r.attempts >= p.most:
		return tree.ErrOnceFailed
	}
	return tree.OK
}

// barred is the first thing that p cannot have.
func (m *heldModel) barred(p *hmPlace) string {
	for _, thing := range p.things {
		if m.delays[thing] > m.age {
			return thing
		}
		permits := p.permits
		for _, h := range m.holds {
			if h.thing != thing {
				continue
			}
			if permits += h.permits; kindOf(thing) != "2" && !(h.shared && p.shared) {
				return thing
			}
		}
		if kindOf(thing) == "2" && permits > m.limitOf(p, thing) {
			return thing
		}
		for _, q := range m.places {
			if q.id < p.id && q.asking && slices.Contains(q.things, thing) && !(q.shared && p.shared) {
				return thing
			}
		}
	}
	return ""
}

func (m *heldModel) limitOf(p *hmPlace, thing string) int64 {
	if l := m.limits[thing]; l > 0 {
		return l
	}
	return p.permits
}

func (x *hmTxn) grant(p *hmPlace, place quorum.Zxid) quorum.Zxid {
	var first *hmHold
	for _, thing := range p.things {
		h := &hmHold{
			thing: thing, session: p.session, owner: p.owner, shared: p.shared, permits: p.permits, token: x.z,
			granted: x.z, place: place, attach: p.attach, delay: p.delay,
		}
		if p.set {
			h.set = p.things
		}
		if p.shared {
			for _, other := range x.holds {
				if other.thing == thing {
					h.token = other.token
				}
			}
		}
		x.holds = append(x.holds, h)
		switch kindOf(thing) {
		case "3":
			x.values[thing] = p.value
		case "4":
			r := x.runs[thing]
			if r == nil {
				r = &hmRun{}
				x.runs[thing] = r
			}
			r.state, r.attempts, r.most, r.begun, r.until = "running", r.attempts+1, p.most, x.z, 0
		}
		if first == nil {
			first = h
		}
	}
	return first.shown()
}

func (h *hmHold) shown() quorum.Zxid {
	if h.set != nil {
		return h.granted
	}
	return h.token
}

func (x *hmTxn) tell(p *hmPlace, code tree.Code, token quorum.Zxid) {
	if p.asking {
		x.res.Outcomes = append(x.res.Outcomes, fmt.Sprint(p.id, p.attach, p.home, code, token))
	}
}

func (x *hmTxn) drop(p *hmPlace) {
	x.places = slices.DeleteFunc(x.places, func(q *hmPlace) bool { return q.id == p.id })
	x.loose[p.session] = true
}

func (x *hmTxn) endPlace(p *hmPlace, code tree.Code) {
	x.drop(p)
	x.tell(p, code, 0)
}

func (x *hmTxn) over(thing string, session, token quorum.Zxid, how endHow) {
	s := x.sessions[session]
	x.overs = slices.DeleteFunc(x.overs, func(o hmOver) bool { return o.thing == thing && o.token == s.token && o.hold == token })
	x.overs = append(x.overs, hmOver{thing, s.token, token, how, x.age})
}

func (x *hmTxn) endHold(h *hmHold, how endHow) {
	x.over(h.thing, h.session, h.shown(), how)
	x.holds = slices.DeleteFunc(x.holds, func(o *hmHold) bool { return o == h })
	x.loose[h.session] = true
	rest := slices.ContainsFunc(x.holds, func(o *hmHold) bool { return o.thing == h.thing })
	if r := x.revoked[h.thing]; r != nil && !slices.ContainsFunc(x.holds, func(o *hmHold) bool { return o.thing == h.thing && o.granted <= r.at }) {
		delete(x.revoked, h.thing)
	}
	if how == howExpired && h.delay > 0 {
		x.delays[h.thing] = max(x.delays[h.thing], x.age+h.delay)
	}
	if rest {
		return
	}
	delete(x.values, h.thing)
	if r := x.runs[h.thing]; r != nil && r.state == "running" {
		x.stop(r, "idle")
	}
}

func (x *hmTxn) stop(r *hmRun, state string) {
	if r.state = state; state == "idle" && r.most > 0 && r.attempts >= r.most {
		r.state = "failed"
	}
	r.until = x.age + keepDefault
}

func (x *hmTxn) endSession(id quorum.Zxid, how endHow) {
	s := x.sessions[id]
	for _, h := range slices.Clone(x.holds) {
		if h.session == id {
			x.endHold(h, how)
		}
	}
	for _, p := range slices.Clone(x.places) {
		if p.session == id {
			for _, thing := range p.things {
				x.over(thing, id, p.id, how)
			}
			x.endPlace(p, tree.ErrSessionExpired)
		}
	}
	delete(x.sessions, id)
	x.ended[s.token] = true
	x.res.Ended = append(x.res.Ended, id)
}

func (m *heldModel) byToken(token string) *hmSession {
	for _, s := range m.sessions {
		if s.token == token {
			return s
		}
	}
	return nil
}

func (m *heldModel) run4(thing string) string {
	if r := m.runs[thing]; r != nil {
		return r.state
	}
	return ""
}

// inTheWay is why a thing is not to be had.
func (m *heldModel) inTheWay(thing string) tree.Code {
	switch {
	case kindOf(thing) == "2":
		return tree.ErrNoPermits
	case m.run4(thing) == "done":
		return tree.ErrOnceDone
	case m.run4(thing) == "failed":
		return tree.ErrOnceFailed
	case kindOf(thing) == "4":
		return tree.ErrOnceRunning
	case m.delays[thing] > m.age && !slices.ContainsFunc(m.holds, func(h *hmHold) bool { return h.thing == thing }):
		return tree.ErrLockDelayed
	}
	return tree.ErrLockHeld
}

// position is where an asking place with an id stands in a queue.
func (m *heldModel) position(thing string, id quorum.Zxid) int {
	n := 1
	for _, p := range m.places {
		if p.id < id && p.asking && slices.Contains(p.things, thing) {
			n++
		}
	}
	return n
}

func (m *heldModel) holdsOfThing(thing string) []*hmHold {
	var list []*hmHold
	for _, h := range m.holds {
		if h.thing == thing {
			list = append(list, h)
		}
	}
	slices.SortStableFunc(list, func(a, b *hmHold) int {
		return cmp.Or(cmp.Compare(a.token, b.token), cmp.Compare(a.session, b.session), strings.Compare(a.owner, b.owner))
	})
	return list
}
