package sim

import "perch/quorum"

// link is one direction between two nodes. Each may be cut alone.
type link struct {
	cut   int64 // closed until then
	gap   int   // so many messages are lost, and the link stays
	clog  int64 // nothing arrives until then; nothing is lost
	lost  [2]int64
	last  int64 // latest arrival so far, for links that keep order
	past  [16]*quorum.Message
	count int    // messages so far
	asks  int    // questions of the drivers so far
	seed  uint64 // of the fates of its messages
}

// fate is the source of chance for one message: what becomes of it depends on
// its number on its link, not on what happens elsewhere, so that a run from
// which a fault was taken stays as near as possible to what it was.
func (l *link) fate(number int) rng { return rng{state: mix(l.seed, uint64(number))} }

// network carries messages: it delays, loses, doubles, reorders and repeats
// them as the faults of the seed say.
type network struct {
	w     *World
	rng   rng
	links [][]link // by sender, receiver
	rules []rule   // of directed schedules
	held  []heldMessage
	watch func(from, to quorum.NodeID, m *quorum.Message)
}

func newNetwork(w *World, nodes int) network {
	t := network{w: w, rng: w.rng.fork(), links: make([][]link, nodes+1)}
	for i := range t.links {
		t.links[i] = make([]link, nodes+1)
		for j := range t.links[i] {
			t.links[i][j].seed = t.rng.next()
		}
	}
	return t
}

func (t *network) open(now int64, from, to quorum.NodeID) bool {
	return now >= t.links[from][to].cut
}

// send takes a message from a node, after the gate check: a broadcast becomes
// one copy for each peer, each with a fate of its own.
func (w *World) send(n *node, m *quorum.Message) {
	if !w.obs.leaves(n, m) {
		return
	}
	w.stir(uint64(m.Type)<<56 ^ uint64(m.Epoch)<<24 ^ uint64(m.Last) ^ uint64(m.Durable) ^ m.Seq)
	if m.To != 0 {
		if int(m.To) < len(w.nodes) && m.To != n.id {
			w.net.carry(n.id, m.To, m)
		}
		return
	}
	for _, p := range w.nodes[1:] {
		if p.id != n.id {
			w.net.carry(n.id, p.id, m)
		}
	}
}

// carry gives one message to one link.
func (t *network) carry(from, to quorum.NodeID, m *quorum.Message) {
	l := &t.links[from][to]
	if l.count++; l.count%4 == 0 {
		l.past[l.count/4%len(l.past)] = m
	}
	if t.ruled(from, to, m) {
		return
	}
	f, r := &t.w.faults, l.fate(l.count)
	if t.w.now < l.cut || l.gap > 0 || r.chance(f.loss) {
		l.gap = max(0, l.gap-1)
		t.w.line(from, to, m, "lost")
		return
	}
	t.w.line(from, to, m, "")
	t.schedule(from, to, m, &r)
	for r.chance(f.dup) {
		t.schedule(from, to, m, &r)
	}
}

func (t *network) schedule(from, to quorum.NodeID, m *quorum.Message, r *rng) {
	l := &t.links[from][to]
	f := &t.w.faults
	at := t.w.now + r.around(f.delay)
	if r.chance(f.late) {
		at += r.between(0, f.lateMax)
	}
	if !r.chance(f.reorder) {
		at = max(at, l.last)
		l.last = at
	}
	t.w.at(event{at: at, kind: evMessage, node: to, from: from, sent: t.w.now, msg: m})
}

// arrive lets a message through to its node unless the link has lost or delays
// it.
func (t *network) arrive(e *event) {
	l := &t.links[e.from][e.node]
	if e.sent >= l.lost[0] && e.sent <= l.lost[1] && l.lost[1] > 0 {
		return
	}
	if t.w.now < l.cut {
		return
	}
	if t.w.now < l.clog {
		back := *e
		back.at = l.clog + t.rng.between(0, millisecond)
		t.w.at(back)
		return
	}
	t.w.nodes[e.node].take(e)
}

// deliver brings a question of the drivers, not of the cores, to a node; it may
// be lost like any message.
func (t *network) deliver(from, to quorum.NodeID, e event) {
	l := &t.links[from][to]
	l.asks++
	r := l.fate(-l.asks)
	if t.w.now < l.cut || from != to && r.chance(t.w.faults.loss) {
		return
	}
	e.at, e.node, e.from = t.w.now+r.around(t.w.faults.delay), to, from
	t.w.at(e)
}

// reset loses what was sent on the link in the last while, as a broken
// connection does.
func (t *network) reset(from, to quorum.NodeID, window int64) {
	t.links[from][to].lost = [2]int64{max(0, t.w.now-window), t.w.now}
}

// replay delivers an old message once more, perhaps one of a former life.
func (t *network) replay(from, to quorum.NodeID, r *rng) {
	l := &t.links[from][to]
	m := l.past[r.below(len(l.past))]
	if m == nil {
		return
	}
	t.w.at(event{at: t.w.now + r.around(t.w.faults.delay), kind: evMessage, node: to, from: from, sent: t.w.now, msg: m})
}

// heal opens all links.
func (t *network) heal() {
	for i := range t.links {
		for j := range t.links[i] {
			t.links[i][j].cut, t.links[i][j].clog, t.links[i][j].gap = 0, 0, 0
		}
	}
}
