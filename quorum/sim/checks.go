package sim

import "perch/quorum"

// assertions are those of ZAB.md section 6, by number.
var assertions = [...]string{
	1:  "integrity: what is delivered was broadcast by an established leader of its epoch",
	2:  "agreement: of two delivered sequences one is a prefix of the other",
	3:  "total order",
	4:  "local primary order: nothing of an epoch is delivered without what its leader broadcast before it",
	5:  "global primary order: lower epochs first",
	6:  "primary integrity: a leader has everything of lower epochs that anybody delivers",
	7:  "leadership: at most one established leader an epoch",
	8:  "epochs, boot, round, commit and applied never go down",
	9:  "durability: what is committed is on the disks of a quorum and in every later initial history",
	10: "log matching: one zxid, one history",
	11: "no truncation below the commit point",
	12: "applied is a prefix of committed, a snapshot equals the replay to its zxid",
	13: "gate: a message leaves only after the disk holds what it vouches for",
	14: "at rest: cE <= aE, the log is contiguous, its last epoch <= aE",
	15: "a store that needs rebuild is in no quorum",
	16: "what is committed while the members change has both quorums",
	17: "observers are in no quorum",
	18: "no session ends before its time-out as seen by any client",
	20: "linearizable reads return a state between commit at call and commit at return",
	21: "failed means no effect ever; no effect twice",
	22: "queues are bounded",
	23: "the lease clock advances by at most 100 ms a tick and only with a fresh quorum (R23)",
	25: "cluster age never goes back and never runs ahead of time (R20)",
	26: "a state that differs from a majority's is found and not served, and no other (R5)",
	27: "a watcher sees every event once, in order",
	28: "no command that a member's program does not know (R6)",
	24: "one cluster is founded, once (R8)",
	29: "sessions and holds are the same on every node",
	30: "a lock has one holder, or several that share; tokens rise (R14, R18)",
	31: "places are granted in their order, and none is forgotten (R16, R17)",
	32: "what has a key happens once while its record must be kept (R13, R21)",
	33: "no write passes the fence of a hold that is over",
	34: "no two clients may believe that they hold one lock (R12, R17)",
}

// observer sees everything and believes nothing.
type observer struct {
	w       *World
	ledger  ledger
	byEpoch map[quorum.Epoch]*reign // looked up, never ranged over
	top     *reign                  // the highest established
	reigns  int
	peers   []watched // by node
	cluster quorum.ClusterID
	configs []quorum.Configuration // committed, the founding one first
	looks   uint64
	wrote   func(*quorum.Record) // called for every record; nil: nobody watches
	renewed int                  // epochs that a leader went on to without an election
}

// watched is what the observer remembers of one node.
type watched struct {
	round    uint64                          // highest in a NOTIFY of this life
	promised map[quorum.Epoch]quorum.Promise // durable promises of this disk
	ticks    int                             // of this life
	heard    []int                           // tick at which a PONG came, by peer
	heardIn  []quorum.Epoch                  // its epoch
	window   int                             // longest follower time-out that a PONG reported, in ticks
	moved    int                             // tick at which commit moved or nothing was uncommitted
	commit   quorum.Zxid                     // as of the last tick
	leads    bool                            // has led an epoch ever since it last did not lead at all
	match    int                             // committed entries on its disk before the record at hand
	ended    quorum.Zxid                     // highest end of its log in this life
	cut      map[position]bool               // what was cut off its log in this life
}

// position is an entry with all before it.
type position struct {
	zxid  quorum.Zxid
	chain uint64
}

func newObserver(w *World) observer {
	o := observer{w: w, byEpoch: map[quorum.Epoch]*reign{}, peers: make([]watched, len(w.nodes))}
	for i := range o.peers {
		o.peers[i].promised = map[quorum.Epoch]quorum.Promise{}
		o.peers[i].heard = make([]int, len(w.nodes))
		o.peers[i].heardIn = make([]quorum.Epoch, len(w.nodes))
	}
	return o
}

// quorum says whether count voters are a majority of all.
func (o *observer) quorum(count int) bool { return 2*count > o.w.voters }

func (o *observer) reign(e quorum.Epoch) *reign {
	r := o.byEpoch[e]
	if r == nil {
		r = &reign{epoch: e}
		o.byEpoch[e] = r
	}
	return r
}

// started resets what counts per life.
func (o *observer) started(n *node) {
	p := &o.peers[n.id]
	p.round, p.window, p.ticks, p.moved, p.leads = 0, 0, 0, 0, false
	for i := range p.heard {
		p.heard[i], p.heardIn[i] = 0, 0
	}
	p.ended, p.cut = n.disk.img.hist.Last(), map[position]bool{}
}

func (o *observer) stopped(n *node) { n.soft = quorum.Soft{} }

// look compares what a node's core says of itself with before and with what
// the world knows. It runs after every input.
func (o *observer) look(n *node) {
	if n.core == nil || o.w.failure != nil {
		return
	}
	s := n.core.Soft()
	if n.astray() {
		o.checkR9Astray(n, &s)
		return
	}
	o.check8Soft(n, &s)
	switch {
	case s.State != quorum.StateLeading:
		o.peers[n.id].leads = false
	case s.Established:
		o.leads(n, &s)
	}
	if s.Commit != n.soft.Commit || s.Established && !n.soft.Established {
		o.check9Commit(n, &s)
	}
	o.doubts(n, &s)
	if o.looks++; o.looks%8 == 0 || o.w.script {
		o.checkCore(n)
	}
	if s.State != n.soft.State || s.Phase != n.soft.Phase || s.Established != n.soft.Established {
		o.w.note("%d is %s", n.id, softText(&s))
	}
	n.soft = s
}

// checkCore: 14 as the core itself sees it, and its other reports.
func (o *observer) checkCore(n *node) {
	if err := n.core.Check(); err != nil && !n.doomed {
		o.w.fail(14, "node %d: %v", n.id, err)
	}
	if err := n.core.CheckBounds(); err != nil {
		o.w.fail(22, "%v", err)
	}
	own, disk := n.core.Control(), &n.disk.img.control
	if own.Boot != disk.Boot || own.AcceptedEpoch < disk.AcceptedEpoch || own.CurrentEpoch < disk.CurrentEpoch {
		o.w.fail(8, "node %d: its control state is behind that of its disk", n.id)
	}
	for _, p := range n.core.Peers() {
		if p.ID == n.id || p.ID == 0 || int(p.ID) >= len(o.w.nodes) || p.Durable > n.core.History().Last() {
			o.w.fail(0, "node %d reports %+v of a peer", n.id, p)
		}
	}
}

// check8Soft: 8, commit and emitted per life.
func (o *observer) check8Soft(n *node, s *quorum.Soft) {
	if s.Commit < n.soft.Commit {
		o.w.fail(8, "commit of node %d goes from %v to %v", n.id, n.soft.Commit, s.Commit)
	}
	if s.Emitted < n.soft.Emitted {
		o.w.fail(8, "node %d has emitted %v, now %v", n.id, n.soft.Emitted, s.Emitted)
	}
}

// leads is called while a node says that it is an established leader.
func (o *observer) leads(n *node, s *quorum.Soft) {
	r := o.reign(s.Epoch)
	if r.established {
		o.check7(n, r)
		return
	}
	r.leader, r.boot, r.established, r.base = n.id, n.disk.img.control.Boot, true, s.Base
	p := &o.peers[n.id]
	if p.leads {
		o.renewed++
	} else {
		o.reigns++
	}
	p.leads = true
	p.moved = p.ticks
	for i := range p.heard {
		p.heard[i], p.heardIn[i] = p.ticks, r.epoch // acknowledging the epoch counts once as life
	}
	o.heldBase(n, r)
	o.check9History(n, r)
	o.checkR4(n, r)
	o.check15Base(n, r)
	o.checkR9(n, r)
	if o.top == nil || r.epoch > o.top.epoch {
		o.top = r
	}
	o.w.note("%d leads epoch %d, base %v", n.id, r.epoch, r.base)
}

// check7: 7.
func (o *observer) check7(n *node, r *reign) {
	if r.leader != n.id || r.boot != n.disk.img.control.Boot {
		o.w.fail(7, "epoch %d has two leaders: %d and %d", r.epoch, r.leader, n.id)
	}
}

func (o *observer) heldBase(n *node, r *reign) {
	chain, ok := n.core.History().Chain(r.base)
	if !ok && r.base != 0 {
		o.w.fail(9, "leader %d does not hold the base %v of its epoch %d", n.id, r.base, r.epoch)
	}
	r.baseChain = chain
}

// check9History: 9 and 6, everything that epochs before it have committed is in
// the initial history of a leader. An epoch may be established behind a higher
// one, when the last acknowledgement was late; it can commit nothing new then,
// and its initial history must be committed already.
func (o *observer) check9History(n *node, r *reign) {
	z, chain := o.ledger.at(o.ledger.before(r.epoch))
	h := n.core.History()
	if got, ok := h.Chain(z); z != 0 && z > h.Start() && (!ok || got != chain) || z > r.base {
		o.w.fail(9, "leader %d of epoch %d lacks the committed %v; its history ends at %v", n.id, r.epoch, z, h.Last())
	}
	if o.top != nil && o.top.epoch > r.epoch && !o.ledger.has(r.base, r.baseChain) {
		o.w.fail(6, "leader %d of epoch %d begins at %v, which is not in the history of epoch %d", n.id, r.epoch, r.base, o.top.epoch)
	}
	if !n.disk.img.holds(r.base, r.baseChain) || n.disk.img.control.CurrentEpoch < r.epoch {
		o.w.fail(13, "leader %d has not epoch %d and its initial history up to %v on disk", n.id, r.epoch, r.base)
	}
}

// checkR4: 15 and 17, an established leader holds a vote itself.
func (o *observer) checkR4(n *node, r *reign) {
	if n.wiped || n.disk.img.control.NeedsRebuild {
		o.w.fail(15, "node %d, whose disk was lost, leads epoch %d", n.id, r.epoch)
	}
	own := n.core.Configuration()
	as, _ := own.Member(n.id)
	var was quorum.Member
	if own.Version > max(n.soft.Commit, n.disk.img.hint) {
		was, _ = o.before(own.Version).Member(n.id) // it did not know that to be committed
	}
	if as.Role != quorum.RoleVoter && was.Role != quorum.RoleVoter {
		o.w.fail(17, "node %d, an observer, leads epoch %d", n.id, r.epoch)
	}
}

// before is the committed configuration before another one.
func (o *observer) before(version quorum.Zxid) *quorum.Configuration {
	i := len(o.configs) - 1
	for i > 0 && o.configs[i].Version >= version {
		i--
	}
	return &o.configs[i]
}

// checkR9: the first epoch is at least the configured one, and far above all of the
// past (R9).
func (o *observer) checkR9(n *node, r *reign) {
	first := max(1, o.w.faults.minEpoch)
	if p := o.w.faults.past; p.Zxid != 0 {
		first = max(first, p.Epoch) + 4096
	}
	if r.epoch < first {
		o.w.fail(0, "node %d leads epoch %d, below the first epoch %d of this cluster (R9)", n.id, r.epoch, first)
	}
}

// check9Commit: 9 and 6, what a leader takes as committed is on the disks of a
// quorum; what a follower does, some leader did before.
func (o *observer) check9Commit(n *node, s *quorum.Soft) {
	last := o.ledger.last()
	if s.Commit <= last {
		if c, ok := n.core.History().Chain(s.Commit); s.Commit != 0 && ok && !o.ledger.has(s.Commit, c) {
			o.w.fail(2, "node %d takes %v as committed, which is another history", n.id, s.Commit)
		}
		return
	}
	if s.State != quorum.StateLeading || !s.Established {
		o.w.fail(9, "node %d takes %v as committed, which no leader has committed", n.id, s.Commit)
		return
	}
	o.extend(n, s)
	o.onQuorum(s.Commit)
}

// extend appends to the ledger what a leader has just committed.
func (o *observer) extend(n *node, s *quorum.Soft) {
	h := n.core.History()
	z, chain := o.ledger.at(o.ledger.len())
	if got, ok := h.Chain(z); z != 0 && (!ok || got != chain) {
		o.w.fail(2, "leader %d commits %v over another history than that committed up to %v", n.id, s.Commit, z)
		return
	}
	for z < s.Commit && o.w.failure == nil {
		next, ok := h.Next(z)
		if !ok {
			o.w.fail(9, "leader %d commits %v and holds nothing after %v", n.id, s.Commit, z)
			return
		}
		chain, _ := h.Chain(next)
		o.commitOne(n, s, next, chain)
		z = next
	}
}

func (o *observer) commitOne(n *node, s *quorum.Soft, z quorum.Zxid, chain uint64) {
	o.check5(z)
	o.check6(s, z)
	o.check1(z, chain)
	o.ledger.add(z, chain)
	o.check16(z)
	r := o.byEpoch[z.Epoch()]
	o.checkLimit(z)
	if r != nil && int(z.Counter()) <= len(r.proposed) {
		o.check25(z, r.proposed[z.Counter()-1].age)
		o.checkR9First(z, r.proposed[z.Counter()-1].kind)
	}
	if r != nil && int(z.Counter()) <= len(r.proposed) {
		o.w.clients.committed(&r.proposed[z.Counter()-1], o.ledger.len())
	}
}

// checkLimit: ZAB.md 2.7, an epoch ends at its limit.
func (o *observer) checkLimit(z quorum.Zxid) {
	if limit := o.w.faults.tuning.CounterLimit; limit != 0 && z.Counter() > limit {
		o.w.fail(0, "%v is committed, beyond the limit %d of an epoch", z, limit)
	}
}

// check25: R20, ages along the log.
func (o *observer) check25(z quorum.Zxid, age uint64) {
	if age < o.ledger.age {
		o.w.fail(25, "%v carries a cluster age of %d ms after %d ms", z, age, o.ledger.age)
	}
	if age > uint64(o.w.now/millisecond*o.w.fastest()/1000)+100 {
		o.w.fail(25, "%v carries a cluster age of %d ms, %d ms after the cluster began", z, age, o.w.now/millisecond)
	}
	o.ledger.age = age
}

// check5: 3, 4 and 5, commits rise, without a gap inside an epoch.
func (o *observer) check5(z quorum.Zxid) {
	last := o.ledger.last()
	if z <= last {
		o.w.fail(5, "%v is committed after %v", z, last)
	}
	if z.Epoch() == last.Epoch() && z != last+1 || z.Epoch() != last.Epoch() && z.Counter() != 1 {
		o.w.fail(4, "%v is committed straight after %v", z, last)
	}
}

// check6: 6, nothing is committed behind the back of a newer leader.
func (o *observer) check6(s *quorum.Soft, z quorum.Zxid) {
	if o.top != nil && z.Epoch() < o.top.epoch && z > o.top.base {
		o.w.fail(6, "%v is committed by epoch %d; epoch %d, which began at %v, lacks it", z, s.Epoch, o.top.epoch, o.top.base)
	}
}

// check1: 1.
func (o *observer) check1(z quorum.Zxid, chain uint64) {
	r := o.byEpoch[z.Epoch()]
	if r == nil || !r.established || int(z.Counter()) > len(r.proposed) || r.proposed[z.Counter()-1].chain != chain {
		o.w.fail(1, "%v is committed and no leader of its epoch broadcast it", z)
	}
}
