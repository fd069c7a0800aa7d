package archive

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"perch/lease"
	"perch/quorum"
)

// States, as /v1/cluster and perch_archive_state tell them.
const (
	stateConnecting = "connecting"
	stateShipping   = "shipping"
	stateStandby    = "standby"
	stateWaiting    = "waiting"
	stateFailing    = "failing"
)

var states = []string{stateConnecting, stateShipping, stateStandby, stateWaiting, stateFailing}

// board is what is told of a Shipper: state, position, lag, metrics and the log
// lines. Its methods may be called concurrently.
type board struct {
	log  *slog.Logger
	src  Source
	poll time.Duration

	mu      sync.Mutex
	state   string
	failure *Failure
	zxid    quorum.Zxid
	clock   lagClock

	errors       *prometheus.CounterVec
	transactions prometheus.Counter
	snapshots    prometheus.Counter
	holes        prometheus.Counter
}

func newBoard(cfg *Config, src Source) *board {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	b := &board{
		log: cfg.Log, src: src, poll: cfg.Poll, state: stateConnecting,
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "perch_archive_errors_total", Help: "Failures of archiving, by kind.",
		}, []string{"kind"}),
		transactions: counter("perch_archive_transactions_total", "Transactions that this node has archived."),
		snapshots:    counter("perch_archive_snapshots_total", "Snapshots that this node has archived."),
		holes:        counter("perch_archive_holes_total", "Times that the log did not reach back to what was archived last, so that transactions are missing in the archive."),
	}
	for _, kind := range kinds {
		b.errors.WithLabelValues(string(kind)) // shown at 0 before the first
	}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(b.errors, b.transactions, b.snapshots, b.holes)
		b.gauges(cfg.Metrics)
	}
	return b
}

// gauges registers what is read when it is asked for.
func (b *board) gauges(reg prometheus.Registerer) {
	gauge := func(name, help string, labels prometheus.Labels, read func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, read))
	}
	for _, state := range states {
		gauge("perch_archive_state", "1 for the present state of archiving on this node.", prometheus.Labels{"state": state}, func() float64 {
			if b.status().State == state {
				return 1
			}
			return 0
		})
	}
	gauge("perch_archive_lag_seconds", "Age of the oldest transaction that this node has applied and that is not known to be archived.", nil,
		func() float64 { return b.status().Lag.Seconds() })
	gauge("perch_archive_lag_transactions", "Transactions in this node's log that it has applied and that are not known to be archived.", nil,
		func() float64 { return float64(b.src.Behind(b.status().Zxid)) })
	gauge("perch_archive_zxid_epoch", "Epoch of the last zxid known to be archived.", nil,
		func() float64 { return float64(b.status().Zxid.Epoch()) })
	gauge("perch_archive_zxid_counter", "Counter of the last zxid known to be archived.", nil,
		func() float64 { return float64(b.status().Zxid.Counter()) })
}

// watch follows what the node applies until ctx ends, so that the lag is known
// whatever the database does.
func (b *board) watch(ctx context.Context) {
	ticker := time.NewTicker(b.poll)
	defer ticker.Stop()
	for {
		b.mu.Lock()
		b.clock.observe(time.Now(), b.src.Applied())
		b.mu.Unlock()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *board) status() lease.ArchiveStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := lease.ArchiveStatus{State: b.state, Zxid: b.zxid, Lag: b.clock.lag(time.Now(), b.zxid)}
	if b.failure != nil {
		s.Error = b.failure.Text
	}
	return s
}

// enter notes a state in which nothing is wrong.
func (b *board) enter(state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == state {
		return
	}
	b.log.Info("the archive: "+state, "was", b.state, "zxid", b.zxid.String())
	b.state, b.failure = state, nil
}

// failed notes a failure. It is told once, until it is another or over.
func (b *board) failed(f *Failure) {
	b.errors.WithLabelValues(string(f.Kind)).Inc()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != stateFailing || b.failure.Kind != f.Kind {
		b.log.Warn("the archive: "+stateFailing+"; writes go on, and it catches up later", "was", b.state, "kind", string(f.Kind),
			"error", f.Text, "zxid", b.zxid.String())
	}
	b.state, b.failure = stateFailing, f
}

// archived notes that everything up to z is archived, by whomever.
func (b *board) archived(z quorum.Zxid) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.zxid = z
	b.clock.forget(z)
}

func (b *board) wrote(z quorum.Zxid, transactions int) {
	b.transactions.Add(float64(transactions))
	b.archived(z)
}

// bridged tells that a hole was closed by a snapshot.
func (b *board) bridged(from, to quorum.Zxid) {
	b.holes.Inc()
	b.log.Warn("the archive has a hole: the log of this node did not reach back so far; what lies between cannot be restored",
		"after", from.String(), "zxid", to.String())
}

// lagClock remembers when positions were reached.
//
// Invariant: samples rise in time and zxid, and are at most lagSamples.
type lagClock struct{ samples []lagSample }

type lagSample struct {
	at   time.Time
	zxid quorum.Zxid
}

// lagSamples bounds the memory of a long lag; beyond, it is remembered at half
// the resolution.
const lagSamples = 1024

func (c *lagClock) observe(now time.Time, applied quorum.Zxid) {
	if n := len(c.samples); n > 0 && c.samples[n-1].zxid >= applied {
		return
	}
	if len(c.samples) == lagSamples {
		for i := range lagSamples / 2 {
			c.samples[i] = c.samples[2*i]
		}
		c.samples = c.samples[:lagSamples/2]
	}
	c.samples = append(c.samples, lagSample{now, applied})
}

// lag is how long ago the oldest position after z was reached; 0 when none was.
func (c *lagClock) lag(now time.Time, z quorum.Zxid) time.Duration {
	for _, s := range c.samples {
		if s.zxid > z {
			return now.Sub(s.at)
		}
	}
	return 0
}

// forget drops what is archived, but for the newest sample.
func (c *lagClock) forget(z quorum.Zxid) {
	n := 0
	for n < len(c.samples)-1 && c.samples[n].zxid <= z {
		n++
	}
	c.samples = append(c.samples[:0], c.samples[n:]...)
}
