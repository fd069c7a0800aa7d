package node

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum/natsnet"
	"perch/quorum/seam"
	"perch/tree"
)

// reached is a quorum of one with a port for gateways, and a gateway there.
func reached(t testing.TB) (*running, *seam.Client) {
	t.Helper()
	cfg := alone(t, t.TempDir())
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Gateways = &natsnet.GatewayPort{Addr: freeAddr(t)}
	n := start(t, cfg)
	t.Cleanup(func() { n.end(t) })
	link, err := natsnet.DialNodes(natsnet.GatewayOptions{Addrs: []string{cfg.Gateways.Addr}, ClusterName: "perch", Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	c := seam.New(link, slog.New(slog.DiscardHandler))
	t.Cleanup(c.Close)
	ready(t, c)
	return n, c
}

// All that a gateway asks of a real node over a real connection is answered.
func TestGatewayOverNATS(t *testing.T) {
	n, c := reached(t)
	const ttl = time.Minute
	if res, err := c.Write(t.Context(), putCommand("/a", "x"), ""); err != nil || res.Code != tree.OK {
		t.Fatal(res, err)
	}
	for _, at := range []lease.At{{}, {Linearizable: true}} {
		if a, err := c.Read(t.Context(), lease.Read{Kind: lease.ReadNode, Path: "/a", At: at}); err != nil || string(a.Node.Data) != "x" {
			t.Error(a, err)
		}
	}
	p := &poller{t: t, svc: c, path: "/a", scope: tree.ScopeNode}
	p.begin(t.Context())
	done := p.parked(patience)
	until(t, "followed", func() bool { _, _, i := n.gateways.Count(); return i == 1 })
	must(t, n.Node, putCommand("/a", "y"), "")
	if <-done; len(p.events) != 1 {
		t.Errorf("%+v", p.events)
	}
	p.check(n.Node)
	held := granted(t, acquires(t.Context(), c, lockCommand("l", "a", ttl, true), patience), ttl)
	next := acquires(t.Context(), c, lockCommand("l", "b", ttl, true), patience)
	waiting(t, n.Node, "l", 1)
	if h, err := c.Touch(t.Context(), nil, held.Token, 0); err != nil || h.Remaining <= 0 {
		t.Error(h, err)
	}
	c.TouchLater(nil, held.Token)
	if res, err := c.Write(t.Context(), releaseCommand("l"), held.Token); err != nil || res.Code != tree.OK {
		t.Error(res, err)
	}
	granted(t, next, ttl)
	if turned, err := c.EnableAuth(t.Context(), "admin", adminSecret); err != nil || !turned {
		t.Error(turned, err)
	}
	if id, err := c.Authenticate(t.Context(), adminSecret); err != nil || id.Principal != "admin" {
		t.Error(id, err)
	}
	until(t, "known to be on", c.Auth)
}

// Whatever a gateway sends is answered, or refused, or dropped.
func FuzzGateways(f *testing.F) {
	cfg := alone(f, f.TempDir())
	cfg.Log = slog.New(slog.DiscardHandler)
	net := newMemNet(1)
	link := net.join(1)
	cfg.Transport = link
	n := start(f, cfg)
	f.Cleanup(func() { n.end(f) })
	until(f, "led", func() bool { return n.Soft().Established })
	cluster := n.Cluster()
	for _, q := range []*seampb.Question{
		{Ask: &seampb.Question_Read{Read: &seampb.Read{Kind: 1, Path: "/"}}},
		{Ask: &seampb.Question_Events{Events: &seampb.EventQuery{Path: "/", Scope: 3}}},
		{Ask: &seampb.Question_Touch{Touch: &seampb.Touch{Token: []byte("x")}}},
		{Ask: &seampb.Question_Follow{Follow: &seampb.Follow{Id: 1, Link: 1, Interest: &seampb.Interest{Path: "/", Scope: 1}}}},
		{Ask: &seampb.Question_Authenticate{Authenticate: &seampb.Authenticate{SecretSha256: []byte("short")}}},
	} {
		body, err := proto.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	from, id := natsnet.GatewayID{1}, uint64(0)
	f.Fuzz(func(t *testing.T, body []byte) {
		link.gate(from, body, func([]byte) error { return nil })
		q := new(seampb.Question)
		if proto.Unmarshal(body, q) != nil || q.GetWrite() != nil || q.GetAcquire() != nil || q.GetMembers() != nil || q.GetEnableAuth() != nil {
			return // the cluster is to stay as it is
		}
		id++
		whole, err := proto.Marshal(&seampb.ToNode{Cluster: cluster[:], Id: id, Say: &seampb.ToNode_Question{Question: q}})
		if err != nil {
			return
		}
		answered := make(chan []byte, 1)
		link.gate(from, whole, func(b []byte) error { answered <- b; return nil })
		if proto.Unmarshal(<-answered, new(seampb.Answer)) != nil {
			t.Fatal("the answer is none")
		}
	})
}

// What ten thousand polls of one thing take, at the node itself and through a
// gateway: bytes of each while it waits, and the time from the write to the last
// answer.
func BenchmarkTenThousandWaits(b *testing.B) {
	n, c := reached(b)
	must(b, n.Node, putCommand("/a", "0"), "")
	b.Run("node", func(b *testing.B) { manyWaits(b, n.Node, n.Node, n.watches.count) })
	b.Run("gateway", func(b *testing.B) { manyWaits(b, n.Node, c, c.Waiting) })
}

func manyWaits(b *testing.B, n *Node, svc lease.Service, parked func() int) {
	const polls = 10_000
	for b.Loop() {
		first := &poller{t: b, svc: svc, path: "/a", scope: tree.ScopeNode}
		first.begin(b.Context())
		before := inUse()
		var work sync.WaitGroup
		for range polls {
			p := *first
			work.Go(func() {
				if p.poll(b.Context(), time.Minute); len(p.events) != 1 {
					b.Errorf("%d events", len(p.events))
				}
			})
		}
		until(b, "parked", func() bool { return parked() >= polls })
		b.ReportMetric(float64(inUse()-before)/polls, "bytes/wait")
		began := time.Now()
		must(b, n, putCommand("/a", fmt.Sprint(began)), "")
		work.Wait()
		b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms/all")
	}
}

// inUse is the memory of heap and stacks in use.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
