package node

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// applyMost is the number of entries after which a View is published in the
// middle of a long stretch.
const applyMost = 1024

// applier owns the replicated state: its goroutine alone changes it. After each
// batch it publishes an immutable View, and only then ends the requests of this
// node's clients and wakes those who wait, so that whoever is answered finds
// the state that the answer spoke of.
type applier struct {
	node   *Node
	log    *slog.Logger
	state  *lease.State // the goroutine's
	chain  uint64       // chain hash of the log at the state; the goroutine's
	config string       // encoded configuration at the state, "" for the founding one; the goroutine's
	queue  *queue[applyJob]
	stop   chan struct{}
	done   chan struct{}

	// tamper is a seam of tests: it gives another entry to apply, as an apply that
	// is not the same everywhere would. nil otherwise.
	tamper atomic.Pointer[func(quorum.Entry) quorum.Entry]

	newest  atomic.Pointer[published]
	checked atomic.Pointer[published] // at the newest checkpoint; nil before the first
	backlog atomic.Int64              // bytes committed and not applied
}

// published is a state that everybody may read, and the log's chain hash there.
type published struct {
	view   *lease.View
	chain  uint64
	config string
}

// applyJob is a stretch of committed entries, or a state that replaces ours.
type applyJob struct {
	entries []quorum.Entry
	install *lease.State
	snap    quorum.SnapMeta // of install
}

// batch is what one published View brings about. Its slices are used again.
type batch struct {
	entries  int
	bytes    int64
	began    time.Time
	own      []lease.Result
	ids      []uint64 // requests that own belongs to
	sessions []lease.Result
	ends     []placeEnd // of places that this node is the home of
	events   []tree.Event
	digests  []quorum.Checkpoint
}

func newApplier(n *Node, state *lease.State, at *quorum.SnapMeta) *applier {
	a := &applier{
		node: n, log: n.log, state: state, chain: at.Chain, config: at.Config, queue: newQueue[applyJob](),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	a.publish()
	a.node.watches.woken.Store(uint64(a.now().view.Zxid()))
	return a
}

// now is what was published last.
func (a *applier) now() *published { return a.newest.Load() }

// commit queues entries. The queue has no hard bound, since the loop must not
// wait; but while the backlog is large this node takes no writes (see admit), and
// its core takes in nothing more from the leader.
func (a *applier) commit(entries []quorum.Entry) {
	n := int64(0)
	for i := range entries {
		n += int64(entries[i].Size())
	}
	a.backlog.Add(n)
	a.queue.put(applyJob{entries: entries})
}

// install queues a state that a snapshot brought, before any later entries.
func (a *applier) install(s *lease.State, snap quorum.SnapMeta) {
	a.queue.put(applyJob{install: s, snap: snap})
}

// run applies until stop, or until an entry cannot be applied: then this node
// does not know the state any more and must stop.
func (a *applier) run() {
	defer close(a.done)
	var b batch
	for {
		jobs := a.queue.take()
		b.began = time.Now()
		for i := range jobs {
			if err := a.do(&jobs[i], &b); err != nil {
				a.node.fail(err)
				return
			}
		}
		a.flush(&b)
		if len(jobs) > 0 {
			a.queue.give(jobs)
			continue
		}
		select {
		case <-a.queue.wake:
		case <-a.stop:
			return
		}
	}
}

func (a *applier) do(j *applyJob, b *batch) error {
	if j.install != nil {
		a.flush(b)
		a.replace(j)
		return nil
	}
	for i := range j.entries {
		if err := a.apply(&j.entries[i], b); err != nil {
			return err
		}
		if b.entries >= applyMost {
			a.flush(b)
		}
	}
	return nil
}

func (a *applier) apply(e *quorum.Entry, b *batch) error {
	if tamper := a.tamper.Load(); tamper != nil {
		other := (*tamper)(*e)
		e = &other
	}
	res, events, err := a.state.Apply(e)
	if err != nil {
		return fmt.Errorf("apply %v: %w", e.Zxid, err)
	}
	a.chain = e.Chain
	if e.Kind == quorum.EntryConfig {
		cf, err := quorum.DecodeConfiguration(e.Data)
		if err != nil {
			return fmt.Errorf("apply %v: %w", e.Zxid, err)
		}
		cf.Version = e.Zxid
		a.config = string(cf.Encode())
	}
	b.entries++
	b.bytes += int64(e.Size())
	if own := &a.node.own; e.Origin.Node == own.Node && e.Origin.Boot == own.Boot {
		b.own, b.ids = append(b.own, res), append(b.ids, e.Origin.ID)
	}
	if concerns(&res) {
		b.sessions = append(b.sessions, res)
	}
	b.ends = a.node.ours(b.ends, &res)
	b.events = append(b.events, events...)
	a.checkpoint(e, b)
	return nil
}

// flush publishes a batch and tells everybody whom it concerns.
func (a *applier) flush(b *batch) {
	if b.entries == 0 {
		return
	}
	now := time.Now()
	a.node.metrics.applied(b.entries, now.Sub(b.began))
	at := a.present()
	a.node.stages.pass(stageApplied, at.view.Zxid(), b.began, now)
	a.newest.Store(at)
	a.backlog.Add(-b.bytes)
	a.node.snaps.logged.Add(b.bytes)
	if len(b.sessions) > 0 {
		a.node.keeper.applied(b.sessions)
	}
	a.node.positions.advance(at.view.Zxid()) // who waits for it finds what the keeper knows
	a.report(b)
	doubt := a.node.inDoubt()
	a.node.endOwn(b.ids, b.own, doubt)
	if len(b.ends) > 0 {
		a.node.places.end(b.ends, doubt)
	}
	if len(b.events) > 0 {
		a.node.watches.wake(b.events)
	}
	a.node.watches.woken.Store(uint64(at.view.Zxid()))
	clear(b.own)
	clear(b.sessions)
	clear(b.ends)
	clear(b.events)
	*b = batch{began: time.Now(), own: b.own[:0], ids: b.ids[:0], sessions: b.sessions[:0], ends: b.ends[:0], events: b.events[:0]}
}

// replace takes over the state of a snapshot. Everybody parked looks again: the
// event history came with it.
func (a *applier) replace(j *applyJob) {
	a.state, a.chain, a.config = j.install, j.snap.Chain, j.snap.Config
	a.checked.Store(nil)
	a.publish()
	a.node.watches.wakeAll()
	a.node.watches.woken.Store(uint64(a.now().view.Zxid()))
	a.node.places.replaced(a.now().view)
	a.log.Info("snapshot installed", keyZxid, a.now().view.Zxid().String())
}

// publish makes the state visible to readers.
func (a *applier) publish() {
	at := a.present()
	a.newest.Store(at)
	a.node.positions.advance(at.view.Zxid())
}
