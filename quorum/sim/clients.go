package sim

import (
	"encoding/binary"

	"perch/gen/commandpb"
	"perch/quorum"
)

// outcome is what became of a write.
type outcome uint8

const (
	writePending  outcome = iota
	writeApplied          // its home applied it and told the client
	writeFailed           // refused: it must never have an effect
	writeUnknown          // its home died, jumped over it, or its client gave up
	writeNeverOut         // its client gave up before it left: no effect either
)

// write is one request of a client.
type write struct {
	home  quorum.NodeID
	life  uint32
	id    uint64
	state outcome
	place int // in the ledger; 0: none
	jumps int // of its home when it was submitted

	kind    writeKind
	session int                // that it opens or closes
	epoch   quorum.Epoch       // writeCloses: of the leader that decided it
	cmd     *commandpb.Command // writeHeld: what it asks for
	then    func(ok bool)      // called once, when its home knows the end
}

// writeKind says what a write is about.
type writeKind uint8

const (
	writePlain  writeKind = iota
	writeRaises           // the level
	writeNew              // a command that needs the new level
	writeOpens
	writeCloses
	writeHeld   // a command of package lease
	writeChange // of the members; it has no place of its own
)

func (k writeKind) ofSession() bool { return k == writeOpens || k == writeCloses }

// query is one linearizable read.
type query struct {
	home quorum.NodeID
	life uint32
	done bool
	from int    // length of the ledger at the call
	then func() // called at the answer; nil: nobody
}

// clients write and read at random nodes and remember every outcome.
type clients struct {
	w       *World
	rng     rng
	writes  []write
	queries []query

	sessions []session
	opened   []int // places in sessions, by id

	open   int // writes pending at living homes, those forgotten excluded
	asking int // reads likewise
}

func newClients(w *World) clients { return clients{w: w, rng: w.rng.fork()} }

func (c *clients) begin() {
	c.later(evSubmit, c.w.faults.submit)
	c.later(evRead, c.w.faults.read)
	c.later(evOpen, c.w.faults.open)
	c.later(evTouch, c.w.faults.touch)
}

func (c *clients) later(k eventKind, mean int64) {
	if mean > 0 {
		c.w.at(event{at: c.w.now + c.rng.around(mean), kind: k})
	}
}

func (c *clients) someNode() *node { return c.w.nodes[1+c.rng.below(len(c.w.nodes)-1)] }

func (c *clients) submitNext() {
	if c.w.healed || len(c.writes) >= c.w.faults.writes {
		return
	}
	c.later(evSubmit, c.w.faults.submit)
	c.call(c.someNode(), 0)
}

// call reaches n at once, or when it goes on after a pause, before it has seen
// how late it is.
func (c *clients) call(n *node, reads uint64) {
	n.take(&event{kind: evClient, num: reads})
}

// submit makes one write at n and reports its number; -1 when n is not there
// or refuses it at once.
func (c *clients) submit(n *node) int {
	if n.core == nil || n.paused {
		return -1
	}
	kind := writePlain
	if n.app.level >= newLevel && c.rng.chance(300) {
		kind = writeNew
	}
	number := c.put(n, write{kind: kind})
	if c.writes[number].state == writeFailed {
		number = -1
	} else if c.rng.chance(c.w.faults.forget) {
		at := c.w.now + c.rng.around(50*millisecond)
		c.w.at(event{at: at, kind: evForget, node: n.id, life: n.life, num: c.writes[number].id})
	}
	c.w.obs.look(n)
	n.pump()
	return number
}

// put hands a write to n's core and gives its number.
func (c *clients) put(n *node, wr write) int {
	number := len(c.writes)
	n.reqs = append(n.reqs, number)
	wr.home, wr.life, wr.id, wr.jumps = n.id, n.life, uint64(len(n.reqs)), n.jumps
	c.writes = append(c.writes, wr)
	c.w.note("a client submits write %d at %d", number, n.id)
	c.open++
	padding := 0
	if wr.kind == writePlain || wr.kind == writeNew { // what a leader itself proposes always fits
		padding = c.rng.below(c.w.faults.bodyMax + 1)
	}
	data := body(number, padding)
	if wr.kind == writeHeld && c.w.script {
		data = append(data, marshalled(wr.cmd)...)
	}
	if err := n.core.Submit(wr.id, data); err != nil {
		c.end(number, writeFailed)
	}
	return number
}

// change asks for other members at n.
func (c *clients) change(n *node, ch quorum.Change) {
	number := len(c.writes)
	n.reqs = append(n.reqs, number)
	wr := write{kind: writeChange, home: n.id, life: n.life, id: uint64(len(n.reqs)), jumps: n.jumps}
	c.writes = append(c.writes, wr)
	c.open++
	if err := n.core.SubmitChange(wr.id, ch); err != nil {
		c.end(number, writeFailed)
	}
	c.w.obs.look(n)
	n.pump()
}

// body is the data of a write: its number and padding. In directed schedules a
// command of package lease stands behind it, so that a log can be searched for
// what is in none (RULES.md R19); in seeds the number stands for it.
func body(number, padding int) []byte {
	b := make([]byte, 8+padding)
	binary.LittleEndian.PutUint64(b, uint64(number)+1)
	return b
}

// writeOf is the number of the write behind an entry; -1 for none.
func writeOf(e *quorum.Entry) int {
	if e.Kind != quorum.EntryCommand || len(e.Data) < 8 {
		return -1
	}
	return int(binary.LittleEndian.Uint64(e.Data)) - 1
}

func (c *clients) end(number int, state outcome) {
	if c.writes[number].state == writePending {
		c.open--
	}
	wr := &c.writes[number]
	wr.state = state
	if then := wr.then; then != nil {
		wr.then = nil
		then(state == writeApplied)
	}
}

func (c *clients) readNext() {
	if c.w.healed {
		return
	}
	c.later(evRead, c.w.faults.read)
	c.call(c.someNode(), 1)
}

func (c *clients) read(n *node) {
	if n.core == nil || n.paused {
		return
	}
	c.ask(n, nil)
	c.w.obs.look(n)
	n.pump()
}

// ask begins a linearizable read; then is called at its answer.
func (c *clients) ask(n *node, then func()) {
	number := len(c.queries)
	c.queries = append(c.queries, query{home: n.id, life: n.life, from: c.w.obs.ledger.len(), then: then})
	n.asked = append(n.asked, number)
	c.asking++
	n.core.Read(uint64(len(n.asked)))
}

// forget is a client that gives up.
func (c *clients) forget(n *node, id uint64) {
	number := n.reqs[id-1]
	if c.writes[number].state != writePending {
		return
	}
	state := writeNeverOut
	if n.core.Forget(id) {
		state = writeUnknown
	}
	c.end(number, state)
	c.check21(number)
}

// homeDied: outcomes of the node's pending requests are unknown from now on.
func (c *clients) homeDied(n *node) {
	for _, number := range n.reqs {
		if c.writes[number].state == writePending {
			c.end(number, writeUnknown)
		}
	}
	for _, number := range n.asked {
		if q := &c.queries[number]; !q.done {
			q.done = true
			c.asking--
		}
	}
}

// committed notes that a proposal was committed at a position.
func (c *clients) committed(p *proposal, pos int) {
	if p.write < 0 || p.write >= len(c.writes) {
		return
	}
	wr := &c.writes[p.write]
	if wr.place != 0 {
		z, _ := c.w.obs.ledger.at(wr.place)
		again, _ := c.w.obs.ledger.at(pos)
		c.w.fail(21, "write %d of node %d is committed at %v and again at %v", p.write, wr.home, z, again)
	}
	if p.origin.Node != wr.home || p.origin.ID != wr.id {
		c.w.fail(21, "write %d of node %d is committed as request %d of node %d", p.write, wr.home, p.origin.ID, p.origin.Node)
	}
	wr.place = pos
	c.check21(p.write)
	if wr.kind == writeRaises {
		c.w.obs.ledger.level = newLevel
	}
	if wr.kind.ofSession() {
		c.sessionCommitted(wr, pos)
	}
}

// check21: 21, a write that ended without an effect has none.
func (c *clients) check21(number int) {
	wr := &c.writes[number]
	if wr.place == 0 || wr.state != writeFailed && wr.state != writeNeverOut {
		return
	}
	z, _ := c.w.obs.ledger.at(wr.place)
	c.w.fail(21, "write %d of node %d has failed and is committed at %v", number, wr.home, z)
}

// applied tells the client whose request an entry is.
func (c *clients) applied(n *node, e *quorum.Entry) {
	if number := writeOf(e); number >= 0 && c.writes[number].kind.ofSession() {
		n.sessionApplied(&c.writes[number])
	}
	boot := n.disk.img.control.Boot
	if e.Origin.Node != n.id || e.Origin.Boot != boot.Nonce {
		return
	}
	if e.Origin.ID == 0 || e.Origin.ID > uint64(len(n.reqs)) {
		c.w.fail(21, "node %d applies its request %d, which nobody made", n.id, e.Origin.ID)
		return
	}
	number := n.reqs[e.Origin.ID-1]
	if c.writes[number].state == writePending {
		c.end(number, n.outcome())
	}
}

// answered takes what a Ready says of requests and reads.
func (c *clients) answered(n *node, r *quorum.Ready) {
	for _, f := range r.Failed {
		c.failed(n, f)
	}
	c.w.obs.readsInDoubt(n, r)
	for _, d := range r.Reads {
		c.check20(n, d)
	}
}

func (c *clients) failed(n *node, f quorum.Failure) {
	if f.ID == 0 || f.ID > uint64(len(n.reqs)) {
		c.w.fail(21, "node %d reports on request %d, which nobody made", n.id, f.ID)
		return
	}
	number := n.reqs[f.ID-1]
	wr := &c.writes[number]
	c.w.note("write %d of %d ends with cause %d", number, n.id, f.Cause)
	switch {
	case wr.state == writeUnknown || wr.state == writeNeverOut:
		return
	case wr.state != writePending:
		c.w.fail(21, "write %d of node %d ends twice", number, n.id)
	case f.Cause == quorum.CauseRefused || wr.kind == writeChange:
		c.end(number, writeFailed)
		c.check21(number)
	case f.Cause == quorum.CauseStopped && n.app.bent, f.Cause == quorum.CauseJumped && wr.jumps < n.jumps:
		c.end(number, writeUnknown)
	default:
		c.w.fail(21, "write %d of node %d ends with cause %d without reason", number, n.id, f.Cause)
	}
}

// check20: 20, a read sees all that was committed when it was asked. An answer
// is for every open read up to its number.
func (c *clients) check20(n *node, d quorum.ReadDone) {
	if d.ID <= n.answered || d.ID > uint64(len(n.asked)) {
		c.w.fail(20, "node %d answers read %d of %d after %d", n.id, d.ID, len(n.asked), n.answered)
		return
	}
	l := &c.w.obs.ledger
	pos, ok := l.find(d.Zxid)
	for ; n.answered < d.ID; n.answered++ {
		q := &c.queries[n.asked[n.answered]]
		q.done = true
		c.asking--
		if from, _ := l.at(q.from); !ok || pos < q.from {
			c.w.fail(20, "a read at node %d is answered at %v; %v was committed when it was asked", n.id, d.Zxid, from)
		}
		if d.Zxid == l.start && l.start != 0 {
			c.w.fail(20, "a read at node %d is answered from the state of the past at %v (R9)", n.id, d.Zxid)
		}
		if q.then != nil {
			q.then()
		}
	}
}
