package quorum

import "cmp"

// Requests travel from the node that took them (their home) to the leader, and
// come back as entries with their Origin. A forward names the epoch it is meant
// for, and a leader of another one refuses it; so once the initial history of a
// later epoch was handed out, a request that was not in it can never apply, and
// is sent again (R26).

// requests is what the home node keeps.
type requests struct {
	list      []request // by id
	last      uint64    // highest id submitted
	sentTo    uint64    // highest id that went to …
	sentEpoch Epoch     // … the leader of this epoch
}

type request struct {
	id    uint64
	kind  EntryKind
	data  []byte
	epoch Epoch  // sent to the leader of this epoch; 0 for never
	tick  uint64 // when
}

// maxHomes bounds the nodes whose requests a leader keeps in one reign; further
// ones are served by the next. A node that was removed keeps its place, since it
// may be added again in the same life, and ask again.
const maxHomes = 2 * MaxMembers

// home is what a leader keeps of one node's requests, so that a duplicate is
// not proposed twice.
type home struct {
	id   NodeID
	boot Boot
	low  uint64             // everything below is finished
	seen map[uint64]refusal // id to why it was refused; zero: proposed
}

// refusal is why a leader does not propose a request, and which node is the
// cause; the zero one says that it does.
type refusal struct {
	cause Cause
	node  NodeID // CauseNoMember, CauseBehind
}

// Submit takes a command of this node's clients. Ids rise. The end is either an
// entry in Ready.Committed with this node's Origin or a Failure.
func (c *Core) Submit(id uint64, data []byte) error {
	return c.submit(request{id: id, kind: EntryCommand, data: data})
}

func (c *Core) submit(r request) error {
	q := &c.requests
	switch {
	case len(q.list) >= c.tun.MaxPending:
		return ErrTooManyPending
	case len(r.data)+64 > c.tun.WindowBytes:
		return ErrTooLarge
	case c.doubt() == DoubtRebuild:
		return ErrDoubt
	case r.id <= q.last:
		return ErrOrder
	}
	q.last = r.id
	q.list = append(q.list, r)
	return nil
}

// Forget gives a request up. It reports whether a leader may have it, so that
// its outcome is unknown; otherwise it will never apply. Of a request that the
// core no longer has it says that it left: its entry may have been handed out in
// Committed and wait for its turn.
func (c *Core) Forget(id uint64) (left bool) {
	i, ok := c.requests.find(id)
	if !ok {
		return true
	}
	left = c.requests.list[i].epoch != 0
	c.requests.remove(i)
	return left
}

func (q *requests) find(id uint64) (int, bool) {
	lo, hi := 0, len(q.list)
	for lo < hi {
		if m := (lo + hi) / 2; q.list[m].id < id {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo, lo < len(q.list) && q.list[lo].id == id
}

func (q *requests) remove(i int) {
	if i == 0 {
		q.list[0] = request{}
		q.list = q.list[1:]
		return
	}
	q.list = append(q.list[:i], q.list[i+1:]...)
}

// resolve drops a request of this node that was committed.
func (c *Core) resolve(e *Entry) {
	if e.Origin.Node != c.cfg.ID || e.Origin.Boot != c.ctl.Boot.Nonce {
		return
	}
	if i, ok := c.requests.find(e.Origin.ID); ok {
		c.requests.remove(i)
	}
}

// jumped ends the requests whose entries may lie in a part of the log that a
// snapshot has replaced.
func (c *Core) jumped() {
	kept := c.requests.list[:0:0]
	for _, r := range c.requests.list {
		if r.epoch == 0 {
			kept = append(kept, r)
			continue
		}
		c.out.Failed = append(c.out.Failed, Failure{ID: r.id, Cause: CauseJumped})
	}
	c.requests.list = kept
}

// mayServe says whether requests may go to the present leader: everything that
// earlier leaders may have done with them has been handed out.
func (c *Core) mayServe() bool {
	return c.r.est && c.halt == nil && !c.retired && c.log.emitted >= c.r.base && c.doubt() == DoubtNone
}

// requestsDue says whether flushRequests has something to do: requests that did
// not go to this leader yet, or that it has not answered for long.
func (c *Core) requestsDue() bool {
	q := &c.requests
	if !c.mayServe() || len(q.list) == 0 || c.r.state == StateLeading && c.pausing() {
		return false
	}
	return q.sentEpoch != c.r.epoch || q.list[len(q.list)-1].id > q.sentTo || c.requestsLate()
}

func (c *Core) requestsLate() bool {
	return c.r.state == StateFollowing && c.tick-c.requests.list[0].tick >= requestResendTicks
}

// flushRequests proposes or forwards what has not gone to this leader yet, and
// repeats what it has not answered.
func (c *Core) flushRequests() {
	if !c.requestsDue() {
		return
	}
	q := &c.requests
	first := 0
	if q.sentEpoch == c.r.epoch && !c.requestsLate() {
		first, _ = q.find(q.sentTo + 1)
	}
	q.sentEpoch = c.r.epoch
	if c.r.state == StateLeading {
		c.proposeOwn(first)
		return
	}
	q.sentTo = q.list[len(q.list)-1].id
	c.forward(first)
}

// proposeOwn proposes this leader's own requests from list[first] on, as far as
// it may.
func (c *Core) proposeOwn(first int) {
	q := &c.requests
	kept, i := q.list[:first], first
	for ; i < len(q.list) && !c.pausing(); i++ {
		r := q.list[i]
		q.sentTo = r.id
		if r.epoch != c.r.epoch && c.r.state == StateLeading {
			settled, why := c.take(Origin{c.cfg.ID, c.ctl.Boot.Nonce, r.id}, r.kind, r.data)
			if why.cause != 0 && settled {
				c.out.Failed = append(c.out.Failed, Failure{r.id, why.cause, why.node})
				continue
			}
			if settled {
				r.epoch, r.tick = c.r.epoch, c.tick
			}
		}
		kept = append(kept, r)
	}
	kept = append(kept, q.list[i:]...)
	clear(q.list[len(kept):])
	q.list = kept
}

// take proposes a request, whoever took it from a client, or refuses it for a
// cause. One that is not settled stays with its home.
func (c *Core) take(o Origin, kind EntryKind, data []byte) (settled bool, why refusal) {
	if kind == EntryConfig {
		return c.reconfigure(o, data)
	}
	if !c.propose(EntryCommand, o, data) {
		return true, refusal{cause: CauseRefused}
	}
	return true, refusal{}
}

// forward sends the requests from list[first] on to the leader, those that it
// may still be working on only when they are late.
func (c *Core) forward(first int) {
	q := &c.requests
	m := Message{Type: MsgRequest, To: c.r.follow.leader, Epoch: c.r.epoch, Low: q.list[0].id}
	size := 0
	for i := first; i < len(q.list); i++ {
		r := &q.list[i]
		if r.epoch == c.r.epoch && c.tick-r.tick < requestResendTicks {
			continue
		}
		if size > 0 && size+len(r.data) > c.tun.MessageBytes {
			c.send(m, 0)
			m.Requests, size = nil, 0
		}
		r.epoch, r.tick = c.r.epoch, c.tick
		m.Requests = append(m.Requests, Request{ID: r.id, Kind: r.kind, Data: r.data})
		size += len(r.data) + 32
	}
	if size > 0 {
		c.send(m, 0)
	}
}

// onRequest proposes what another node forwards, each request once.
func (c *Core) onRequest(p *peer, m *Message) {
	if !c.r.est || m.Epoch != c.r.epoch || m.ToBoot != c.ctl.Boot || c.doubt() != DoubtNone {
		return
	}
	h := c.home(p)
	if h == nil {
		return
	}
	if m.Low > h.low {
		h.low = m.Low
		for id := range h.seen {
			if id < h.low {
				delete(h.seen, id)
			}
		}
	}
	var refused []uint64
	for i := range m.Requests {
		if c.pausing() {
			break // what is not settled is sent again
		}
		r := &m.Requests[i]
		before, seen := h.seen[r.ID]
		if r.ID < h.low || seen && before.cause == 0 {
			continue
		}
		settled, why := true, before
		if !seen {
			settled, why = c.takeForward(p, h, r)
		}
		if c.r.state != StateLeading {
			return // it has handed over; what was not settled comes again
		}
		if !settled {
			continue
		}
		h.seen[r.ID] = why // a refused one stays refused: a late copy must not slip in
		switch {
		case why.cause == CauseRefused:
			refused = append(refused, r.ID)
		case why.cause != 0:
			c.refuse(p.id, why, r.ID)
		}
	}
	if len(refused) > 0 {
		c.refuse(p.id, refusal{cause: CauseRefused}, refused...)
	}
}

func (c *Core) takeForward(p *peer, h *home, r *Request) (settled bool, why refusal) {
	if len(h.seen) >= 2*c.tun.MaxPending || c.log.backlog > backlogWindows*c.tun.WindowBytes {
		return true, refusal{cause: CauseRefused}
	}
	return c.take(Origin{p.id, p.boot.Nonce, r.ID}, r.Kind, r.Data)
}

func (c *Core) refuse(to NodeID, why refusal, ids ...uint64) {
	c.send(Message{Type: MsgRefuse, To: to, Epoch: c.r.epoch, IDs: ids, Cause: why.cause, Member: why.node}, 0)
}

func (c *Core) home(p *peer) *home {
	hs := c.r.lead.homes
	for i := range hs {
		if hs[i].id == p.id {
			if hs[i].boot != p.boot {
				hs[i] = home{id: p.id, boot: p.boot, seen: map[uint64]refusal{}}
			}
			return &hs[i]
		}
	}
	if len(hs) == maxHomes {
		return nil
	}
	c.r.lead.homes = append(hs, home{id: p.id, boot: p.boot, seen: map[uint64]refusal{}})
	return &c.r.lead.homes[len(hs)]
}

func (c *Core) onRefuse(m *Message) {
	if m.Epoch != c.r.epoch {
		return
	}
	for _, id := range m.IDs {
		if i, ok := c.requests.find(id); ok && c.requests.list[i].epoch == m.Epoch {
			c.requests.remove(i)
			c.out.Failed = append(c.out.Failed, Failure{id, cmp.Or(m.Cause, CauseRefused), m.Member})
		}
	}
}
