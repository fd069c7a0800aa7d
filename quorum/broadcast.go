package quorum

import "fmt"

// Broadcast (ZAB.md 2.5). Proposals carry the position before them, so a
// follower that misses one sees the gap and fetches it; acks are cumulative.

// onPropose appends a batch that continues the log, skips what is known, and
// fetches what is missing.
func (c *Core) onPropose(m *Message) {
	f := &c.r.follow
	if !f.synced || m.Epoch != c.r.epoch {
		return
	}
	if m.Prev > c.log.last() {
		if len(f.stash) < stashMax && !c.log.saturated(c.tun.WindowBytes) {
			f.stash = append(f.stash, *m)
		}
		c.fetch()
		return
	}
	if c.log.saturated(c.tun.WindowBytes) {
		c.fetch() // later: what others commit must not pile up before a slow disk
		return
	}
	if c.extend(m) {
		c.learnCommit(m)
		c.unstash()
	}
}

// extend appends the unknown part of a batch. The batch must continue a
// position of this log with an equal chain hash.
func (c *Core) extend(m *Message) bool {
	chain, ok := c.log.hist.Chain(m.Prev)
	if !ok {
		return m.Prev < c.log.hist.Start() // known and compacted long ago
	}
	if chain != m.Chain {
		c.fail(fmt.Errorf("%w: this log and the one of leader %d differ at %v", ErrViolation, m.From, m.Prev))
		return false
	}
	at := m.Prev
	for i := range m.Entries {
		e := m.Entries[i]
		if e.Zxid <= c.log.last() {
			want, known := c.log.hist.Chain(e.Zxid)
			if chain = ChainHash(chain, &e); !known || want != chain {
				c.fail(fmt.Errorf("%w: this log and the one of leader %d differ at %v", ErrViolation, m.From, e.Zxid))
				return false
			}
			at = e.Zxid
			continue
		}
		if at != c.log.last() || e.Zxid.Epoch() > max(c.ctl.AcceptedEpoch, c.r.epoch) || !c.append(&e) {
			return false
		}
		at = e.Zxid
	}
	return true
}

// unstash appends the kept proposals that now follow.
func (c *Core) unstash() {
	f := &c.r.follow
	for len(f.stash) > 0 && f.stash[0].Prev <= c.log.last() && c.halt == nil && !c.log.saturated(c.tun.WindowBytes) {
		m := f.stash[0]
		f.stash = f.stash[1:]
		if c.extend(&m) {
			c.learnCommit(&m)
		}
		f = &c.r.follow
	}
	if len(f.stash) == 0 {
		f.stash = nil
	}
}

// ackDurable acknowledges what has become durable, cumulatively.
func (c *Core) ackDurable() {
	f := &c.r.follow
	if !f.synced || c.stable < f.ldSeq || c.log.durable <= f.acked {
		return
	}
	f.acked = c.log.durable
	c.send(Message{Type: MsgAck, To: f.leader, Session: f.session, Epoch: c.r.epoch, Durable: f.acked}, c.stable)
}

// onPing answers with what is durable. A pong is counted as proof of life, so
// it leaves only from a learner whose cE = e is durable (R4).
func (c *Core) onPing(m *Message) {
	f := &c.r.follow
	if m.Epoch != c.r.epoch {
		return
	}
	c.patience.ping(c.tick)
	for _, h := range m.Heard {
		if h.ID == c.cfg.ID {
			f.dropPongs(h.Seq)
		}
	}
	c.learnCommit(m)
	if !c.onVerdicts(m) || !f.synced || c.stable < f.ldSeq {
		return
	}
	if m.Last > c.log.last() {
		c.fetch()
	}
	if n := len(f.pongs); n == 0 || f.pongs[n-1].tick != c.tick {
		f.pongs = append(f.pongs, pongMark{m.Seq, c.tick})
	}
	// Nothing here waits for the disk: a pong tells only what is durable, and
	// how long the disk has been silent.
	cred := Credentials{AcceptedEpoch: c.ctl.AcceptedEpoch, CurrentEpoch: c.ctl.CurrentEpoch, Last: c.log.durable, NeedsRebuild: c.ctl.NeedsRebuild}
	c.send(Message{
		Type: MsgPong, To: f.leader, Session: f.session, Epoch: c.r.epoch, Seq: m.Seq, Cred: cred,
		Durable: c.log.durable, Timeout: c.patience.ticks(c.cfg.ID), Stall: c.log.stall(c.tick),
		Digests: c.digests.own.newest(checkpointsSent),
	}, f.ldSeq)
}

func (f *following) dropPongs(seq uint64) {
	n := 0
	for n < len(f.pongs) && f.pongs[n].seq <= seq {
		n++
	}
	f.pongs = f.pongs[n:]
}

// stepTransfer serves and receives entries. A learner fetches from its leader;
// a candidate pulls from a follower that is ahead (ZAB.md 2.3 step 5).
func (c *Core) stepTransfer(p *peer, m *Message) {
	f := &c.r.follow
	switch {
	case c.r.state == StateLeading && m.Type == MsgFetch:
		c.onFetch(p, m)
	case c.r.state == StateLeading && m.Type == MsgEntries:
		c.onPulled(p, m)
	case c.r.state == StateFollowing && p.id == f.feed.from && p.boot == f.feed.boot && m.Type == MsgEntries:
		c.stepFeeder(m)
	case c.r.state == StateFollowing && p.id != f.leader && m.Type == MsgFetch:
		c.feed(p, m)
	case c.r.state != StateFollowing || p.id != f.leader || p.boot != f.boot || m.Session != f.session:
	case m.Type == MsgEntries:
		f.heard = c.tick
		c.onEntries(m)
	case m.Epoch == c.r.epoch && !f.obeyed:
		f.heard = c.tick
		c.progress(c.discoveryTicks())
		c.serve(p, m, c.log.last())
	}
}

func (c *Core) onEntries(m *Message) {
	f := &c.r.follow
	if !f.fetching || m.Prev != f.fetchFrom || m.Epoch != c.r.epoch || f.installing {
		return // a second copy must not ask again: copies of answers would breed
	}
	if len(m.Entries) == 0 {
		f.fetching = !f.synced // before NEWLEADER the question is repeated in due time
		return
	}
	before := c.log.last()
	if !c.extend(m) {
		return
	}
	if c.log.last() > before {
		c.progress(c.tun.SyncTicks)
	}
	f.fetching = false
	if m.More || !f.synced {
		c.fetch()
	}
	c.unstash()
}

// serve answers a FETCH with entries from memory, from the log on disk, or with
// the offer of a snapshot when the log no longer reaches back so far. It gives
// nothing after limit.
func (c *Core) serve(p *peer, m *Message, limit Zxid) {
	if _, ok := c.log.hist.Chain(m.Prev); !ok {
		if m.Prev < c.log.hist.Start() && c.doubt() == DoubtNone {
			c.send(Message{Type: MsgSync, To: p.id, Session: m.Session, Epoch: m.Epoch, Mode: SyncSnap, Snap: c.log.snap}, 0)
		}
		return
	}
	if entries, ok := c.log.after(m.Prev, c.tun.MessageBytes); ok {
		c.sendEntries(p.id, m.Session, m.Prev, entries, limit)
		return
	}
	job := fetchID(p.id, m.Session)
	for _, j := range c.out.Fetch {
		if j.ID == job {
			return
		}
	}
	c.out.Fetch = append(c.out.Fetch, FetchJob{ID: job, After: m.Prev, MaxBytes: c.tun.MessageBytes})
}

// fetchID makes a job recognizable without keeping it: the peer and a part of
// its session. A collision only costs a message that the learner drops.
func fetchID(id NodeID, session uint64) uint64 { return uint64(id)<<48 | session>>16 }

// Fetched brings entries that the driver read for a FetchJob.
func (c *Core) Fetched(job FetchJob, entries []Entry, err error) {
	p := c.peer(NodeID(job.ID >> 48))
	if p == nil || err != nil || len(entries) == 0 || c.halt != nil {
		return
	}
	session, limit := c.r.follow.session, c.log.last()
	switch {
	case c.r.state == StateLeading:
		l := c.learner(p.id)
		if l == nil {
			return
		}
		session = l.session
	case p.id != c.r.follow.leader:
		for _, o := range c.r.follow.fed {
			if o.id == p.id {
				session, limit = o.session, c.log.commit
			}
		}
	}
	if fetchID(p.id, session) == job.ID {
		c.sendEntries(p.id, session, job.After, entries, limit)
	}
}

func (c *Core) sendEntries(to NodeID, session uint64, prev Zxid, entries []Entry, limit Zxid) {
	chain, ok := c.log.hist.Chain(prev)
	if !ok {
		return
	}
	n := len(entries)
	for n > 0 && entries[n-1].Zxid > limit {
		n--
	}
	entries = entries[:n:n]
	more := n > 0 && entries[n-1].Zxid < limit
	c.send(Message{
		Type: MsgEntries, To: to, Session: session, Epoch: c.r.epoch,
		Prev: prev, Chain: chain, Entries: entries, More: more,
	}, 0)
}
