package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// How spans leave.
const (
	queueSpans   = 4096            // beyond it they are dropped
	batchSpans   = 512             // in one request to the collector
	batchEvery   = time.Second     // that a batch waits to fill
	exportWithin = 5 * time.Second // for the collector to take one; then it is lost
	answerMost   = 64 << 10        // bytes that are read of its answer
	complainEach = time.Minute     // about a collector that does not
)

// Options are where traces go and whose they are.
type Options struct {
	Endpoint   string            // URL of a collector that speaks OTLP/HTTP; without a path: /v1/traces
	Headers    map[string]string // that it wants to see
	Ratio      float64           // 0 to 1, of the requests without traceparent
	Version    string            // of the program
	Cluster    string
	Instance   string                // which process it is
	Registerer prometheus.Registerer // gets the metrics; nil: nobody does
	Log        *slog.Logger
}

// Validate reports every fault of o at once.
func (o *Options) Validate() error {
	var faults []error
	switch u, err := url.Parse(o.Endpoint); {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		faults = append(faults, errors.New("the collector must be given as http://host:4318 or https://host:4318"))
	case u.User != nil:
		faults = append(faults, errors.New("a password in the collector's URL would be seen by others: put it into OTEL_EXPORTER_OTLP_HEADERS"))
	}
	if !(o.Ratio >= 0 && o.Ratio <= 1) {
		faults = append(faults, fmt.Errorf("the ratio %v is not from 0 to 1", o.Ratio))
	}
	return errors.Join(faults...)
}

// New starts a Tracer. The collector need not be there.
func New(o Options) (*Tracer, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	e := newExports(o)
	if o.Registerer != nil {
		o.Registerer.MustRegister(e.dropped, e.failed, e.sent)
	}
	e.work.Go(e.run)
	return &Tracer{ratio: o.Ratio, out: e}, nil
}

// exports is a queue of spans and the goroutine that sends them.
type exports struct {
	url      string
	headers  map[string]string
	client   *http.Client
	resource *resourcepb.Resource
	log      *slog.Logger
	queue    chan *tracepb.Span
	stop     chan struct{}
	once     sync.Once
	work     sync.WaitGroup
	ctx      context.Context // ends what is being sent
	end      context.CancelFunc

	dropped, failed, sent prometheus.Counter
	complained            time.Time // of run alone
}

func newExports(o Options) *exports {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	u, _ := url.Parse(o.Endpoint) // Validate has
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces" // the path that the protocol names
	}
	e := &exports{
		url: u.String(), headers: o.Headers, log: o.Log,
		client: &http.Client{
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			Text("service.name", "perch"), Text("service.namespace", o.Cluster),
			Text("service.instance.id", o.Instance), Text("service.version", o.Version),
		}},
		queue: make(chan *tracepb.Span, queueSpans), stop: make(chan struct{}),
		dropped: counter("perch_trace_spans_dropped_total", "Spans that were dropped because too many waited."),
		failed:  counter("perch_trace_spans_failed_total", "Spans that the collector did not take."),
		sent:    counter("perch_trace_spans_sent_total", "Spans that the collector took."),
	}
	e.ctx, e.end = context.WithCancel(context.Background())
	return e
}

// put queues a span. It never waits.
func (e *exports) put(s *tracepb.Span) {
	select {
	case e.queue <- s:
	default:
		e.dropped.Inc()
	}
}

// close sends what is queued and ends the goroutine, at the latest with ctx.
func (e *exports) close(ctx context.Context) {
	e.once.Do(func() { close(e.stop) })
	uncut := context.AfterFunc(ctx, e.end)
	defer uncut()
	e.work.Wait()
	e.end()
	e.client.CloseIdleConnections()
}

// run sends batches until stop, and then what is left.
func (e *exports) run() {
	ticker := time.NewTicker(batchEvery)
	defer ticker.Stop()
	var batch []*tracepb.Span
	for {
		select {
		case s := <-e.queue:
			if batch = append(batch, s); len(batch) < batchSpans {
				continue
			}
		case <-ticker.C:
		case <-e.stop:
			e.rest(batch)
			return
		}
		e.send(batch)
		batch = nil
	}
}

// rest sends batch and what is queued.
func (e *exports) rest(batch []*tracepb.Span) {
	for e.ctx.Err() == nil {
		select {
		case s := <-e.queue:
			if batch = append(batch, s); len(batch) == batchSpans {
				e.send(batch)
				batch = nil
			}
		default:
			e.send(batch)
			return
		}
	}
}

// send has the collector take spans, once: what one that is down would have got
// is not worth keeping.
func (e *exports) send(batch []*tracepb.Span) {
	if len(batch) == 0 {
		return
	}
	rejected, err := e.post(batch)
	if err != nil {
		rejected = int64(len(batch))
	}
	rejected = max(0, min(rejected, int64(len(batch))))
	e.sent.Add(float64(int64(len(batch)) - rejected))
	e.failed.Add(float64(rejected))
	if now := time.Now(); rejected > 0 && now.Sub(e.complained) >= complainEach {
		e.complained = now
		e.log.Warn("the collector does not take traces", "url", e.url, "spans", rejected, "error", err)
	}
}

// post makes one request to the collector, and says how many spans it refused.
func (e *exports) post(batch []*tracepb.Span) (rejected int64, err error) {
	ctx, cancel := context.WithTimeout(e.ctx, exportWithin)
	defer cancel()
	body, err := e.encode(batch)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "gzip")
	for name, value := range e.headers {
		req.Header.Set(name, value)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerMost))
	if resp.StatusCode/100 != 2 {
		return 0, fmt.Errorf("it answered %s", resp.Status)
	}
	answer := new(collectorpb.ExportTraceServiceResponse)
	if err != nil || proto.Unmarshal(text, answer) != nil {
		return 0, nil // it has taken them, whatever else it wanted to say
	}
	return answer.GetPartialSuccess().GetRejectedSpans(), nil
}

func (e *exports) encode(batch []*tracepb.Span) (*bytes.Buffer, error) {
	raw, err := proto.Marshal(&collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: e.resource, ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "perch"}, Spans: batch}},
	}}})
	if err != nil {
		return nil, err
	}
	body := new(bytes.Buffer)
	zip := gzip.NewWriter(body)
	_, err = zip.Write(raw)
	return body, errors.Join(err, zip.Close())
}
