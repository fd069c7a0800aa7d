package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// diverge has n apply other data than the others from now on, each time data of
// its own.
func (r *running) diverge(word string) {
	tamper := func(e quorum.Entry) quorum.Entry {
		cmd := new(commandpb.Command)
		if proto.Unmarshal(e.Data, cmd) != nil || cmd.GetPut() == nil {
			return e
		}
		cmd.GetPut().Data = []byte(word)
		e.Data, _ = proto.Marshal(cmd)
		return e
	}
	r.apply.tamper.Store(&tamper)
}

// refuses fails the test unless n answers nothing from its state.
func (r *running) refuses(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	_, read := r.Read(ctx, lease.Read{Kind: lease.ReadNode, Path: "/a"})
	_, fresh := r.Read(ctx, lease.Read{Kind: lease.ReadNode, Path: "/a", At: lease.At{Linearizable: true}})
	_, write := r.Write(ctx, putCommand("/a", "x"), "")
	_, events := r.Events(ctx, lease.EventQuery{Path: "/", Scope: tree.ScopeSubtree})
	_, touch := r.Touch(ctx, nil, strings.Repeat("t", 22), 0)
	await := r.Await(ctx, lease.Interest{Path: "/a"})
	for what, err := range map[string]error{
		"read": read, "linearizable read": fresh, "write": write, "events": events, "touch": touch, "await": await,
	} {
		if !errors.Is(err, lease.ErrStateInDoubt) {
			t.Errorf("%s at node %d: %v", what, r.cfg.ID, err)
		}
	}
	if s := r.Status(); s.Ready || s.NotReady == "" {
		t.Errorf("node %d is ready, or does not say why not: %q", r.cfg.ID, s.NotReady)
	}
}

func (r *running) in(d quorum.Doubt) func() bool { return func() bool { return r.Soft().Doubt == d } }

// logBook keeps what nodes log.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// RULES.md R5: a node whose state differs from that of a majority stops serving
// and says so in its log, a metric and its status; after a restart it
// is rebuilt from the others, which go on. With the leader it is the same.
func TestANodeWithAnotherStateStops(t *testing.T) {
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			var book logBook
			metrics := make(map[quorum.NodeID]*prometheus.Registry)
			c := newCluster(t, newMemNet(1), func(cfg *Config) {
				metrics[cfg.ID] = prometheus.NewRegistry()
				cfg.Metrics, cfg.Log = metrics[cfg.ID], slog.New(slog.NewTextHandler(&book, nil))
			})
			bad := c.leader()
			if who == "follower" {
				bad = c.follower()
			}
			must(t, bad.Node, putCommand("/a", "same"), "")
			parked := make(chan error, 1)
			go func() {
				parked <- bad.Await(context.Background(), lease.Interest{Path: "/never", Since: bad.positions.now()})
			}()
			bad.diverge("other")
			var good *running
			for _, n := range c.nodes {
				if n != bad {
					good = n
				}
			}
			must(t, good.Node, putCommand("/a", "right"), "")
			until(t, "stopped", bad.in(quorum.DoubtRebuild))
			bad.refuses(t)
			if err := <-parked; !errors.Is(err, lease.ErrStateInDoubt) {
				t.Errorf("who was parked: %v", err)
			}
			id := bad.cfg.ID
			if n := counter(t, metrics[id], "perch_digest_mismatch_total"); n != 1 {
				t.Errorf("%v mismatches are counted", n)
			}
			for _, want := range []string{"level=ERROR", "the state of this node is wrong", "agreed=", fmt.Sprint("node=", id)} {
				if !strings.Contains(book.String(), want) {
					t.Errorf("%q is not in the log", want)
				}
			}
			until(t, "written", func() bool {
				_, err := good.Write(t.Context(), putCommand("/b", "on"), "")
				return err == nil
			})
			if a := get(t, good.Node, "/a", lease.At{Linearizable: true}); string(a.Node.Data) != "right" {
				t.Errorf("the others hold %q", a.Node.Data)
			}
			c.kill(id)
			c.start(id)
			if err := good.inDoubt(); err != nil {
				t.Errorf("node %d: %v", good.cfg.ID, err)
			}
			c.rebuilt(id)
			c.agree()
		})
	}
}

func counter(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// RULES.md R5: where two states differ and no third decides nobody serves; the
// third, once it is back and has replayed the log, decides.
func TestWithoutAMajorityNobodyServes(t *testing.T) {
	c := newCluster(t, newMemNet(1), nil)
	must(t, c.leader().Node, putCommand("/a", "same"), "")
	c.agree()
	missing := c.follower().cfg.ID
	c.kill(missing)
	bad := c.leader()
	bad.diverge("other")
	good := c.follower()
	if _, err := good.Write(t.Context(), putCommand("/a", "right"), ""); err != nil && !errors.Is(err, lease.ErrCommitTimeout) {
		t.Fatal(err)
	}
	until(t, "disputed", func() bool { return bad.in(quorum.DoubtDisputed)() && good.in(quorum.DoubtDisputed)() })
	bad.refuses(t)
	good.refuses(t)
	c.start(missing)
	until(t, "stopped", bad.in(quorum.DoubtRebuild))
	until(t, "sound", good.in(quorum.DoubtNone))
	until(t, "read", func() bool {
		a, err := good.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/a", At: lease.At{Linearizable: true}})
		return err == nil && string(a.Node.Data) == "right"
	})
	bad.refuses(t)
}

// A snapshot stands at a checkpoint, so that all nodes have its digest.
func TestSnapshotsStandAtCheckpoints(t *testing.T) {
	n := start(t, alone(t, t.TempDir()))
	defer n.end(t)
	var last quorum.Zxid
	for i := range quorum.DigestEvery + 10 {
		last = must(t, n.Node, putCommand("/a", fmt.Sprint(i)), "").Zxid
	}
	if err := n.snaps.take(0); err != nil {
		t.Fatal(err)
	}
	z := quorum.Zxid(n.snaps.newest.Load())
	if z.Counter() != quorum.DigestEvery || z >= last {
		t.Fatalf("the snapshot stands at %v, the state at %v", z, last)
	}
	until(t, "compared", func() bool { return n.Soft().Agreed >= z })
}
