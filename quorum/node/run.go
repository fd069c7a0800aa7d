package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/wal"
)

const (
	drainWrites = 400 * time.Millisecond // for writes in flight to end
	drainLead   = 100 * time.Millisecond // for the loop to hand over
	drainPoll   = 2 * time.Millisecond
	houseEvery  = time.Second // between two looks at what only grows old
)

// Run runs the node until ctx ends, then stops it cleanly: it takes nothing
// new, wakes what is parked, lets writes in flight end, hands over leadership,
// marks the log and closes it, all within a second unless the disk hangs. Run
// returns nil then, and the error that stopped the node otherwise: one that wraps
// ErrRebuild asks for another Open. It may be called once.
func (n *Node) Run(ctx context.Context) error {
	n.mu.Lock()
	n.ran = true
	n.mu.Unlock()
	go func() {
		if err := n.loop.run(); err != nil {
			n.fail(err)
		}
	}()
	go n.disk.run()
	go n.apply.run()
	n.spawn(n.keeper.run)
	n.spawn(n.space.run)
	n.spawn(n.serveFetches)
	n.spawn(n.snaps.run)
	n.spawn(n.house)
	n.spawn(n.beat)
	if n.stages != nil {
		n.spawn(n.stages.run)
	}
	var err error
	select {
	case <-ctx.Done():
		n.handOver()
	case err = <-n.fatal:
		n.log.Error("the node stops", keyError, err)
	}
	n.stop()
	return err
}

// Close releases a node that was opened and never run. Otherwise it does
// nothing: the end of Run has closed everything.
func (n *Node) Close() error {
	n.mu.Lock()
	idle := !n.ran && !n.stopped
	n.stopped = true
	n.mu.Unlock()
	if !idle {
		return nil
	}
	n.cancel()
	if n.gateways != nil {
		n.gateways.Close()
	}
	if n.net != nil {
		n.net.Close()
	}
	return n.wal.Close()
}

// handOver is the clean part of a stop.
func (n *Node) handOver() {
	n.refuse()
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	for end := time.Now().Add(drainWrites); n.requests.count() > 0 && time.Now().Before(end); {
		<-poll.C
	}
	n.announceDrain()
	handed := make(chan struct{})
	n.loop.call(func(core machine) {
		core.StepDown()
		close(handed)
	})
	select {
	case <-handed:
	case <-n.loop.done:
	case <-time.After(drainLead):
	}
}

// refuse takes nothing new and answers what is parked.
func (n *Node) refuse() {
	n.drain.Store(true)
	n.watches.close()
	n.tellGateways()
}

// stop ends every goroutine, those first that feed others, and closes what is
// open. Whoever still waits is told that the outcome is unknown.
func (n *Node) stop() {
	n.refuse()
	close(n.loop.stop)
	<-n.loop.done
	close(n.disk.stop)
	<-n.disk.done
	close(n.apply.stop)
	<-n.apply.done
	n.mu.Lock()
	n.stopped = true
	n.mu.Unlock()
	n.cancel()
	n.requests.endAll(outcome{err: lease.ErrCommitTimeout})
	if n.gateways != nil {
		n.gateways.Close()
	}
	if n.net != nil {
		n.net.Close()
	}
	n.work.Wait()
	n.snaps.unpin(time.Now())
	if err := n.wal.Close(); err != nil {
		n.log.Warn("close the log", keyError, err)
	}
}

// serveFetches reads old entries for learners. Reading may wait for the disk,
// so the loop does not do it.
func (n *Node) serveFetches(ctx context.Context) {
	for {
		for _, job := range n.fetches.take() {
			if ctx.Err() != nil {
				return
			}
			entries, err := n.readLog(ctx, job.After, job.MaxBytes)
			if err != nil && !errors.Is(err, wal.ErrNotFound) {
				return
			}
			n.loop.call(func(core machine) { core.Fetched(job, entries, err) })
		}
		select {
		case <-n.fetches.wake:
		case <-ctx.Done():
			return
		}
	}
}

// readLog reads entries of the log for others; wal.ErrNotFound is its only error
// after which the node goes on. A log that cannot be read where it was written is
// not one to lead or to vote with: the node stops, and its next start finds out
// what is damaged. To go on would starve who needs just these entries.
func (n *Node) readLog(ctx context.Context, after quorum.Zxid, most int) ([]quorum.Entry, error) {
	entries, err := n.wal.Read(after, most)
	if err == nil || errors.Is(err, wal.ErrNotFound) || ctx.Err() != nil {
		return entries, err
	}
	err = fmt.Errorf("read the log: %w", err)
	if _, bad := spoiled(err); bad && rebuildable(&n.cfg) {
		err = fmt.Errorf("%w: %w", ErrRebuild, err) // which the next Open finds out too
	}
	n.fail(err)
	return nil, err
}

// house drops what only time makes useless.
func (n *Node) house(ctx context.Context) {
	ticker := time.NewTicker(houseEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			n.pages.sweep()
			n.snaps.unpin(time.Now().Add(-pinIdle))
		case <-ctx.Done():
			return
		}
	}
}

// handlers answers the questions of other nodes.
func (n *Node) handlers() {
	if n.net == nil {
		return
	}
	n.net.Handle(natsnet.KindTouch, n.serveTouch)
	n.net.Handle(natsnet.KindPage, n.servePage)
	n.net.Handle(natsnet.KindChunk, n.snaps.serveChunk)
	n.net.Handle(natsnet.KindSpace, n.space.serve)
	n.net.Handle(natsnet.KindGive, n.serveGive)
	n.net.Handle(natsnet.KindBeat, n.serveBeat)
	n.net.Handle(natsnet.KindLeft, n.serveLeft)
	n.net.Handle(natsnet.KindTrace, n.stages.serve)
}

// minEpoch is the first epoch of a cluster that forms at now: whole hours since
// 2026 began, so that a cluster founded anew never repeats positions of one
// that was lost (RULES.md R9).
func minEpoch(now time.Time) quorum.Epoch {
	hours := now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Hour
	return quorum.Epoch(max(1, hours))
}
