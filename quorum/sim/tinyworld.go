package sim

import (
	"cmp"
	"fmt"
	"slices"

	"perch/quorum"
)

// action is one thing that may happen.
type action struct {
	kind actionKind
	node quorum.NodeID
	arg  int    // arrives: place in flying; crashes: records kept; follows: the leader
	turn uint64 // drawn: when it is tried
}

type actionKind uint8

const (
	arrives actionKind = iota
	fsyncs
	crashes
	starts
	writes
	wins
	follows
	givesUp
)

var actionNames = [...]string{
	"message %[2]d arrives at %[1]d", "the oldest group of records of %d becomes stable", "%d crashes, %d unstable records survive",
	"%d starts", "a client writes at %d", "%d wins an election", "%d follows %d", "%d gives up",
}

func (a action) String() string {
	switch a.kind {
	case arrives, crashes, follows:
		return fmt.Sprintf(actionNames[a.kind], a.node, a.arg)
	}
	return fmt.Sprintf(actionNames[a.kind], a.node)
}

// never are messages that the tiny world loses: elections are free, time-outs
// strike at will, and what the others repeat or shorten comes without them.
var never = []string{"NOTIFY", "PING", "PONG", "STEPDOWN", "NACK"}

// root is a formed cluster of three in sync under a leader, with empty logs.
func (e *walk) root() *place {
	w := newWorld(Options{Seed: 1, Nodes: 3, Mutant: e.opt.Mutant})
	w.script = true
	w.faults = faults{snapsKept: 1}
	w.faults.calm()
	s := &Schedule{w: w, names: map[string]int{}}
	for _, n := range w.nodes[1:] {
		n.rate, n.tickEvery = 1000, 10*millisecond
		n.start()
	}
	s.advance(patience, func() bool { return s.synced(nil) == "" })
	for _, name := range never {
		w.net.rules = append(w.net.rules, rule{match: pattern{name: name}})
	}
	w.net.rules = append(w.net.rules, rule{match: pattern{name: "*"}, hold: true})
	// Time-outs are actions: let them be short, and nothing be repeated before.
	w.faults.tuning = quorum.Tuning{
		PingTicks: 10_000, FollowerTimeout: 4, FinalizeTicks: 1, NotifyTicks: 10_000, DiscoveryTicks: 2, SyncTicks: 2, ResendTicks: 10_000,
		CounterLimit: uint32(e.opt.Bounds.Renew),
	}
	p := &place{world: w}
	for _, n := range w.nodes[1:] {
		n.crash(keepAll)
		n.disk.stuck = true // fsyncs are actions
		e.do(p, action{kind: starts, node: n.id})
	}
	for _, a := range []action{{kind: wins, node: 3}, {kind: follows, node: 1, arg: 3}, {kind: follows, node: 2, arg: 3}} {
		e.do(p, a)
		e.settle(p)
	}
	if why := s.synced(nil); why != "" {
		w.fail(0, "the tiny world does not begin: %s; %s", why, w.states())
	}
	p.spent = spent{}
	return p
}

// settle lets everything arrive and become stable.
func (e *walk) settle(p *place) {
	for range 200 {
		acts := e.actions(p)
		i := slices.IndexFunc(acts, func(a action) bool { return a.kind == arrives || a.kind == fsyncs })
		if i < 0 || p.world.failure != nil {
			return
		}
		e.do(p, acts[i])
	}
}

// actions lists what may happen.
func (e *walk) actions(p *place) []action {
	var all []action
	b, s, w := &e.opt.Bounds, &p.spent, p.world
	for i, f := range p.flying {
		all = append(all, action{kind: arrives, node: f.to, arg: i})
	}
	for _, n := range w.nodes[1:] {
		if n.core == nil {
			all = append(all, action{kind: starts, node: n.id})
			continue
		}
		if len(n.disk.seqs) > 0 {
			all = append(all, action{kind: fsyncs, node: n.id})
		}
		if s.crashes < b.Crashes {
			for keep := range len(n.disk.pending) + 1 {
				all = append(all, action{kind: crashes, node: n.id, arg: keep})
			}
		}
		all = p.roles(all, b, n)
	}
	return all
}

// roles adds what a node may do in the role that it has.
func (p *place) roles(all []action, b *Bounds, n *node) []action {
	s, soft := &p.spent, n.core.Soft()
	if soft.State != quorum.StateLooking {
		if s.giveUps < b.GiveUps {
			all = append(all, action{kind: givesUp, node: n.id})
		}
		if soft.State == quorum.StateLeading && soft.Established && s.writes < b.Writes {
			all = append(all, action{kind: writes, node: n.id})
		}
		return all
	}
	if s.elections < b.Elections {
		all = append(all, action{kind: wins, node: n.id})
	}
	for _, l := range p.world.nodes[1:] {
		if l != n && l.core != nil && l.core.Soft().State == quorum.StateLeading && s.follows < 2*b.Elections+b.Follows {
			all = append(all, action{kind: follows, node: n.id, arg: int(l.id)})
		}
	}
	return all
}

// do lets an action happen.
func (e *walk) do(p *place, a action) {
	w, s := p.world, &p.spent
	n := w.nodes[a.node]
	switch a.kind {
	case arrives:
		f := p.flying[a.arg]
		p.flying = slices.Delete(p.flying, a.arg, a.arg+1)
		n.take(&event{kind: evMessage, node: n.id, from: f.from, msg: f.msg})
	case fsyncs:
		n.synced(&event{life: n.life, num: n.disk.seqs[0]})
	case crashes:
		s.crashes++
		p.crash(n, a.arg)
	case starts:
		n.rng.state = scramble(uint64(n.id)<<32 + n.disk.img.control.Boot.Counter)
		n.start()
	case writes:
		s.writes++
		w.clients.submit(n)
	case wins:
		s.elections++
		p.wins(n)
	case follows:
		s.follows++
		p.follows(n, w.nodes[a.arg])
	case givesUp:
		s.giveUps++
		p.givesUp(n)
	}
	e.collect(p)
}

// crash keeps the oldest records of those that are not stable.
func (p *place) crash(n *node, keep int) {
	d := &n.disk
	for i := range keep {
		n.makeDurable(&d.pending[i])
	}
	d.pending, d.seqs = d.pending[keep:], d.seqs[keep:]
	n.crash(keepNone)
}

// forge makes up a notification of a peer for n.
func (p *place) forge(n, from *node, m quorum.Message) {
	c := &from.disk.img.control
	p.forged++
	m.Type, m.From, m.FromBoot, m.Cluster, m.Forming = quorum.MsgNotify, from.id, c.Boot, c.Cluster, quorum.Formed
	m.Seq = 1<<40 + p.forged
	n.take(&event{kind: evMessage, node: n.id, from: from.id, msg: &m})
}

// wins: both others vote for n.
func (p *place) wins(n *node) {
	p.rest(n)
	round := 1<<40 + p.forged
	vote := quorum.Vote{Leader: n.id, Epoch: n.core.Control().CurrentEpoch, Last: n.core.History().Last()}
	for _, from := range p.world.nodes[1:] {
		if from != n {
			p.forge(n, from, quorum.Message{State: quorum.StateLooking, Vote: vote, Round: round})
		}
	}
}

// follows: n hears that l leads and has a quorum.
func (p *place) follows(n, l *node) {
	const sure = 1 << 20
	p.rest(n)
	p.forge(n, l, quorum.Message{
		State: quorum.StateLeading, Reach: []quorum.NodeID{1, 2, 3},
		Vote: quorum.Vote{Leader: l.id, Epoch: sure}, Cred: quorum.Credentials{CurrentEpoch: sure},
	})
}

// rest lets a node wait until it may stand again.
func (p *place) rest(n *node) {
	for range 100 {
		n.core.Tick(0)
	}
	n.pump()
}

// givesUp lets time pass until a node leaves its role.
func (p *place) givesUp(n *node) {
	for i := 0; n.core != nil && n.core.Soft().State != quorum.StateLooking && i < 500; i++ {
		n.core.Tick(0)
	}
	p.world.obs.look(n)
	n.pump()
}

// collect takes up what was sent, and loses what is on its way to a node that is
// down and what is too much.
func (e *walk) collect(p *place) {
	w := p.world
	w.queue = queue{}
	for _, h := range w.net.held {
		if h.msg.Type == quorum.MsgJoin {
			p.births = append(p.births, birth{h.from, h.msg.Session})
		}
		m := *h.msg
		if e.opt.Tamper != nil {
			e.opt.Tamper(&m)
		}
		p.flying = append(p.flying, flying{h.from, h.to, &m})
	}
	w.net.held = nil
	p.flying = slices.DeleteFunc(p.flying, func(f flying) bool { return w.nodes[f.to].core == nil })
	if len(p.flying) > e.opt.Bounds.Flying {
		// Which is lost depends on what they say, not on their order, which no state
		// knows.
		slices.SortStableFunc(p.flying, func(a, b flying) int { return cmp.Compare(e.weigh(p, a), e.weigh(p, b)) })
		p.flying = p.flying[:e.opt.Bounds.Flying]
	}
}

// weigh is the digest of a message under way.
func (e *walk) weigh(p *place, f flying) uint64 {
	d := &e.digest
	d.sum, d.name = uint64(f.to), p.age
	digest(d, f.msg)
	return d.sum
}

// describe says what an action is about to do.
func (p *place) describe(a action) string {
	if a.kind != arrives {
		return a.String()
	}
	f := p.flying[a.arg]
	return fmt.Sprintf("%d>%d %s arrives", f.from, f.to, messageText(f.msg))
}
