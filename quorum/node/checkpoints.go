package node

import (
	"container/heap"
	"time"

	"perch/lease"
	"perch/quorum"
)

// Checkpoints (RULES.md R22). What a long session has left is logged now and
// then, so that the next leader goes on from there and does not begin it anew. A
// session that was touched meanwhile would end too soon then; so its touch is
// acknowledged only after the log says that it has its whole TTL again.

const (
	longTTL       = lease.LongTTL * time.Millisecond
	checkpointFor = 10   // a session's is logged when the last one is TTL/10 too high
	saveMost      = 1000 // sessions in one command
	saveEvery     = 500  // milliseconds between two commands, when one suffices
)

// checkpoints is what the log says of long sessions, or will say once the
// leader's proposals are committed. Times are on the lease clock, in
// milliseconds. The keeper's lock guards it.
type checkpoints struct {
	byID map[quorum.Zxid]*checkpoint
	heap ordered[*checkpoint]
	next uint64 // when to look again
}

type checkpoint struct {
	id    quorum.Zxid
	ttl   uint64
	left  uint64 // in the log, or proposed; ttl when it has all of it
	turn  uint64 // counts the proposals
	going int    // proposals of it without an outcome
	key   uint64 // when to look at it again
	index int
}

func (c *checkpoint) order() uint64 { return c.key }
func (c *checkpoint) stand() *int   { return &c.index }

func (c *checkpoint) step() uint64 { return c.ttl / checkpointFor }

func newCheckpoints() *checkpoints { return &checkpoints{byID: make(map[quorum.Zxid]*checkpoint)} }

// add follows a session of which the log says that it has all of its TTL, or left
// when that is not 0.
func (cs *checkpoints) add(id quorum.Zxid, ttl, left time.Duration, now uint64) {
	if ttl < longTTL || cs.byID[id] != nil {
		return
	}
	c := &checkpoint{id: id, ttl: uint64(ttl.Milliseconds())}
	if c.left = uint64(left.Milliseconds()); c.left == 0 {
		c.left = c.ttl
	}
	c.key = now + c.step()
	cs.byID[id] = c
	heap.Push(&cs.heap, c)
}

// setTTL follows a session that has a TTL, maybe another one, and then all of it.
// Of one whose checkpoint is under way the log may say less.
func (cs *checkpoints) setTTL(id quorum.Zxid, ttl time.Duration, now uint64) {
	c, ms := cs.byID[id], uint64(ttl.Milliseconds())
	switch {
	case c == nil:
		cs.add(id, ttl, 0, now)
	case ttl < longTTL:
		cs.remove(id)
	case c.ttl != ms:
		c.ttl = ms
		if c.going == 0 {
			c.left = ms
		}
		c.key = now + c.step()
		heap.Fix(&cs.heap, c.index)
	}
}

func (cs *checkpoints) remove(id quorum.Zxid) {
	if c := cs.byID[id]; c != nil {
		heap.Remove(&cs.heap, c.index)
		delete(cs.byID, id)
	}
}

// due takes the sessions of which the log says too much. The caller proposes what
// they have left before anything else is proposed for them.
func (cs *checkpoints) due(t *lease.Tracker, now uint64) (out []*checkpoint) {
	for len(cs.heap) > 0 && len(out) < saveMost {
		c := cs.heap[0]
		if c.key > now {
			break
		}
		rest, state := t.Remaining(c.id, now)
		left := uint64(rest.Milliseconds())
		c.key = now + c.step()
		switch {
		case state != lease.TouchAlive || left == 0: // it is about to end
		case left+c.step() <= c.left:
			c.left = left
			c.turn++
			c.going++
			out = append(out, c)
		default:
			c.key = now + left + c.step() - c.left
		}
		heap.Fix(&cs.heap, 0)
	}
	return out
}

// below lists those of ids of which the log says less than their TTL.
func (cs *checkpoints) below(ids []uint64) (out []*checkpoint) {
	if len(cs.byID) == 0 {
		return nil
	}
	for _, id := range ids {
		if c := cs.byID[quorum.Zxid(id)]; c != nil && c.left < c.ttl {
			out = append(out, c)
		}
	}
	return out
}
