package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/wal"
)

// feedEvents is about how many events one stretch holds.
const feedEvents = 16384

// Feed hands out the committed history to one reader that keeps it elsewhere:
// in order, without a gap, each stretch when it is asked for. It reads the log
// and immutable views; nothing that a write goes through ever waits for it, and
// all that it reads is paced together.
//
// It belongs to one goroutine but for Pace, and gives nothing that could still be
// taken back: what it hands out was applied here.
type Feed struct {
	node *Node
	pace *pace
	old  *lease.State // a state where the event history does not reach back to; nil while it does
}

// Feed makes a feed of n. Its methods return errors once n has stopped.
func (n *Node) Feed() *Feed { return &Feed{node: n, pace: newPace(n.cfg.FeedRate)} }

// Cluster is the cluster's id; zero until it has formed.
func (f *Feed) Cluster() quorum.ClusterID { return f.node.cluster() }

// Epoch is the highest epoch that this node knows.
func (f *Feed) Epoch() quorum.Epoch {
	return max(f.node.Soft().Epoch, f.node.control.Load().AcceptedEpoch, f.Applied().Epoch())
}

// Applied is the position up to which there is something to hand out.
func (f *Feed) Applied() quorum.Zxid { return f.node.view().Zxid() }

// Behind is how many transactions this node's log holds after a position, of
// those that it has applied.
func (f *Feed) Behind(after quorum.Zxid) int { return f.node.wal.Count(after, f.Applied()) }

// Ready says why another node should be asked instead; nil when there is no
// reason to.
func (f *Feed) Ready() error {
	if err := f.node.inDoubt(); err != nil {
		return err
	}
	if why := f.node.notReady(f.node.Soft()); why != "" {
		return errors.New(why)
	}
	return nil
}

// Pace waits until n more bytes may be read or written for the reader.
func (f *Feed) Pace(ctx context.Context, n int) error { return f.pace.wait(ctx, n) }

// State is a whole state after a position, to begin with, and what the log knows
// of it: at a checkpoint of digests if there was one since.
func (f *Feed) State(after quorum.Zxid) (*lease.View, quorum.SnapMeta) {
	at := f.node.apply.forSnapshot(after)
	return at.view, quorum.SnapMeta{Zxid: at.view.Zxid(), Chain: at.chain, Digest: at.view.Digest(), Config: at.config}
}

// Next is what follows after, up to most bytes but at least one entry, if there
// is one. It returns lease.ErrPurged when the log begins later, and any other
// error when it cannot tell: after may be no position of this history.
func (f *Feed) Next(ctx context.Context, after quorum.Zxid, most int) (lease.Stretch, error) {
	s := lease.Stretch{After: after, Through: after, Known: true}
	if err := f.node.inDoubt(); err != nil {
		return s, err
	}
	view := f.node.view()
	if after >= view.Zxid() {
		return s, nil
	}
	entries, err := f.read(ctx, after, view.Zxid(), most)
	if err != nil {
		return s, err
	}
	s.Cut(entries)
	if err := f.events(ctx, view, &s); err != nil {
		return s, err
	}
	if s.Through == view.Zxid() {
		s.Digest, s.Digested = view.Digest(), true
	}
	return s, nil
}

// read reads entries of the log after one position and up to another.
func (f *Feed) read(ctx context.Context, after, upTo quorum.Zxid, most int) ([]quorum.Entry, error) {
	entries, err := f.node.readLog(ctx, after, most)
	if errors.Is(err, wal.ErrNotFound) && after < quorum.Zxid(f.node.snaps.logStart.Load()) {
		return nil, fmt.Errorf("%w: %w", lease.ErrPurged, err)
	}
	if err != nil {
		return nil, err
	}
	size := 0
	for i := range entries {
		if entries[i].Zxid > upTo {
			entries = entries[:i] // logged, and not known to be committed
			break
		}
		size += entries[i].Size()
	}
	return entries, f.Pace(ctx, size)
}

// events adds the events of s, from the history while it reaches back so far,
// else by applying the entries once more, to a state of its own.
func (f *Feed) events(ctx context.Context, view *lease.View, s *lease.Stretch) error {
	events, more, err := view.Changes(s.After, feedEvents)
	if err != nil {
		return f.again(ctx, s)
	}
	f.old = nil
	if more {
		whole := events[len(events)-1].Zxid
		s.Cut(s.Entries[:countUpTo(s.Entries, whole)])
	}
	for len(events) > 0 && events[len(events)-1].Zxid > s.Through {
		events = events[:len(events)-1]
	}
	s.Events = events
	return nil
}

// countUpTo is how many of entries stand at z or before.
func countUpTo(entries []quorum.Entry, z quorum.Zxid) int {
	n, found := slices.BinarySearchFunc(entries, z, func(e quorum.Entry, z quorum.Zxid) int {
		switch {
		case e.Zxid < z:
			return -1
		case e.Zxid > z:
			return 1
		}
		return 0
	})
	if found {
		n++
	}
	return n
}

// again applies the entries of s to an old state. Without one the events are not
// known any more.
func (f *Feed) again(ctx context.Context, s *lease.Stretch) error {
	if f.old == nil || f.old.View().Zxid() != s.After {
		var err error
		if f.old, err = f.stateAt(ctx, s.After); err != nil {
			return err
		}
	}
	if s.Known = f.old != nil; !s.Known {
		return nil
	}
	for i := range s.Entries {
		_, events, err := f.old.Apply(&s.Entries[i])
		if err != nil {
			return fmt.Errorf("apply %v: %w", s.Entries[i].Zxid, err)
		}
		s.Events = append(s.Events, events...)
	}
	s.Digest, s.Digested = f.old.View().Digest(), true
	return nil
}

// stateAt is the state at z, from the newest snapshot before it and the log
// behind that; nil when no snapshot reaches back to it. It takes the memory of a
// second state.
func (f *Feed) stateAt(ctx context.Context, z quorum.Zxid) (*lease.State, error) {
	n := f.node
	metas, err := n.snaps.store.List()
	if err != nil {
		return nil, err
	}
	state := (*lease.State)(nil)
	if n.snaps.logStart.Load() == 0 {
		state = lease.New(lease.DefaultSettings())
		state.Know(n.cfg.Level)
	}
	for _, m := range metas {
		if m.Zxid <= z {
			if state, err = load(n.snaps.store, m); err != nil {
				return nil, fmt.Errorf("snapshot at %v: %w", m.Zxid, err)
			}
			break
		}
	}
	if state == nil {
		return nil, nil
	}
	return state, f.advance(ctx, state, z)
}

// advance applies the log to state up to z.
func (f *Feed) advance(ctx context.Context, state *lease.State, z quorum.Zxid) error {
	for state.View().Zxid() < z {
		entries, err := f.read(ctx, state.View().Zxid(), z, 4<<20)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return fmt.Errorf("%v is no position of this log", z)
		}
		for i := range entries {
			if _, _, err := state.Apply(&entries[i]); err != nil {
				return fmt.Errorf("apply %v: %w", entries[i].Zxid, err)
			}
		}
	}
	return nil
}
