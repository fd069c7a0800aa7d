package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

var testSecret = bytes.Repeat([]byte("s"), 32)

// patience bounds what a test waits for; nothing is measured against it.
const patience = 20 * time.Second

// running is a node with a Run that can be ended.
type running struct {
	*Node
	cancel context.CancelFunc
	ended  chan error
}

// start opens a node and runs it.
func start(t testing.TB, cfg Config) *running {
	t.Helper()
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Node: n, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- n.Run(ctx) }()
	return r
}

// end stops a node cleanly.
func (r *running) end(t testing.TB) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.ended:
		if err != nil {
			t.Fatal(err)
		}
		r.ended <- nil
	case <-time.After(patience):
		t.Fatal("the node does not end")
	}
}

// until polls cond, which must become true.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("in %v: not %s", patience, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func alone(t testing.TB, dir string) Config {
	return Config{
		ID: 1, Peers: []quorum.Peer{{ID: 1, Role: quorum.RoleVoter}},
		Dir: dir, Secret: testSecret, Log: testLog(t),
	}
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimRight(b, "\n"))
	return len(b), nil
}

func putCommand(path string, data string) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_Put{Put: &commandpb.Put{Path: path, Data: []byte(data), Parents: true}}}
}

func openCommand(ttl time.Duration) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_OpenSession{OpenSession: &commandpb.OpenSession{TtlMs: uint64(ttl.Milliseconds())}}}
}

func ephemeralCommand(path string) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_Put{Put: &commandpb.Put{Path: path, Mode: commandpb.Mode_MODE_EPHEMERAL}}}
}

// must writes, again when no leader was there, and fails on a refusal.
func must(t testing.TB, n *Node, cmd *commandpb.Command, token string) lease.Result {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		res, err := n.Write(t.Context(), cmd, token)
		if err == nil && res.Code == tree.OK {
			return res
		}
		if err == nil {
			t.Fatalf("refused: %v", res.Code)
		}
		if !errors.Is(err, lease.ErrNoLeader) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func get(t testing.TB, n *Node, path string, at lease.At) lease.Answer {
	t.Helper()
	a, err := n.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: path, At: at})
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return a
}

func TestAloneWritesReadsAndComesBack(t *testing.T) {
	dir := t.TempDir()
	n := start(t, alone(t, dir))
	res := must(t, n.Node, putCommand("/a/b", "one"), "")
	if a := get(t, n.Node, "/a/b", lease.At{}); string(a.Node.Data) != "one" || a.Zxid < res.Zxid {
		t.Fatalf("local read after a write: %q at %v", a.Node.Data, a.Zxid)
	}
	if a := get(t, n.Node, "/a/b", lease.At{Linearizable: true}); string(a.Node.Data) != "one" {
		t.Fatalf("linearizable read: %q", a.Node.Data)
	}
	s := n.Status()
	if !s.Ready {
		t.Fatalf("not ready: %s", s.NotReady)
	}
	n.end(t)

	again := start(t, alone(t, dir))
	until(t, "ready", func() bool { return again.Status().Ready && again.Status().Applied >= s.Applied })
	if a := get(t, again.Node, "/a/b", lease.At{Linearizable: true}); string(a.Node.Data) != "one" {
		t.Fatalf("after a restart: %q", a.Node.Data)
	}
	again.end(t)
}
