package quorum

// Chained catch-up (ZAB.md 2.8): an observer takes the history that it lacks
// from a follower that the leader names, so that many observers, or far ones, do
// not load the leader. A follower gives out only what it knows to be committed.
// The end always comes from the leader: the rest of the log, NEWLEADER, and all
// that makes the observer a synchronized learner.

// feedTries is how often an observer asks its feeder in vain before it turns to
// the leader.
const feedTries = 3

// feeding is an observer's side.
type feeding struct {
	from    NodeID // 0: the leader itself
	boot    Boot
	tries   int
	offered bool     // the snapshot to begin with is settled
	offer   SnapMeta // the leader's, in case the feeder has none
}

// fed is a follower's note of an observer that it feeds, so that entries read
// from disk find their way.
type fed struct {
	id      NodeID
	session uint64
}

// feeder is a synchronized follower for an observer, a different one for each;
// 0 for a voter, and when there is none.
func (c *Core) feeder(l *learner) NodeID {
	if c.roleOf(l.id) != RoleObserver {
		return 0
	}
	var ids []NodeID
	for i := range c.r.lead.learners {
		if o := &c.r.lead.learners[i]; c.member(o) && o.synced && c.tick-o.alive <= uint64(c.tun.FollowerTimeout) {
			ids = append(ids, o.id)
		}
	}
	if len(ids) == 0 {
		return 0
	}
	return ids[int(l.id)%len(ids)]
}

// startFeeding notes whom the leader names.
func (c *Core) startFeeding(m *Message) {
	if p := c.peer(m.Via); p != nil && m.Via != c.r.follow.leader && p.boot != (Boot{}) {
		c.r.follow.feed = feeding{from: p.id, boot: p.boot, offered: m.Mode != SyncSnap, offer: m.Snap}
	}
}

// askFeeder asks for entries, or first for a snapshot that is new enough for the
// leader's log to continue it.
func (c *Core) askFeeder() {
	f := &c.r.follow
	if f.feed.tries++; f.feed.tries > feedTries {
		c.leaveFeeder()
		return
	}
	m := Message{Type: MsgFetch, To: f.feed.from, Session: f.session, Epoch: c.r.epoch, Prev: f.fetchFrom}
	if !f.feed.offered {
		m.Mode, m.Common = SyncSnap, max(f.feed.offer.Zxid, c.log.hint)
	}
	c.send(m, 0)
}

// leaveFeeder goes on with the leader.
func (c *Core) leaveFeeder() {
	f := &c.r.follow
	was := f.feed
	f.feed = feeding{}
	if !was.offered {
		f.fetching = false
		c.install(f.leader, f.boot, was.offer)
		return
	}
	f.fetching = false
	c.fetch()
}

// stepFeeder handles what the feeder sends.
func (c *Core) stepFeeder(m *Message) {
	f := &c.r.follow
	if m.Session != f.session || m.Epoch != c.r.epoch || !f.fetching || f.installing || f.synced {
		return
	}
	switch {
	case m.Type == MsgSync && m.Mode == SyncSnap && (!f.feed.offered || m.Snap.Zxid > c.log.last()):
		c.fedSnapshot(m)
	case m.Type == MsgEntries && f.feed.offered && m.Prev == f.fetchFrom:
		f.feed.tries = 0
		if len(m.Entries) == 0 || !m.More {
			f.feed = feeding{offered: true} // the rest comes from the leader
		}
		c.onEntries(m)
		if f = &c.r.follow; f.feed.from == 0 && f.fetching && f.fetchFrom == m.Prev {
			c.ask()
		}
	}
}

// fedSnapshot installs what the feeder offers in place of the leader's.
func (c *Core) fedSnapshot(m *Message) {
	f := &c.r.follow
	if m.Snap.Zxid < max(f.feed.offer.Zxid, c.log.hint) {
		return
	}
	f.feed.offered, f.feed.tries, f.fetching = true, 0, false
	c.install(f.feed.from, f.feed.boot, m.Snap)
}

// feed serves an observer, up to what this follower knows to be committed.
func (c *Core) feed(p *peer, m *Message) {
	if !c.r.est || m.Epoch != c.r.epoch || c.roleOf(p.id) != RoleObserver {
		return
	}
	if m.Mode == SyncSnap {
		if c.log.snap.Zxid != 0 && c.log.snap.Zxid >= m.Common {
			c.send(Message{Type: MsgSync, To: p.id, Session: m.Session, Epoch: m.Epoch, Mode: SyncSnap, Snap: c.log.snap}, 0)
		}
		return
	}
	f := &c.r.follow
	for i := range f.fed {
		if f.fed[i].id == p.id {
			f.fed[i].session = m.Session
			c.serve(p, m, c.log.commit)
			return
		}
	}
	f.fed = append(f.fed, fed{p.id, m.Session})
	c.serve(p, m, c.log.commit)
}
