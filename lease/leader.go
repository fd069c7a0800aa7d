package lease

import (
	"time"

	"perch/quorum"
)

// What the leader of a cluster, and the homes of those who wait, need to know of
// what is held.

// Holds says whether a session has the hold that a token means.
func (v *View) Holds(id, token quorum.Zxid) (holds bool) {
	v.holdsOf.Ascend(&hold{session: id}, func(h *hold) bool {
		if h.session != id {
			return false
		}
		holds = h.proves(token)
		return !holds
	})
	return holds
}

// Asks says whether the request that attached itself to a place waits there
// still.
func (v *View) Asks(id quorum.Zxid, attach uint32) bool {
	p, ok := v.places.Get(&place{id: id})
	return ok && p.asking && p.attach == attach
}

// EachLong goes through the sessions of which checkpoints are logged, with their
// TTL and what they had left by the last one: 0 is all of it.
func (v *View) EachLong(f func(id quorum.Zxid, ttl, left time.Duration)) {
	v.sessions.Scan(func(n *session) bool {
		if n.ttlMs >= LongTTL {
			f(n.id, time.Duration(n.ttlMs)*time.Millisecond, time.Duration(n.left)*time.Millisecond)
		}
		return true
	})
}
