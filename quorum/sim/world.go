package sim

import (
	"fmt"
	"io"

	"perch/quorum"
)

// Options choose a run.
type Options struct {
	Seed      uint64
	Nodes     int       // voters; 0: drawn, mostly 3
	Observers int       // beside them; 0: drawn, mostly none; negative: none
	Spares    int       // that may be added; 0: drawn, mostly none, and members then stay as they are; negative: none
	Out       io.Writer // transcript; nil: none
	Cut       *Cut      // what is left out; nil: nothing
	Mutant    string    // a bug put into the simulated driver, see mutant.go; "" for none
}

// Violation is a broken assertion.
type Violation struct {
	Number int // of ZAB.md section 6; 0: something else
	At     int64
	Text   string
}

func (v *Violation) Error() string {
	if v.Number == 0 {
		return fmt.Sprintf("at %s: %s", clock(v.At), v.Text)
	}
	return fmt.Sprintf("at %s: assertion %d (%s): %s", clock(v.At), v.Number, assertions[v.Number], v.Text)
}

// Report is the outcome of a run.
type Report struct {
	Seed      uint64
	Nodes     int
	Events    int
	Virtual   int64  // microseconds
	Trace     uint64 // equal for equal seeds
	Committed int
	Epochs    int        // leaders established by an election
	Renewals  int        // epochs that an established leader went on to in place
	Healed    int64      // microseconds from the end of the faults to a cluster in sync
	Reigns    int        // leaders established in that time
	Strikes   int        // faults that strike at a time, those left out included
	Failure   *Violation // nil when all is well

	strikes []int64 // when, by number
	kinds   []faultKind
}

// World is one cluster and everything around it.
type World struct {
	opt        Options
	rng        rng
	now        int64
	queue      queue
	nodes      []*node // by id; 0 is nobody; voters first
	voters     int
	listed     int // in everybody's --peers: voters and observers
	net        network
	faults     faults
	strikes    []strike
	strikeSeed uint64
	obs        observer
	watchers   watchers
	clients    clients
	held       *held // nil: nothing is held in this world
	heal       healing
	healed     bool
	early      int    // disks lost before a cluster was formed
	bent       int    // states that a fault has made wrong
	script     bool   // driven by a directed schedule: nothing is random
	sweep      *sweep // of crash points; nil in other runs
	failure    *Violation
	events     int
	trace      uint64
}

// eventBound is far above what any run takes; a storm of messages fails by it.
// Where an epoch ends after a few entries, each new one has a thousand requests
// that wait sent again.
func (w *World) eventBound() int { return 800_000 + int(w.faults.until/second)*100_000 }

// Run plays one seed from start to end.
func Run(opt Options) Report { return newWorld(opt).play() }

func (w *World) play() Report {
	w.begin()
	for w.failure == nil && !w.heal.done {
		e, ok := w.queue.pop()
		if !ok {
			w.fail(0, "nothing is left to happen")
			break
		}
		if w.step(&e); w.events > w.eventBound() {
			w.fail(0, "the run does not end")
		}
	}
	return w.report()
}

func (w *World) report() Report {
	for _, n := range w.nodes[1:] {
		if n.core != nil {
			w.stir(n.core.Hash())
		}
	}
	r := Report{
		Seed: w.opt.Seed, Nodes: w.voters, Events: w.events, Virtual: w.now, Trace: w.trace,
		Committed: w.obs.ledger.len(), Epochs: w.obs.reigns, Renewals: w.obs.renewed, Failure: w.failure,
		Healed: w.heal.asked - w.heal.began, Reigns: w.obs.reigns - w.heal.reigns,
		Strikes: len(w.strikes),
	}
	for i := range w.strikes {
		r.strikes = append(r.strikes, w.opt.Cut.strikeAt(w.strikes[i].at))
		r.kinds = append(r.kinds, w.strikes[i].kind)
	}
	return r
}

func newWorld(opt Options) *World {
	w := &World{opt: opt, rng: rng{state: scramble(opt.Seed + 1)}}
	w.voters = opt.Nodes
	if w.voters == 0 {
		w.voters = pick(&w.rng, 3, 3, 3, 3, 3, 3, 3, 5, 5, 1)
	}
	fr := w.rng.fork()
	w.faults, w.strikeSeed = draw(&fr, w.voters), fr.next()
	if opt.Observers != 0 {
		w.faults.observers = max(0, opt.Observers)
	}
	if opt.Spares >= 0 {
		drawMembers(&rng{state: scramble(opt.Seed ^ membersSalt)}, &w.faults, opt.Spares)
	}
	if c := opt.Cut; c != nil {
		c.apply(&w.faults)
		w.rng.state ^= scramble(c.Salt)
	}
	drawPast(&rng{state: scramble(opt.Seed ^ pastSalt)}, &w.faults)
	w.listed = w.voters + w.faults.observers
	count := w.listed + w.faults.spares
	w.nodes = make([]*node, count+1)
	for i := 1; i <= count; i++ {
		w.nodes[i] = &node{
			w: w, id: quorum.NodeID(i), rng: w.rng.fork(), crashIn: -1, rate: 1000,
			tickEvery: 10*millisecond + w.rng.between(-400, 400),
		}
		w.nodes[i].drift(w.faults.drift)
	}
	w.net = newNetwork(w, count)
	w.obs = newObserver(w)
	w.obs.ledger.beginAt(w.faults.past)
	w.clients = newClients(w)
	w.watchers = newWatchers(w)
	if drawHeld(&rng{state: scramble(opt.Seed ^ heldSalt)}, &w.faults); w.faults.held > 0 {
		w.holds()
	}
	return w
}

// begin starts the nodes in random order and lets faults and clients loose.
func (w *World) begin() {
	for _, n := range w.nodes[1:] {
		w.at(event{at: w.rng.between(0, 200*millisecond), kind: evStart, node: n.id})
	}
	w.armFaults()
	w.clients.begin()
	w.held.begin()
}

// config is what the operator gives a node at every start.
func (w *World) config(n *node) quorum.Config {
	c := quorum.Config{
		ID: n.id, ConfigHash: 7, Seed: n.rng.next(), MinEpoch: w.faults.minEpoch, Level: n.level, Tuning: w.faults.tuning,
	}
	for _, p := range w.nodes[1:] {
		if p.founds() || p == n {
			c.Peers = append(c.Peers, quorum.Peer{ID: p.id, Addr: "sim", Role: p.role()})
		}
	}
	if !n.founds() {
		c.ConfigHash++ // its list is another one
	}
	return c
}

func (w *World) at(e event) { w.queue.push(e) }

// step lets one event happen.
func (w *World) step(e *event) {
	w.now = e.at
	w.events++
	w.stir(uint64(e.at)<<8 ^ uint64(e.kind)<<4 ^ uint64(e.node))
	var n *node
	if e.node != 0 {
		n = w.nodes[e.node]
	}
	switch e.kind {
	case evMessage:
		w.net.arrive(e)
	case evSynced:
		n.synced(e)
	case evStart:
		n.start()
	case evStop:
		if e.life == n.life {
			w.stop(n, keepSome)
		}
	case evResume:
		if e.life == n.life {
			n.resume()
		}
	case evSubmit:
		w.clients.submitNext()
	case evRead:
		w.clients.readNext()
	case evOpen:
		w.clients.openNext()
	case evTouch:
		w.clients.touchNext()
	case evWorker:
		w.held.step(e)
	case evTouched:
		w.clients.touchAnswered(e.touch)
	case evFlap:
		w.net.w.flapped(e)
	case evFault:
		w.strike(&w.strikes[e.num])
	case evCalm:
		w.beginHealing()
	case evWatch:
		w.heal.watch()
	default:
		n.take(e)
	}
}

// stir folds v into the trace hash.
func (w *World) stir(v uint64) { w.trace = mix(w.trace, v) }

// fail records the first violation; the run ends.
func (w *World) fail(number int, format string, args ...any) {
	if w.failure != nil {
		return
	}
	w.failure = &Violation{Number: number, At: w.now, Text: fmt.Sprintf(format, args...)}
	w.note("VIOLATION: %v", w.failure.Text)
}
