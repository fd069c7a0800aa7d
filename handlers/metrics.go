package handlers

import (
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"perch/handlers/identity"
)

// metrics are those of the edge. Labels are operations and statuses, both
// closed sets: a path never becomes a label.
type metrics struct {
	duration  map[string]prometheus.Observer // by operation, of requests that did not wait
	waited    prometheus.Histogram
	requests  *prometheus.CounterVec
	refused   *prometheus.CounterVec // credentials, by kind
	limited   *prometheus.CounterVec // requests, by what ran out
	auditLost prometheus.Counter
	counters  [600]map[string]prometheus.Counter // by status and operation, of the common ones
}

// noOperation labels requests that were refused before they had one.
const noOperation = "none"

var durationBuckets = []float64{
	.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5,
}

func newMetrics(registry *prometheus.Registry, parked *atomic.Int64, version string) (*metrics, error) {
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "perch_http_request_duration_seconds", Help: "Time to answer requests that did not wait.",
		Buckets: durationBuckets,
	}, []string{"operation"})
	m := &metrics{
		duration: make(map[string]prometheus.Observer),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "perch_http_wait_seconds", Help: "Time that waiting requests and streams were open.",
			Buckets: []float64{.01, .1, 1, 5, 10, 25, 55, 120, 300, 3600},
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "perch_http_requests_total", Help: "Requests by operation and status; 499: the client went away.",
		}, []string{"operation", "status"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "perch_http_credentials_refused_total", Help: "Requests whose credentials do not hold, by kind.",
		}, []string{"kind"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "perch_http_rate_limited_total", Help: "Requests over a rate: of principal, address or failures.",
		}, []string{"by"}),
		auditLost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "perch_audit_lines_lost_total", Help: "Lines that could not be written to the audit log.",
		}),
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "perch_http_parked_requests", Help: "Requests and streams that wait now.",
	}, func() float64 { return float64(parked.Load()) })
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "perch_build_info", Help: "1, with the version of this program and the Go that built it.",
	}, []string{"version", "go"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	for _, c := range []prometheus.Collector{duration, m.waited, m.requests, m.refused, m.limited, m.auditLost, waiting, build} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	m.resolve(duration)
	return m, nil
}

// resolve looks up the series of the hot path once, and makes those of the other
// closed sets, so that they begin at 0.
func (m *metrics) resolve(duration *prometheus.HistogramVec) {
	for _, status := range []int{200, 201, 204, 304} {
		m.counters[status] = make(map[string]prometheus.Counter, len(operations))
	}
	for _, kind := range identity.Kinds {
		m.refused.WithLabelValues(string(kind))
	}
	for _, by := range limitedBy {
		m.limited.WithLabelValues(by)
	}
	m.duration[noOperation] = duration.WithLabelValues(noOperation)
	for i := range operations {
		id := operations[i].id
		m.duration[id] = duration.WithLabelValues(id)
		for status, byOperation := range m.counters {
			if byOperation != nil {
				byOperation[id] = m.requests.WithLabelValues(id, strconv.Itoa(status))
			}
		}
	}
}

// observe counts a request that is over.
func (m *metrics) observe(x *exchange, took time.Duration) {
	id := noOperation
	if x.op != nil {
		id = x.op.id
	}
	if x.parked {
		m.waited.Observe(took.Seconds())
	} else {
		m.duration[id].Observe(took.Seconds())
	}
	if x.status < len(m.counters) {
		if c, ok := m.counters[x.status][id]; ok {
			c.Inc()
			return
		}
	}
	m.requests.WithLabelValues(id, strconv.Itoa(x.status)).Inc()
}
