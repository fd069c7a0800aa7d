package quorum

// Linearizable reads: the leader notes its commit position, and answers once a
// quorum has echoed a ping that was sent after the read arrived (ZAB.md 4).
// Reads in flight share a round; there are no clock leases.

// reads is what the node that took the reads keeps. Ids rise, so three numbers
// stand for all of them.
type reads struct {
	want uint64 // highest id asked for
	sent uint64 // highest id that is on its way
	done uint64 // highest id with a position
	tick uint64 // when sent was sent
}

// readRound is the leader's batch of reads that wait for one echo.
type readRound struct {
	next   []reader // will be in the next round
	flying []reader // wait for pong seq
	seq    uint64
	at     Zxid // the position they will get
}

// reader is a node and the highest of its reads; id 0 of a peer is nobody.
type reader struct {
	node NodeID
	boot Boot
	id   uint64
}

// Read asks for a position at which a linearizable read may be answered. Ids
// rise. The answer is in Ready.Reads.
func (c *Core) Read(id uint64) { c.reads.want = max(c.reads.want, id) }

func (c *Core) readsDue() bool {
	if !c.r.est || c.halt != nil || c.doubt() != DoubtNone || c.endsAtPast(c.log.commit) {
		return false
	}
	if c.reads.want > c.reads.sent {
		return true
	}
	if c.r.state == StateLeading {
		rd := &c.r.lead.round
		return len(rd.next) > 0 && len(rd.flying) == 0
	}
	return c.reads.sent > c.reads.done && c.tick-c.reads.tick >= uint64(c.tun.ResendTicks)
}

// flushReads starts a round, or asks the leader for one.
func (c *Core) flushReads() {
	if !c.readsDue() {
		return
	}
	if c.r.state == StateLeading {
		if c.reads.want > c.reads.sent {
			c.reads.sent = c.reads.want
			c.r.lead.round.join(reader{c.cfg.ID, c.ctl.Boot, c.reads.want})
		}
		c.startRound()
		return
	}
	c.reads.sent, c.reads.tick = c.reads.want, c.tick
	c.send(Message{Type: MsgRead, To: c.r.follow.leader, Epoch: c.r.epoch, Seq: c.reads.want}, 0)
}

// join adds a reader; of one node only the newest life that asked is there to
// hear the answer.
func (rd *readRound) join(r reader) {
	for i := range rd.next {
		if rd.next[i].node == r.node {
			if rd.next[i].boot == r.boot {
				r.id = max(rd.next[i].id, r.id)
			}
			rd.next[i] = r
			return
		}
	}
	rd.next = append(rd.next, r)
}

func (c *Core) onRead(l *learner, m *Message) {
	if c.r.est && m.Epoch == c.r.epoch {
		c.r.lead.round.join(reader{l.id, l.boot, m.Seq})
	}
}

// startRound sends the ping that confirms the reads that wait.
func (c *Core) startRound() {
	rd := &c.r.lead.round
	if len(rd.flying) > 0 || len(rd.next) == 0 {
		return
	}
	rd.flying, rd.next, rd.at = rd.next, rd.flying[:0], c.log.commit
	c.ping()
	rd.seq = c.r.lead.pingSeq
	c.confirmReads()
}

// confirmReads answers the round once a quorum has echoed its ping or a later
// one.
func (c *Core) confirmReads() {
	rd := &c.r.lead.round
	if !c.r.est || len(rd.flying) == 0 || c.doubt() != DoubtNone {
		return
	}
	ok := c.quorum(func(id NodeID) bool {
		l := c.learner(id)
		return id == c.cfg.ID || c.member(l) && l.synced && l.pongSeq >= rd.seq
	})
	if !ok {
		return
	}
	for _, r := range rd.flying {
		if r.node == c.cfg.ID {
			c.readDone(r.id, rd.at)
			continue
		}
		if p := c.peer(r.node); p != nil && p.boot == r.boot {
			c.send(Message{Type: MsgReadPos, To: r.node, Epoch: c.r.epoch, Seq: r.id, Last: rd.at}, 0)
		}
	}
	rd.flying = rd.flying[:0]
}

func (c *Core) onReadPos(m *Message) {
	if m.Epoch == c.r.epoch && m.Seq <= c.reads.sent && c.doubt() == DoubtNone {
		c.readDone(m.Seq, m.Last)
	}
}

func (c *Core) readDone(id uint64, at Zxid) {
	if id > c.reads.done {
		c.reads.done = id
		c.out.Reads = append(c.out.Reads, ReadDone{ID: id, Zxid: at})
	}
}
