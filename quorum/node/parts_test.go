package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"perch/lease"
	"perch/quorum"
)

func TestConfigTellsAllFaultsAtOnce(t *testing.T) {
	err := Config{Peers: []quorum.Peer{{ID: 2}, {ID: 2}, {ID: 0}}}.Validate()
	if err == nil {
		t.Fatal("no fault")
	}
	for _, part := range []string{"node id 0", "data directory", "secret", "listed twice", "peer id 0"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in: %v", part, err)
		}
	}
	cfg := alone(t, t.TempDir())
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg.ID = 7
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "not among") {
		t.Errorf("a stranger: %v", err)
	}
}

func TestTheOrderOfPeersDoesNotMatter(t *testing.T) {
	a := []quorum.Peer{{ID: 1, Addr: "x:1", Role: 1}, {ID: 2, Addr: "y:1", Role: 1}}
	b := []quorum.Peer{a[1], a[0]}
	if configHash(a) != configHash(b) {
		t.Error("another order has another hash")
	}
	b[0].Role = quorum.RoleObserver
	if configHash(a) == configHash(b) {
		t.Error("another role has the same hash")
	}
}

// RULES.md R9.
func TestMinEpochIsTheHourOfTheEra(t *testing.T) {
	for _, tc := range []struct {
		now  string
		want quorum.Epoch
	}{
		{"2020-01-01T00:00:00Z", 1}, {"2026-01-01T00:59:00Z", 1}, {"2026-01-01T02:00:00Z", 2}, {"2027-01-01T00:00:00Z", 8760},
	} {
		now, err := time.Parse(time.RFC3339, tc.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := minEpoch(now); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.now, got, tc.want)
		}
	}
}

// groupLog notes the groups that it is given.
type groupLog struct {
	Log
	mu     sync.Mutex
	groups [][]quorum.Record
	enter  chan struct{} // a token for every Append that begins …
	leave  chan struct{} // … and one that lets it end
	marks  int
}

func (l *groupLog) Append(records []quorum.Record) error {
	l.enter <- struct{}{}
	<-l.leave
	l.mu.Lock()
	defer l.mu.Unlock()
	l.groups = append(l.groups, append([]quorum.Record(nil), records...))
	return nil
}

func (l *groupLog) Mark() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks++
	return nil
}

// What is queued while one fsync runs goes out in one group, in order.
func TestTheDiskGroupsWhatWaits(t *testing.T) {
	log := &groupLog{enter: make(chan struct{}), leave: make(chan struct{})}
	d := newDisk(log)
	stable := make(chan uint64, 16)
	d.stable = func(seq uint64) { stable <- seq }
	go d.run()
	record := func(z quorum.Zxid) []quorum.Record {
		return []quorum.Record{{Type: quorum.RecordCommit, Zxid: z}}
	}
	d.append(record(1), 1)
	<-log.enter
	for i := quorum.Zxid(2); i <= 5; i++ {
		d.append(record(i), uint64(i))
	}
	log.leave <- struct{}{}
	if seq := <-stable; seq != 1 {
		t.Fatalf("stable %d, want 1", seq)
	}
	<-log.enter
	log.leave <- struct{}{}
	if seq := <-stable; seq != 5 {
		t.Fatalf("stable %d, want 5", seq)
	}
	until(t, "marked", func() bool { log.mu.Lock(); defer log.mu.Unlock(); return log.marks == 1 })
	close(d.stop)
	<-d.done
	if len(log.groups) != 2 || len(log.groups[1]) != 4 {
		t.Fatalf("groups: %v", log.groups)
	}
	for i, r := range log.groups[1] {
		if r.Zxid != quorum.Zxid(i+2) {
			t.Fatalf("record %d is of %v", i, r.Zxid)
		}
	}
}

func TestPositionsWakeInOrder(t *testing.T) {
	var p positions
	p.advance(5)
	if err := p.await(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	seven, six := p.enter(7), p.enter(6)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.await(gone, 8); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p.advance(6)
	<-six.done
	select {
	case <-seven.done:
		t.Fatal("woken too early")
	default:
	}
	p.advance(9)
	<-seven.done
	if len(p.waiting) != 0 {
		t.Fatalf("%d still wait", len(p.waiting))
	}
}

func TestRequestsAreBounded(t *testing.T) {
	q := newRequests(2, 100)
	a, err := q.add(make([]byte, 60))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.add(make([]byte, 60)); !errors.Is(err, lease.ErrOverloaded) {
		t.Fatalf("too many bytes: %v", err)
	}
	if _, err := q.add(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := q.add(nil); !errors.Is(err, lease.ErrOverloaded) {
		t.Fatalf("too many: %v", err)
	}
	q.end(a.id, outcome{err: lease.ErrNoLeader})
	q.end(a.id, outcome{}) // a second end is none
	if o := <-a.done; !errors.Is(o.err, lease.ErrNoLeader) {
		t.Fatal(o.err)
	}
	if _, err := q.add(make([]byte, 90)); err != nil {
		t.Fatalf("after room was made: %v", err)
	}
	if got := q.older(time.Now().Add(time.Second)); len(got) != 2 {
		t.Fatalf("%d are older", len(got))
	}
}

func TestAnUnrunNodeCloses(t *testing.T) {
	cfg := alone(t, t.TempDir())
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); err == nil {
		t.Fatal("one directory was opened twice")
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, cfg).end(t)
}

func TestMetricsAndStatusTellOfTheNode(t *testing.T) {
	registries := make(map[quorum.NodeID]*prometheus.Registry)
	c := newCluster(t, nil, func(cfg *Config) {
		registries[cfg.ID] = prometheus.NewRegistry()
		cfg.Metrics, cfg.Version = registries[cfg.ID], "test"
	})
	leader := c.leader()
	must(t, leader.Node, putCommand("/a", "x"), "")
	c.agree()
	values := make(map[string]float64)
	found, err := registries[leader.cfg.ID].Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		m := f.GetMetric()[0]
		values[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	for _, name := range []string{"perch_is_leader", "perch_ready", "perch_epoch", "perch_applied_total", "perch_log_append_seconds", "perch_nodes"} {
		if values[name] <= 0 {
			t.Errorf("%s is %v", name, values[name])
		}
	}
	for id, n := range c.nodes {
		until(t, fmt.Sprintf("members known to %d", id), func() bool {
			s := n.Status()
			for _, m := range s.Members {
				f := m.Facts
				if !m.Known || !m.Connected || !m.Synced || m.Durable != s.Applied || m.Lag != 0 || m.Addr == "" ||
					!f.Known || f.Version != "test" || f.Level != lease.Format || f.DiskSize == 0 || f.LogBytes == 0 || f.Uptime == 0 || f.NotReady != "" {
					return false
				}
			}
			return s.Ready && len(s.Members) == 3 && s.Nodes == 2 && s.LeaderFor > 0
		})
	}
	dead := c.follower()
	c.kill(dead.cfg.ID)
	must(t, leader.Node, putCommand("/b", "x"), "")
	until(t, "the dead one is missed at the other follower", func() bool {
		for _, m := range c.follower().Status().Members {
			if m.ID == dead.cfg.ID {
				return m.Known && !m.Connected && m.Lag > 0 && !m.Facts.Known
			}
		}
		return false
	})
}

func TestPaceSpreadsBytes(t *testing.T) {
	p := newPace(1 << 40)
	for range 100 {
		if err := p.wait(t.Context(), 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	slow := newPace(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := slow.wait(ctx, 100); !errors.Is(err, context.Canceled) {
		t.Fatalf("a pace whose context has ended: %v", err)
	}
}
