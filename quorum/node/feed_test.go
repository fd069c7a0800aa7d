package node

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// drain reads a feed to its end and demands that it gives every transaction once,
// with its events; apply, unless it is nil, must get to the digests that it tells.
func drain(t testing.TB, f *Feed, after quorum.Zxid, apply *lease.State, each func(lease.Stretch)) quorum.Zxid {
	t.Helper()
	var chain uint64
	for {
		s, err := f.Next(t.Context(), after, 8<<10)
		if err != nil {
			t.Fatalf("after %v: %v", after, err)
		}
		if len(s.Entries) == 0 {
			return after
		}
		var events []tree.Event
		for i := range s.Entries {
			e := &s.Entries[i]
			if chain != 0 && e.Chain != quorum.ChainHash(chain, e) {
				t.Fatalf("%v does not continue what came before", e.Zxid)
			}
			chain = e.Chain
			if apply != nil {
				_, made, err := apply.Apply(e)
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, made...)
			}
		}
		if apply != nil && s.Known && fmt.Sprint(paths(s.Events)) != fmt.Sprint(paths(events)) {
			t.Fatalf("up to %v the events are %v, they were %v", s.Through, paths(s.Events), paths(events))
		}
		if apply != nil && s.Digested && s.Digest != apply.View().Digest() {
			t.Fatalf("at %v the digest is %016x, it was %016x", s.Through, s.Digest, apply.View().Digest())
		}
		if each != nil {
			each(s)
		}
		after = s.Through
	}
}

func paths(events []tree.Event) (out []string) {
	for _, e := range events {
		out = append(out, fmt.Sprintf("%v %d %s", e.Zxid, e.Type, e.Path))
	}
	return out
}

// A feed hands out the whole log with its events, while writes go on, and never
// more than was applied.
func TestFeed(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	must(t, n.Node, openCommand(time.Minute), clientToken)
	fill(t, n.Node, 0, 100)
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for i := range 100 {
			if _, err := n.Write(t.Context(), putCommand(fmt.Sprintf("/later/%d", i), "x"), ""); err != nil {
				t.Error(err)
			}
		}
	}()
	f, own := n.Feed(), lease.New(lease.DefaultSettings())
	at := drain(t, f, 0, own, func(s lease.Stretch) {
		if s.Through > n.view().Zxid() || !s.Known {
			t.Errorf("up to %v, known %v; applied is %v", s.Through, s.Known, n.view().Zxid())
		}
	})
	<-writing
	at = drain(t, f, at, own, nil)
	if got, want := own.View(), n.view(); at != want.Zxid() || got.Digest() != want.Digest() {
		t.Fatalf("the feed ends at %v with %016x, the node stands at %v with %016x", at, got.Digest(), want.Zxid(), want.Digest())
	}
	if f.Behind(0) != int(at.Counter()) || f.Behind(at) != 0 || f.Behind(at-5) != 5 {
		t.Errorf("behind 0: %d, %v: %d, %v: %d", f.Behind(0), at, f.Behind(at), at-5, f.Behind(at-5))
	}
	if _, err := f.Next(t.Context(), quorum.MakeZxid(at.Epoch(), 0), 1); err == nil || errors.Is(err, lease.ErrPurged) {
		t.Errorf("after a position that never was: %v", err)
	}
}

// Where the event history does not reach back any more the events come from
// applying the log once more.
func TestFeedBehindTheHistory(t *testing.T) {
	cfg := alone(t, t.TempDir())
	cfg.Settings = lease.DefaultSettings()
	cfg.Settings.EventBytes = 64 << 10
	n := start(t, cfg)
	defer n.end(t)
	fill(t, n.Node, 0, 1) // a client may be there before the leader has looked
	until(t, "set", func() bool { return n.view().Settings().EventBytes == cfg.Settings.EventBytes })
	fill(t, n.Node, 1, 1500)
	if n.view().Oldest() == 0 {
		t.Fatal("the history has everything")
	}
	f, known := n.Feed(), 0
	drain(t, f, 0, lease.New(lease.DefaultSettings()), func(s lease.Stretch) {
		if !s.Known {
			t.Fatalf("the events up to %v are not known", s.Through)
		}
		known += len(s.Events)
	})
	if known < 1500 {
		t.Errorf("%d events", known)
	}
	if f.old != nil {
		t.Error("the second state is kept")
	}
	// From the middle: a state must be made of the log first.
	half := quorum.MakeZxid(n.view().Zxid().Epoch(), 700)
	s, err := n.Feed().Next(t.Context(), half, 4<<10)
	if err != nil || !s.Known || len(s.Events) != len(s.Entries) || s.Events[0].Zxid != half+1 {
		t.Fatalf("%d entries, events %v: %v", len(s.Entries), paths(s.Events), err)
	}
}

// A log that was purged says so, and the state bridges the hole.
func TestFeedAfterAPurge(t *testing.T) {
	cfg := alone(t, t.TempDir())
	often(&cfg)
	n := start(t, cfg)
	defer n.end(t)
	fill(t, n.Node, 0, 300)
	until(t, "purged", func() bool {
		fill(t, n.Node, 0, 20)
		return n.Status().LogStart > 0
	})
	f := n.Feed()
	if _, err := f.Next(t.Context(), 1, 1<<20); !errors.Is(err, lease.ErrPurged) {
		t.Fatalf("after the beginning: %v", err)
	}
	view, meta := f.State(0)
	if meta.Zxid != view.Zxid() || meta.Digest != view.Digest() {
		t.Fatalf("%+v is not what the view has", meta)
	}
	s, err := f.Next(t.Context(), meta.Zxid, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Entries) > 0 && quorum.ChainHash(meta.Chain, &s.Entries[0]) != s.Entries[0].Chain {
		t.Error("what follows the state does not continue its chain")
	}
}
