package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"perch/quorum"
	"perch/quorum/natsnet"
)

// metrics are what a node shows of itself. Gauges are read when asked for, so
// that they cost nothing otherwise. The zero value counts into nothing.
type metrics struct {
	fsyncs  prometheus.Histogram
	group   prometheus.Histogram
	applies prometheus.Counter

	mismatches prometheus.Counter
}

func newMetrics(n *Node, reg prometheus.Registerer) *metrics {
	m := &metrics{
		fsyncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "perch_log_append_seconds", Help: "Time to write and fsync one group of the log.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 15),
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "perch_log_group_records", Help: "Records in one group of the log.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}),
		applies: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "perch_applied_total", Help: "Transactions applied since the start.",
		}),
		mismatches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "perch_digest_mismatch_total", Help: "Times that a majority of the voters had another digest of the state than this node.",
		}),
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.fsyncs, m.group, m.applies, m.mismatches)
	for _, g := range n.gauges() {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, g.read))
	}
	if net, ok := n.net.(interface{ Stats() natsnet.Stats }); ok {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "perch_net_dropped_total", Help: "Messages between nodes that were dropped here for want of room.",
		}, func() float64 { return float64(dropped(net.Stats())) }))
	}
	return m
}

func dropped(s natsnet.Stats) (n uint64) {
	for _, t := range s.Types {
		n += t.DroppedIn + t.DroppedOut
	}
	return n + s.ClientDrops
}

type gauge struct {
	name, help string
	read       func() float64
}

// gauges lists what is read on demand.
func (n *Node) gauges() []gauge {
	soft := func(f func(quorum.Soft) float64) func() float64 {
		return func() float64 { return f(n.Soft()) }
	}
	return []gauge{
		{"perch_epoch", "Epoch led or followed.", soft(func(s quorum.Soft) float64 { return float64(s.Epoch) })},
		{"perch_leader", "Id of the leader; 0 when there is none.", soft(func(s quorum.Soft) float64 { return float64(s.Leader) })},
		{"perch_is_leader", "1 while this node leads.", soft(func(s quorum.Soft) float64 { return truth(leads(s)) })},
		{"perch_ready", "1 while this node has a leader with a quorum and is caught up.",
			soft(func(s quorum.Soft) float64 { return truth(n.notReady(s) == "") })},
		{"perch_last_counter", "Counter of the last zxid logged.", soft(func(s quorum.Soft) float64 { return float64(s.Last.Counter()) })},
		{"perch_commit_counter", "Counter of the last zxid committed.", soft(func(s quorum.Soft) float64 { return float64(s.Commit.Counter()) })},
		{"perch_applied_counter", "Counter of the last zxid applied.", func() float64 { return float64(n.positions.now().Counter()) }},
		{"perch_apply_lag_bytes", "Committed and not applied.", func() float64 { return float64(n.apply.backlog.Load()) }},
		{"perch_requests_in_flight", "Writes of this node's clients without an outcome.", func() float64 { return float64(n.requests.count()) }},
		{"perch_disk_queue", "Groups that wait for the log.", func() float64 { return float64(n.disk.queue.size()) }},
		{"perch_parked", "Parked requests.", func() float64 { return float64(n.watches.count()) }},
		{"perch_waiting_places", "Requests of this node's clients that wait for a place in a queue; they are parked too.",
			func() float64 { return float64(n.places.count()) }},
		{"perch_sessions", "Live sessions.", func() float64 { return float64(n.view().Sessions()) }},
		{"perch_nodes", "Nodes of the tree.", func() float64 { return float64(n.view().Nodes()) }},
		{"perch_disk_low", "1 while this node's disk is low.", func() float64 { return truth(n.space.low.Load()) }},
		{"perch_storage_full", "1 while writes are refused for want of disk.", func() float64 { return truth(n.space.full.Load()) }},
		{"perch_state_in_doubt", "1 while the voters disagree about the state, 2 when this node's is wrong; nothing is served then.",
			soft(func(s quorum.Soft) float64 { return float64(s.Doubt) })},
		{"perch_digest_agreed_counter", "Counter of the newest zxid at which a majority of the voters had one digest.",
			soft(func(s quorum.Soft) float64 { return float64(s.Agreed.Counter()) })},
		{"perch_snapshot_zxid_epoch", "Epoch of the newest snapshot.",
			func() float64 { return float64(quorum.Zxid(n.snaps.newest.Load()).Epoch()) }},
		{"perch_snapshot_zxid_counter", "Counter of the newest snapshot.",
			func() float64 { return float64(quorum.Zxid(n.snaps.newest.Load()).Counter()) }},
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// appended notes one group of the log.
func (m *metrics) appended(took time.Duration, records int) {
	m.fsyncs.Observe(took.Seconds())
	m.group.Observe(float64(records))
}

// applied notes applied transactions.
func (m *metrics) applied(entries int) { m.applies.Add(float64(entries)) }
