package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"perch/quorum"
	"perch/quorum/natsnet"
)

// metrics are what a node shows of itself. Gauges are read when asked for, so
// that they cost nothing otherwise; only what cannot be read afterwards is
// counted on the way. The zero value counts into nothing.
//
// Names, types, labels and help texts are those of docs/operations/metrics.md,
// which a test compares with them: dashboards and alerts of others hang on them.
// Every label is of a closed set, or the id of a member.
type metrics struct {
	fsyncs  prometheus.Histogram
	group   prometheus.Histogram
	batches prometheus.Histogram
	writes  prometheus.Histogram
	rounds  prometheus.Histogram
	applies prometheus.Counter

	elections     prometheus.Counter
	reigns        prometheus.Counter
	mismatches    prometheus.Counter
	snapshots     prometheus.Counter
	snapsFailed   prometheus.Counter
	snapshotTaken prometheus.Gauge
}

// The buckets of what takes as long as a disk, and of what takes as long as a
// request.
var (
	diskBuckets    = prometheus.ExponentialBuckets(0.0001, 2, 15)
	requestBuckets = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
)

func newMetrics(n *Node, reg prometheus.Registerer) *metrics {
	m := &metrics{
		fsyncs:  newHistogram("perch_log_append_seconds", "Time to write and fsync one group of the log.", diskBuckets),
		group:   newHistogram("perch_log_group_records", "Records in one group of the log.", prometheus.ExponentialBuckets(1, 2, 12)),
		batches: newHistogram("perch_apply_seconds", "Time to apply one batch of committed transactions.", diskBuckets),
		writes:  newHistogram("perch_commit_seconds", "Time from taking a write of this node's clients to its result here.", requestBuckets),
		rounds:  newHistogram("perch_read_round_seconds", "Time until a quorum had confirmed the position of a linearizable read.", requestBuckets),
		applies: newCounter("perch_applied_total", "Transactions applied since the start."),

		elections:     newCounter("perch_elections_total", "Times that this node had no leader and began to look for one."),
		reigns:        newCounter("perch_leader_changes_total", "Times that a leader of a new epoch was established, as seen here."),
		mismatches:    newCounter("perch_digest_mismatch_total", "Times that a majority of the voters had another digest of the state than this node."),
		snapshots:     newCounter("perch_snapshots_total", "Snapshots taken since the start."),
		snapsFailed:   newCounter("perch_snapshot_failures_total", "Snapshots that could not be taken, since the start."),
		snapshotTaken: prometheus.NewGauge(prometheus.GaugeOpts{Name: "perch_snapshot_seconds", Help: "Time that the last snapshot took; 0 when none was taken since the start."}),
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.fsyncs, m.group, m.batches, m.writes, m.rounds, m.applies,
		m.elections, m.reigns, m.mismatches, m.snapshots, m.snapsFailed, m.snapshotTaken)
	for _, g := range n.gauges() {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, g.read))
	}
	reg.MustRegister(n.families()...)
	if net, ok := n.net.(interface{ Stats() natsnet.Stats }); ok {
		reg.MustRegister(netFamilies(net.Stats)...)
	}
	return m
}

func newHistogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// appended notes one group of the log.
func (m *metrics) appended(took time.Duration, records int) {
	m.fsyncs.Observe(took.Seconds())
	m.group.Observe(float64(records))
}

// applied notes a batch of applied transactions.
func (m *metrics) applied(entries int, took time.Duration) {
	m.applies.Add(float64(entries))
	m.batches.Observe(took.Seconds())
}

// turned notes a change of who leads.
func (m *metrics) turned(old, now quorum.Soft) {
	if now.State == quorum.StateLooking && old.State != quorum.StateLooking {
		m.elections.Inc()
	}
	if now.Established && (!old.Established || now.Epoch != old.Epoch) {
		m.reigns.Inc()
	}
}
