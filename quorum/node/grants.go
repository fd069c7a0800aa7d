package node

import "perch/quorum"

const (
	confirmMs    = 2000 // in which a home must have confirmed a grant (RULES.md R17)
	withdrawMost = 1000 // grants in one command
)

// grants are the holds that were granted to places in this leader's reign and
// that no home has confirmed yet. Times are on the lease clock. The keeper's lock
// guards them.
type grants struct {
	pending map[quorum.Zxid]*grant // by place
	queue   []*grant               // as they came; may hold ones that are no longer pending
}

type grant struct {
	place   quorum.Zxid
	session quorum.Zxid
	token   quorum.Zxid
	at      uint64
	going   bool // its end is being proposed
}

func newGrants() *grants { return &grants{pending: make(map[quorum.Zxid]*grant)} }

// add notes a grant that was made now.
func (g *grants) add(place, session, token quorum.Zxid, now uint64) {
	x := &grant{place: place, session: session, token: token, at: now}
	g.pending[place] = x
	g.queue = append(g.queue, x)
}

// confirmed is how a confirmation was met.
type confirmed uint8

const (
	confirmedBefore confirmed = 0 // by somebody else, or in an earlier reign, or the grant has ended
	confirmedNow    confirmed = 1
	confirmedGoing  confirmed = 2 // its end is being proposed: what comes of that must be awaited
)

// confirm ends the wait for a home. A home that does not know the place names
// the session and the token.
func (g *grants) confirm(session quorum.Zxid, ref grantRef) confirmed {
	if ref.place != 0 {
		return g.settle(g.pending[ref.place])
	}
	met := confirmedBefore
	for _, x := range g.pending {
		if x.session == session && x.token == ref.token {
			met = max(met, g.settle(x))
		}
	}
	return met
}

func (g *grants) settle(x *grant) confirmed {
	switch {
	case x == nil:
		return confirmedBefore
	case x.going:
		return confirmedGoing
	}
	delete(g.pending, x.place)
	return confirmedNow
}

// shut takes the grants that nobody has confirmed in time and that held says
// are still there; from here on their confirmations wait for the outcome.
func (g *grants) shut(now uint64, held func(session, token quorum.Zxid) bool) (places []uint64) {
	for len(g.queue) > 0 && len(places) < withdrawMost {
		x := g.queue[0]
		if g.pending[x.place] == x {
			if x.at+confirmMs > now {
				break
			}
			if held(x.session, x.token) {
				x.going = true
				places = append(places, uint64(x.place))
			} else {
				delete(g.pending, x.place)
			}
		}
		g.queue[0], g.queue = nil, g.queue[1:]
	}
	return places
}

// decided says what has become of the grants that shut took. Those that are
// still there may be confirmed again, and are due again.
func (g *grants) decided(places []uint64, gone bool, now uint64) {
	for _, p := range places {
		x := g.pending[quorum.Zxid(p)]
		switch {
		case x == nil:
		case gone:
			delete(g.pending, x.place)
		default:
			g.add(x.place, x.session, x.token, now)
		}
	}
}
