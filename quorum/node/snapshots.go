package node

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"perch/quorum"
	"perch/quorum/snap"
)

// snapEvery is the time between two looks at whether a snapshot is due.
const snapEvery = time.Second

// snapshots takes them and serves them. A snapshot is written from an immutable
// View while everything goes on; it stands for one position exactly.
type snapshots struct {
	node  *Node
	store *snap.Store
	pace  *pace // of serving, all learners together

	logged   atomic.Int64  // bytes applied since the newest snapshot
	newest   atomic.Uint64 // zxid of the newest one of this node
	logStart atomic.Uint64 // where the log begins
	size     atomic.Int64  // bytes of the newest one
	taken    atomic.Uint64 // cluster age at the newest one

	taking sync.Mutex // held while one is taken; before mu

	mu   sync.Mutex
	last time.Time // when the newest one was taken
	pins map[quorum.Zxid]*served
}

// served is a snapshot that learners pull.
type served struct {
	*snap.Pinned
	used time.Time
	line []byte // that a backup of it begins with; nil before somebody asks for one
}

// pinIdle is how long a snapshot that nobody pulls any more is kept for pulling.
const pinIdle = 30 * time.Second

func newSnapshots(n *Node, store *snap.Store) *snapshots {
	return &snapshots{
		node: n, store: store, pace: newPace(n.cfg.SnapshotRate), last: time.Now(), pins: make(map[quorum.Zxid]*served),
	}
}

// run takes snapshots when they are due, until ctx ends.
func (s *snapshots) run(ctx context.Context) {
	ticker := time.NewTicker(min(snapEvery, s.node.cfg.SnapshotEvery))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if s.node.inDoubt() != nil || !s.due(time.Now()) {
			continue
		}
		if err := s.take(0); err != nil && ctx.Err() == nil {
			s.node.metrics.snapsFailed.Inc()
			s.node.log.Error("no snapshot could be taken", keyError, err)
		}
	}
}

// due says whether the log since the last snapshot exceeds what a snapshot
// costs. The members have logged the same, so each waits a little longer than
// the one before, and they do not all write at once.
func (s *snapshots) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := max(s.node.cfg.SnapshotBytes, s.size.Load())
	rank, of := s.node.members.Load().rank(s.node.cfg.ID)
	most += most / 4 * int64(rank) / int64(of)
	return s.logged.Load() > most && now.Sub(s.last) >= s.node.cfg.SnapshotEvery
}

// take writes a snapshot of the newest checkpoint, or of the present state if
// that checkpoint is older than least, and drops what it makes useless. When least
// is not 0, a snapshot that is not older will do.
func (s *snapshots) take(least quorum.Zxid) error {
	s.taking.Lock()
	defer s.taking.Unlock()
	if newest := quorum.Zxid(s.newest.Load()); least != 0 && newest >= least {
		return nil
	}
	start := time.Now()
	s.mu.Lock()
	s.last = start // also when it fails: trying at once again would not help
	s.mu.Unlock()
	logged := s.logged.Load()
	at := s.node.apply.forSnapshot(quorum.Zxid(s.newest.Load()))
	if at.view.Zxid() < least {
		at = s.node.apply.now()
	}
	view := at.view
	if view.Zxid() == 0 || uint64(view.Zxid()) == s.newest.Load() {
		return nil
	}
	meta, err := s.store.Create(quorum.SnapMeta{Zxid: view.Zxid(), Chain: at.chain, Digest: view.Digest(), Config: at.config}, func(w io.Writer) error {
		_, err := view.WriteTo(w)
		return err
	})
	if err != nil {
		return err
	}
	s.logged.Add(-logged)
	s.adopt(meta, view.Age())
	s.node.loop.call(func(core machine) { core.SnapshotTaken(meta) })
	took := time.Since(start)
	s.node.metrics.snapshots.Inc()
	s.node.metrics.snapshotTaken.Set(took.Seconds())
	s.node.log.Info("snapshot taken", keyZxid, meta.Zxid.String(), "bytes", meta.Size, "took", took)
	return s.purge()
}

// adopt notes meta as the newest snapshot, of a state at a cluster age.
func (s *snapshots) adopt(meta quorum.SnapMeta, age uint64) {
	s.newest.Store(uint64(meta.Zxid))
	s.size.Store(meta.Size)
	s.taken.Store(age)
}

// age is how long the cluster has lived since the newest snapshot, as far as this
// node knows; 0 without one.
func (s *snapshots) age() time.Duration {
	now, taken := s.node.Soft().AgeMs, s.taken.Load()
	if s.newest.Load() == 0 || now < taken {
		return 0
	}
	return time.Duration(now-taken) * time.Millisecond
}

// purge keeps the newest snapshots and the log from the oldest of them on, all of
// it while there are fewer: learners and the archive go back to it. The
// one that the state stands on is kept even if pulled ones are newer: those may
// have come to nothing.
func (s *snapshots) purge() error {
	kept, err := s.store.Purge(s.node.cfg.SnapshotKeep, quorum.Zxid(s.newest.Load()))
	if err != nil {
		return fmt.Errorf("purge snapshots: %w", err)
	}
	if len(kept) < s.node.cfg.SnapshotKeep {
		return nil // the first snapshots of a store: its log reaches back further than they do
	}
	oldest := quorum.Zxid(s.newest.Load())
	for _, m := range kept {
		oldest = min(oldest, m.Zxid)
	}
	start, err := s.node.wal.Purge(oldest)
	if err != nil {
		return fmt.Errorf("purge the log: %w", err)
	}
	s.logStart.Store(uint64(start))
	s.node.loop.call(func(core machine) { core.Compacted(start) })
	return nil
}

// pinned is the snapshot at z, kept from being purged while it is pulled.
func (s *snapshots) pinned(z quorum.Zxid) (*served, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.pins[z]; at != nil {
		at.used = time.Now()
		return at, nil
	}
	p, err := s.store.Pin(z)
	if err != nil {
		return nil, err
	}
	at := &served{Pinned: p, used: time.Now()}
	s.pins[z] = at
	return at, nil
}

// unpin lets go of snapshots that nobody has asked for since before.
func (s *snapshots) unpin(before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for z, at := range s.pins {
		if at.used.Before(before) {
			_ = at.Close()
			delete(s.pins, z)
		}
	}
}

// pace spreads bytes over time.
type pace struct {
	rate int64 // bytes a second

	mu   sync.Mutex
	free time.Time // when what was let through so far will have been paid for
}

// paceSlack is how far ahead of its rate a pace may run; shorter sleeps than
// this cost more than they even out.
const paceSlack = 5 * time.Millisecond

func newPace(rate int64) *pace { return &pace{rate: rate} }

// wait lets n bytes through, after a pause if need be.
func (p *pace) wait(ctx context.Context, n int) error {
	p.mu.Lock()
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(int64(n) * int64(time.Second) / p.rate))
	ahead := p.free.Sub(now)
	p.mu.Unlock()
	if ahead < paceSlack {
		return ctx.Err()
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
