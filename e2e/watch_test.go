package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// A poll loop on one node sees every event once and in order while another
// node is killed and started again under it, checked against what the writers
// were told.
func TestPollLoopMissesNothing(t *testing.T) {
	c := startThree(t)
	home := c.nodes[0]
	p := &poller{node: home, root: "/events", events: map[string]uint64{}}
	p.cursor = home.must(http.StatusOK, http.MethodGet, "/v1/watch/events?scope=subtree", "").header.Get("Perch-Zxid")

	l := &load{root: p.root, nodes: c.nodes, writers: 16, limit: scaled(20_000, 1_000_000)}
	polled := make(chan error, 1)
	stop := make(chan struct{})
	go func() { polled <- p.run(stop) }()
	l.start()
	written := make(chan struct{})
	go func() { l.done.Wait(); close(written) }()

	kills := 0
	for victim := 1; ; victim = 3 - victim { // nodes 2 and 3 in turn, leader or not
		select {
		case <-written:
		case <-time.After(time.Duration(scaled(1, 3)) * time.Second): // the rhythm of the kills
			c.nodes[victim].kill()
			c.nodes[victim].spawn()
			c.nodes[victim].waitReady()
			kills++
			continue
		case err := <-polled:
			t.Fatalf("the poll loop ended: %v", err)
		}
		break
	}
	// What is applied now lies before any later position of a linearizable read.
	p.until = home.must(http.StatusOK, http.MethodGet, "/v1/watch/events?scope=subtree", "").zxid()
	close(stop)
	if err := <-polled; err != nil {
		t.Fatal(err)
	}
	p.check(t, l)
	t.Logf("%d events in %d polls, %d kills of other nodes, none missing, none twice", len(p.events), p.polls, kills)
}

// poller follows all events of a subtree.
type poller struct {
	node   *node
	spare  *node // where it goes on when node has gone; nil: nowhere
	root   string
	cursor string
	until  uint64 // once stop is closed: the loop ends when its cursor is there
	polls  int
	last   uint64
	events map[string]uint64 // path created → zxid
}

func (p *poller) run(stop <-chan struct{}) error {
	for {
		a, err := p.node.get("/v1/watch" + p.root + "?scope=subtree&wait_ms=1000&since=" + p.cursor)
		if err != nil && p.spare != nil {
			p.node, p.spare = p.spare, nil
			continue
		}
		if err != nil {
			return err
		}
		if a.status == http.StatusServiceUnavailable {
			continue
		}
		if a.status != http.StatusOK {
			return fmt.Errorf("poll since %s: status %d: %s", p.cursor, a.status, a.body)
		}
		if err := p.take(a); err != nil {
			return err
		}
		select {
		case <-stop:
			if a.zxid() >= p.until {
				return nil
			}
		default:
		}
	}
}

func (p *poller) take(a reply) error {
	var batch struct {
		Events []struct {
			Zxid uint64
			Type string
			Path string
		}
		Cursor string
	}
	if err := json.Unmarshal([]byte(a.body), &batch); err != nil {
		return err
	}
	p.polls++
	for _, e := range batch.Events {
		if e.Zxid < p.last {
			return fmt.Errorf("an event of %d after one of %d", e.Zxid, p.last)
		}
		p.last = e.Zxid
		if e.Type != "created" {
			continue // parents change with their children; the record has creations
		}
		if first, twice := p.events[e.Path]; twice {
			return fmt.Errorf("%s was created at %d and again at %d", e.Path, first, e.Zxid)
		}
		p.events[e.Path] = e.Zxid
	}
	if batch.Cursor != a.header.Get("Perch-Zxid") || p.last > a.zxid() {
		return fmt.Errorf("cursor %s, Perch-Zxid %s, last event %d", batch.Cursor, a.header.Get("Perch-Zxid"), p.last)
	}
	p.cursor = batch.Cursor
	return nil
}

// check compares what was seen with what the writers know.
func (p *poller) check(t *testing.T, l *load) {
	t.Helper()
	known := map[string]record{p.root: {}}
	for w := range l.writers {
		known[fmt.Sprintf("%s/w%02d", p.root, w)] = record{} // parents
	}
	missing := 0
	for _, r := range l.records {
		known[r.path] = r
		if seen := p.events[r.path]; r.zxid != 0 && seen != r.zxid {
			if missing++; missing <= 5 {
				t.Errorf("%s was acknowledged at %d; its event has %d", r.path, r.zxid, seen)
			}
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d events are missing or wrong", missing, l.acked.Load())
	}
	for path := range p.events {
		if _, ok := known[path]; !ok {
			t.Errorf("an event of %s, which nobody wrote", path)
		}
	}
}
