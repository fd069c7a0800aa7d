package node

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/nodepb"
	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// closing takes every session of a leader as due.
func closing(k *keeper) (ids []quorum.Zxid, ending chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ending = make(chan struct{})
	return k.tracker.Due(1<<62, 1000), k.ending
}

// A touch of a session whose end is proposed waits until that is decided
// (RULES.md R23).
func TestATouchOfAClosingSessionWaits(t *testing.T) {
	for _, tc := range []struct {
		name string
		gone bool
	}{{"ended", true}, {"lives on", false}} {
		t.Run(tc.name, func(t *testing.T) {
			n := start(t, alone(t, t.TempDir()))
			defer n.end(t)
			opened := must(t, n.Node, openCommand(time.Minute), clientToken)
			touch(t, n.Node, clientToken, 0) // the reign has begun
			ids, ending := closing(n.keeper)
			if len(ids) != 1 || ids[0] != opened.Session.ID {
				t.Fatalf("due: %v", ids)
			}
			got := make(chan error, 1)
			go func() {
				_, err := n.Touch(t.Context(), nil, clientToken, 0)
				got <- err
			}()
			until(t, "asked", func() bool { l := &n.touches.rounds; l.mu.Lock(); defer l.mu.Unlock(); return l.flying })
			if tc.gone {
				if err := n.keeper.submit(n.view().ExpireCommands(ids, n.Soft().Epoch)...); err != nil {
					t.Fatal(err)
				}
			}
			n.keeper.decided(ids, ending, tc.gone)
			err := <-got
			if tc.gone && !errors.Is(err, tree.ErrSessionExpired) || !tc.gone && err != nil {
				t.Fatalf("the touch ended with %v", err)
			}
		})
	}
}

// Whatever a peer asks is answered or refused.
func FuzzQuestions(f *testing.F) {
	cfg := alone(f, f.TempDir())
	cfg.Log = slog.New(slog.DiscardHandler) // f.Log must not be called while f.Fuzz runs
	n := start(f, cfg)
	f.Cleanup(func() { n.end(f) })
	until(f, "led", func() bool { return n.Soft().Established })
	for _, m := range []proto.Message{
		&nodepb.TouchRequest{Epoch: uint32(n.Soft().Epoch), Confirm: true, Ids: []uint64{1, 2}},
		&seampb.Read{Kind: uint32(lease.ReadChildren), Path: "/", Limit: 3, PageToken: []byte("x")},
		&nodepb.ChunkRequest{Zxid: 1, Offset: 1 << 63, Length: 1 << 31},
		&nodepb.SpaceReport{Low: true},
	} {
		body, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, serve := range []func(quorum.NodeID, []byte) ([]byte, error){
			n.serveTouch, n.servePage, n.snaps.serveChunk, n.space.serve,
		} {
			if answer, err := serve(2, body); err == nil && answer == nil {
				t.Fatal("neither answer nor error")
			}
		}
	})
}
