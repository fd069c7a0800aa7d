package node

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"perch/quorum"
	"perch/quorum/natsnet"
)

const (
	tickEvery  = 10 * time.Millisecond
	ticksMax   = 2    // counted after a pause, however long it was (ZAB.md 2.6)
	sweepTicks = 10   // between two looks at requests without an outcome
	drainMax   = 4096 // messages stepped before the core's output is looked at
)

// loop owns the core: no other goroutine touches it. It never waits for a disk
// or for the network. Whatever has come in while it was busy is stepped
// together, and only then is the core asked for its output: so batches form by
// themselves under load, and a lone request waits for nobody.
type loop struct {
	node *Node
	core machine
	gate quorum.Gate
	log  *slog.Logger

	inbox <-chan quorum.Message
	hints <-chan natsnet.Hint
	wake  chan struct{} // a request, a read, a completion
	stop  chan struct{}
	done  chan struct{}

	stableSeq atomic.Uint64 // set by the disk goroutine

	mu    sync.Mutex
	calls []func(machine) // completions and rare calls, in order

	seenStable uint64
	tickAt     time.Time // when the last tick was due
	leaseAt    time.Time // up to where the core was told of real time
	ticks      int
	leaderSeen time.Time // when there last was an established leader
	soft       quorum.Soft
	restAt     quorum.Zxid // where the state stood at the last sweep
	rested     bool        // its digest there was reported
	compared   bool        // --peers with the committed members
	version    quorum.Zxid // of the members that the log was told of
}

func newLoop(n *Node, core machine) *loop {
	l := &loop{
		node: n, core: core, log: n.log, wake: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if n.net != nil {
		l.inbox, l.hints = n.net.Inbox(), n.net.Hints()
	}
	return l
}

// call has fn run by the loop. It does not wait for it.
func (l *loop) call(fn func(machine)) {
	l.mu.Lock()
	l.calls = append(l.calls, fn)
	l.mu.Unlock()
	signal(l.wake)
}

// stable is what the disk goroutine reports.
func (l *loop) stable(seq uint64) {
	l.stableSeq.Store(seq)
	signal(l.wake)
}

// run ends when stop is closed, with nil, or when the core halts the node.
func (l *loop) run() error {
	defer close(l.done)
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	l.tickAt, l.leaseAt = time.Now(), time.Now()
	l.core.SetWall(time.Now().UnixMilli())
	if err := l.act(); err != nil {
		return err
	}
	for {
		var first *quorum.Message
		select {
		case <-l.stop:
			return nil
		case m := <-l.inbox:
			first = &m
		case h := <-l.hints:
			l.core.PeerHint(h.ID, h.Up)
		case <-l.wake:
		case <-ticker.C:
		}
		if err := l.turn(first); err != nil {
			return err
		}
	}
}

// turn is one round: take everything in, count the ticks that are due, act.
func (l *loop) turn(first *quorum.Message) error {
	now := time.Now()
	l.core.SetWall(now.UnixMilli())
	l.core.Backlog(int(l.node.apply.backlog.Load()))
	if first != nil {
		l.core.Step(*first)
	}
	l.drain()
	l.tick(now)
	return l.act()
}

// drain takes in whatever waits, the network first: after a pause the messages
// that came meanwhile must count before the time that passed.
func (l *loop) drain() {
	for range drainMax {
		select {
		case m := <-l.inbox:
			l.core.Step(m)
			continue
		case h := <-l.hints:
			l.core.PeerHint(h.ID, h.Up)
			continue
		default:
		}
		break
	}
	if seq := l.stableSeq.Load(); seq > l.seenStable {
		l.seenStable = seq
		l.core.Stable(seq)
		l.send(l.gate.Release(seq))
	}
	l.mu.Lock()
	calls := l.calls
	l.calls = nil
	l.mu.Unlock()
	for _, fn := range calls {
		fn(l.core)
	}
	l.submit()
	l.beginReads()
}

// tick counts what is due. After a pause at most two ticks count, so that a
// pause of this process does not look like the death of its leader.
func (l *loop) tick(now time.Time) {
	due := int(now.Sub(l.tickAt) / tickEvery)
	if due == 0 {
		return
	}
	if due > ticksMax {
		due = ticksMax
		l.tickAt = now
	} else {
		l.tickAt = l.tickAt.Add(time.Duration(due) * tickEvery)
	}
	elapsed := now.Sub(l.leaseAt).Milliseconds()
	l.leaseAt = l.leaseAt.Add(time.Duration(elapsed) * time.Millisecond)
	l.core.Tick(int(elapsed))
	for i := 1; i < due; i++ {
		l.core.Tick(0)
	}
	l.ticks++
	if l.ticks%sweepTicks == 0 {
		l.sweep(now)
		l.sweepReads(now)
		l.rest()
		l.node.publishPeers(l.core)
	}
	l.observe(now)
	l.node.keeper.tick(l.soft, l.leaseAt)
}

// act does what the core wants done.
func (l *loop) act() error {
	for l.core.HasReady() {
		r := l.core.Ready()
		if r.Halt != nil {
			return fmt.Errorf("quorum: %w", r.Halt)
		}
		if r.Mismatch != nil {
			l.mismatched(r.Mismatch)
		}
		if s := l.node.stages; s != nil {
			s.proceed(&r, time.Now())
		}
		if len(r.WAL) > 0 {
			l.node.disk.append(r.WAL, r.Seq)
		}
		l.send(l.gate.Push(r.Msgs))
		if r.Soft.Membership != l.soft.Membership {
			l.observe(time.Now()) // before whoever asked for the change hears of its end
		}
		if len(r.Committed) > 0 {
			l.node.apply.commit(r.Committed)
		}
		l.endReads(r.Reads)
		l.fail(r.Failed)
		for _, job := range r.Fetch {
			l.node.fetches.put(job)
		}
		if r.Install != nil {
			l.node.pull.begin(*r.Install)
		}
	}
	l.observe(time.Now())
	return nil
}

func (l *loop) send(msgs []quorum.Message) {
	if l.node.net == nil {
		return
	}
	for i := range msgs {
		l.node.net.Send(&msgs[i])
	}
}

// observe publishes the core's soft state when it has changed.
func (l *loop) observe(now time.Time) {
	s := l.core.Soft()
	if l.soft.Established {
		l.leaderSeen = now
	}
	if s == l.soft {
		return
	}
	old := l.soft
	l.soft = s
	l.node.soft.Store(&s)
	l.node.crowned(old, s, now)
	if s.Membership != old.Membership {
		l.regroup()
	}
	if s.Refusal != old.Refusal {
		l.refused(s)
	}
	if s.Doubt != old.Doubt {
		l.doubted(s)
	}
	if s.Spoiled && !old.Spoiled {
		l.node.leaveSpoiled()
	}
	if s.Leader != old.Leader || s.Heir != old.Heir || s.Epoch != old.Epoch || s.Established != old.Established || s.State != old.State {
		l.turned(s)
	}
}

// refused logs why this node does not take part. Waiting for others to form, or
// to be added, is no fault, and neither is a stop.
func (l *loop) refused(s quorum.Soft) {
	switch {
	case s.Refusal == "" || l.node.draining():
	case s.Forming != quorum.Rebuild:
		l.log.Info("this node waits", "for", s.Refusal)
	default:
		l.log.Error("this node does not take part", "reason", s.Refusal)
	}
}

// turned logs a change of who leads and tells those who act on it.
func (l *loop) turned(s quorum.Soft) {
	l.log.Info("quorum", keyState, stateName(s.State), keyPhase, phaseName(s.Phase), keyLeader, s.Leader,
		keyEpoch, s.Epoch, "established", s.Established, keyZxid, s.Last.String())
	l.node.keeper.turn(s, l.leaseAt)
	l.node.turns.turn()
	l.node.pull.turn(s)
	l.node.publishPeers(l.core)
	l.node.tellGateways()
}

// leaderSince says whether an established leader was seen at or after t.
func (l *loop) leaderSince(t time.Time) bool {
	return l.soft.Established || !l.leaderSeen.Before(t)
}
