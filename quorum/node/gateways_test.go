package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/seam"
	"perch/tree"
)

// poller polls events through a gateway as a client of the HTTP edge does, and
// keeps what it was told.
type poller struct {
	t      testing.TB
	svc    lease.Service
	caller *commandpb.Caller
	path   string
	scope  tree.Scope

	start, since quorum.Zxid
	events       []tree.Event
	err          error // a refusal ended it
	polls        int
}

// begin finds where to begin.
func (p *poller) begin(ctx context.Context) {
	for ctx.Err() == nil && p.start == 0 {
		b, err := p.svc.Events(ctx, lease.EventQuery{Caller: p.caller, Path: p.path, Scope: p.scope, Now: true})
		if err == nil {
			p.start, p.since = b.Cursor, b.Cursor
		} else if errors.As(err, new(tree.Code)) {
			p.err = err
			return
		}
	}
}

// poll parks for at most wait, and asks.
func (p *poller) poll(ctx context.Context, wait time.Duration) {
	parked, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	i := lease.Interest{Caller: p.caller, Path: p.path, Scope: p.scope, Since: p.since}
	if err := p.svc.Await(parked, i); err != nil && parked.Err() == nil {
		p.t.Errorf("await: %v", err)
	}
	p.polls++
	q := lease.EventQuery{Caller: p.caller, Path: p.path, Scope: p.scope, Since: p.since, Parked: true}
	b, err := p.svc.Events(ctx, q)
	switch {
	case errors.As(err, new(tree.Code)):
		p.err = err
		return
	case err != nil:
		return
	case b.Cursor < p.since:
		p.t.Errorf("the cursor went back from %v to %v", p.since, b.Cursor)
	}
	for _, e := range b.Events {
		if e.Zxid <= p.since || e.Zxid > b.Cursor {
			p.t.Errorf("an event of %v between %v and %v", e.Zxid, p.since, b.Cursor)
		}
	}
	p.events, p.since = append(p.events, b.Events...), b.Cursor
}

// check compares what was told with the history of a node.
func (p *poller) check(n *Node) {
	p.t.Helper()
	want, err := n.view().Events(lease.EventQuery{Caller: p.caller, Path: p.path, Scope: p.scope, Since: p.start}, tree.Bounds{}, wall())
	if err != nil {
		p.t.Fatal(err)
	}
	told := slices.DeleteFunc(want.Events, func(e tree.Event) bool { return e.Zxid > p.since })
	if len(told) != len(p.events) {
		p.t.Fatalf("%s: told of %d events, there are %d from %v to %v", p.path, len(p.events), len(told), p.start, p.since)
	}
	for i := range told {
		if got, want := p.events[i], told[i]; got.Zxid != want.Zxid || got.Path != want.Path || got.Type != want.Type || got.Stat != want.Stat {
			p.t.Fatalf("event %d: told %+v, it is %+v", i, got, want)
		}
	}
}

// Whatever messages between gateway and node come to, no poll misses an event,
// sees one twice, or goes back (RULES.md R25).
func TestPollsThroughGatewaysMissNothing(t *testing.T) {
	for name, faults := range map[string]gateFaults{
		"none":      {},
		"pushes":    {push: 0.2},
		"answers":   {answer: 0.1, question: 0.1},
		"repeated":  {twice: 0.3, swap: 0.2},
		"all":       {question: 0.05, answer: 0.05, push: 0.1, twice: 0.1, swap: 0.1},
		"breakdown": {push: 0.05},
	} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { storm(t, seed, faults, name == "breakdown") })
			})
		}
	}
}

// storm has pollers behind two gateways with faults while nodes are written, and
// with breakdowns connections cut and frozen.
func storm(t *testing.T, seed uint64, faults gateFaults, breakdowns bool) {
	c := newCluster(t, newMemNet(seed), func(cfg *Config) { cfg.Log = nil })
	c.leader()
	var pollers []*poller
	var links []*memGateway
	for g, near := range [][]quorum.NodeID{{1, 2, 3}, {3, 1, 2}} {
		client, link := c.gateway(seed*10+uint64(g), near...)
		ready(t, client)
		links = append(links, link)
		for i, scope := range []tree.Scope{tree.ScopeSubtree, tree.ScopeSubtree, tree.ScopeChildren, tree.ScopeNode} {
			path := []string{"/a", "/a", "/a", "/a/3"}[i]
			pollers = append(pollers, &poller{t: t, svc: client, path: path, scope: scope})
		}
		link.set(faults)
	}
	must(t, c.leader().Node, putCommand("/a/0", "x"), "")
	var target atomic.Uint64
	var work sync.WaitGroup
	for i, p := range pollers {
		work.Go(func() {
			p.begin(t.Context())
			for wait := time.Duration(200+100*i) * time.Millisecond; target.Load() == 0 || uint64(p.since) < target.Load(); {
				p.poll(t.Context(), wait)
			}
		})
	}
	for i := range 60 {
		must(t, c.leader().Node, putCommand(fmt.Sprintf("/a/%d", i%7), fmt.Sprint(i)), "")
		pass(t, time.Duration(1+i%9)*20*time.Millisecond)
		if breakdowns && i%6 == 5 {
			shake(t, links[i/6%2], quorum.NodeID(1+(i/6)%3), i)
		}
	}
	for _, link := range links {
		link.set(gateFaults{})
	}
	target.Store(uint64(must(t, c.leader().Node, putCommand("/a/3", "end"), "").Zxid))
	work.Wait()
	for _, p := range pollers {
		p.check(c.leader().Node)
	}
}

// shake cuts the connection with a node for a while, or freezes it.
func shake(t *testing.T, link *memGateway, id quorum.NodeID, i int) {
	t.Helper()
	if i%12 < 6 {
		link.connect(id, false)
		pass(t, 300*time.Millisecond)
		link.connect(id, true)
		return
	}
	link.freeze(id, true)
	pass(t, 2500*time.Millisecond)
	link.freeze(id, false)
}

// isPush tells pushes with something in them, and beats.
func isPush(m proto.Message) bool {
	p, ok := m.(*seampb.ToGateway)
	return ok && len(p.GetBatches()) > 0
}

func isBeat(m proto.Message) bool {
	p, ok := m.(*seampb.ToGateway)
	return ok && p.GetBeat() != nil
}

// once is true for the first message of a kind.
func once(kind func(proto.Message) bool) func(proto.Message) bool {
	done := false
	return func(m proto.Message) bool {
		first := !done && kind(m)
		done = done || first
		return first
	}
}

// watched is a gateway in front of three nodes, with one poller that is parked.
func watched(t *testing.T, test func(t *testing.T, c *cluster, client *seam.Client, link *memGateway, p *poller)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		must(t, c.leader().Node, putCommand("/a", "0"), "")
		client, link := c.gateway(1, 1, 2, 3)
		ready(t, client)
		pass(t, time.Second) // until the nearest one has said that it is led
		p := &poller{t: t, svc: client, path: "/a", scope: tree.ScopeSubtree}
		p.begin(t.Context())
		p.poll(t.Context(), 10*time.Millisecond) // the interest is followed from here on
		test(t, c, client, link, p)
		p.check(c.leader().Node)
	})
}

// parked polls in the background; the channel tells when that is over.
func (p *poller) parked(wait time.Duration) <-chan time.Duration {
	done := make(chan time.Duration, 1)
	began := time.Now()
	go func() {
		p.poll(p.t.Context(), wait)
		done <- time.Since(began)
	}()
	return done
}

// A push that is lost shows at the next beat.
func TestALostPushIsFound(t *testing.T) {
	watched(t, func(t *testing.T, c *cluster, _ *seam.Client, link *memGateway, p *poller) {
		done := p.parked(time.Minute)
		pass(t, 100*time.Millisecond)
		link.lose(once(isPush))
		must(t, c.leader().Node, putCommand("/a/lost", "1"), "")
		if took := <-done; took > 2*time.Second || len(p.events) != 1 {
			t.Errorf("after %v: %d events", took, len(p.events))
		}
	})
}

// The push after a lost one shows it too, and is not taken for the first.
func TestAPushBehindALostOneIsNotTaken(t *testing.T) {
	watched(t, func(t *testing.T, c *cluster, _ *seam.Client, link *memGateway, p *poller) {
		done := p.parked(time.Minute)
		pass(t, 100*time.Millisecond)
		link.lose(once(isPush))
		must(t, c.leader().Node, putCommand("/a/lost", "1"), "")
		must(t, c.leader().Node, putCommand("/a/next", "1"), "")
		<-done
		for len(p.events) < 2 {
			p.poll(t.Context(), time.Second)
		}
	})
}

// Beats that are lost for less than two seconds cost nothing; for longer, the
// node does.
func TestLostBeats(t *testing.T) {
	watched(t, func(t *testing.T, c *cluster, _ *seam.Client, link *memGateway, p *poller) {
		pass(t, 600*time.Millisecond)
		follows := func(q *seampb.Question) bool { return q.GetFollow() != nil }
		before := link.questions(follows)
		link.lose(once(isBeat))
		pass(t, time.Second)
		if n := link.questions(follows); n != before {
			t.Errorf("%d interests were followed anew for one beat", n-before)
		}
		first := link.Nodes()[0]
		link.lose(func(m proto.Message) bool {
			p, ok := m.(*seampb.ToGateway)
			return ok && p.GetBeat().GetStatus().GetNode() == uint32(first)
		})
		done := p.parked(time.Minute)
		pass(t, 3*time.Second)
		if n := link.questions(follows); n != before+1 {
			t.Errorf("%d interests were followed anew without beats", n-before)
		}
		must(t, c.leader().Node, putCommand("/a/other", "1"), "")
		if <-done; len(p.events) != 1 {
			t.Errorf("%d events through the other node", len(p.events))
		}
	})
}

// A parked poll goes on at another node, where it misses nothing that happened in
// between.
func TestAPollOutlivesItsNode(t *testing.T) {
	watched(t, func(t *testing.T, c *cluster, _ *seam.Client, link *memGateway, p *poller) {
		done := p.parked(time.Minute)
		pass(t, 100*time.Millisecond)
		link.lose(func(m proto.Message) bool { return isPush(m) })
		must(t, c.leader().Node, putCommand("/a/between", "1"), "")
		link.lose(nil)
		link.connect(1, false)
		if took := <-done; took > time.Second || len(p.events) != 1 {
			t.Errorf("after %v: %d events", took, len(p.events))
		}
	})
}

// What was asked for before the interest was followed comes from history.
func TestAPollOlderThanItsInterest(t *testing.T) {
	watched(t, func(t *testing.T, c *cluster, client *seam.Client, _ *memGateway, p *poller) {
		old := &poller{t: t, svc: client, path: p.path, scope: p.scope, start: p.start, since: p.since}
		for i := range 3 {
			must(t, c.leader().Node, putCommand(fmt.Sprint("/a/", i), "1"), "")
			p.poll(t.Context(), time.Second)
		}
		pass(t, 5*time.Second) // what woke p is kept no longer
		began := time.Now()
		for len(old.events) < 3 {
			old.poll(t.Context(), time.Minute)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
		old.check(c.leader().Node)
	})
}

func aclCommand(path string, entries ...*commandpb.AclEntry) *commandpb.Command {
	return &commandpb.Command{Caller: admin, Op: &commandpb.Command_SetAcl{SetAcl: &commandpb.SetAcl{Path: path, Acl: entries}}}
}

// Of an event the ACL of its time decides, and who is disabled is told nothing
// more.
func TestWhoMayBeToldOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		governed(t, c)
		leader := c.leader().Node
		for _, path := range []string{"/t/a", "/t/b"} {
			must(t, leader, &commandpb.Command{Caller: admin, Op: putCommand(path+"/n", "0").Op}, "")
		}
		client, link := c.gateway(1, 1, 2, 3)
		ready(t, client)
		caller := &commandpb.Caller{Principal: "a"}
		p := &poller{t: t, svc: client, path: "/n", scope: tree.ScopeNode, caller: caller}
		p.begin(t.Context())
		p.poll(t.Context(), 10*time.Millisecond)

		link.lose(isPush) // so that all of it comes from history, after the fact
		change := func(data string) quorum.Zxid {
			return must(t, leader, &commandpb.Command{Caller: admin, Op: putCommand("/t/a/n", data).Op}, "").Zxid
		}
		seen := change("seen")
		must(t, leader, aclCommand("/t/a/n", &commandpb.AclEntry{Scheme: "principal", Id: "admin", Perms: 31}), "")
		change("hidden")
		must(t, leader, aclCommand("/t/a/n", &commandpb.AclEntry{Scheme: "world", Id: "anyone", Perms: 31}), "")
		again := change("seen again")
		link.lose(nil)
		for len(p.events) < 2 && p.err == nil {
			p.poll(t.Context(), 2*time.Second)
		}
		if p.err != nil || len(p.events) != 2 || p.events[0].Zxid != seen || p.events[1].Zxid != again || p.events[0].Path != "/n" {
			t.Fatalf("%v, %+v", p.err, p.events)
		}

		disabled := principalCommand("a", "/t/a")
		disabled.GetPutPrincipal().Disabled = true
		done := p.parked(time.Minute)
		pass(t, 100*time.Millisecond)
		must(t, leader, disabled, "")
		if took := <-done; took > 2*time.Second || !errors.Is(p.err, tree.ErrUnauthenticated) {
			t.Errorf("after %v: %v", took, p.err)
		}
		change("after")
		if p.poll(t.Context(), time.Second); len(p.events) != 2 {
			t.Errorf("told of %+v", p.events[2:])
		}
	})
}

// However many poll one thing, it is one interest at the node, and one push
// answers them all.
func TestManyPollsAreOneInterest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const polls = 1000
		c := newCluster(t, newMemNet(1), func(cfg *Config) { cfg.Log = nil })
		must(t, c.leader().Node, putCommand("/a", "0"), "")
		client, link := c.gateway(1, 1, 2, 3)
		ready(t, client)
		first := &poller{t: t, svc: client, path: "/a", scope: tree.ScopeNode}
		first.begin(t.Context())
		all := make([]*poller, polls)
		var work sync.WaitGroup
		for i := range all {
			p := *first
			all[i] = &p
			work.Go(func() { p.poll(t.Context(), time.Minute) })
		}
		synctest.Wait()
		before := link.questions(func(*seampb.Question) bool { return true })
		must(t, c.leader().Node, putCommand("/a", "1"), "")
		work.Wait()
		for _, p := range all {
			if len(p.events) != 1 {
				t.Fatalf("%d events", len(p.events))
			}
		}
		if n := link.questions(func(*seampb.Question) bool { return true }); n != before {
			t.Errorf("%d questions were asked by those who were woken", n-before)
		}
		if n := link.questions(func(q *seampb.Question) bool { return q.GetFollow() != nil }); n != 1 {
			t.Errorf("%d interests were followed", n)
		}
	})
}
