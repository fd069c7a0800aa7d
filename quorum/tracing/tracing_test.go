package tracing

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	someTrace = "0af7651916cd43dd8448eb211c80319c"
	someSpan  = "b7ad6b7169203331"
)

// TestTraceparent are the rules of W3C Trace Context, 3.2.
func TestTraceparent(t *testing.T) {
	whole := "00-" + someTrace + "-" + someSpan + "-01"
	for text, want := range map[string]struct{ given, sampled bool }{
		whole: {true, true}, strings.TrimSuffix(whole, "1") + "0": {true, false}, strings.TrimSuffix(whole, "01") + "ff": {true, true},
		"cc" + whole[2:] + "-more": {true, true}, "cc" + whole[2:]: {true, true},
		"": {}, whole + "-": {}, whole + "0": {}, "cc" + whole[2:] + "more": {}, "ff" + whole[2:]: {},
		strings.ToUpper(whole): {}, strings.Replace(whole, "a", "g", 1): {}, strings.ReplaceAll(whole, "-", "_"): {}, " " + whole: {},
		"00-" + strings.Repeat("0", 32) + "-" + someSpan + "-01": {}, "00-" + someTrace + "-" + strings.Repeat("0", 16) + "-01": {},
		whole[:54]: {}, strings.Repeat("-", 55): {}, strings.Repeat("é", 40): {},
	} {
		of, sampled, given := parse([]string{text})
		if given != want.given || sampled != want.sampled || of.Valid() != given {
			t.Errorf("%q: given %v, sampled %v, %+v", text, given, sampled, of)
		}
		if given && of.Trace() != someTrace {
			t.Errorf("%q: trace %s", text, of.Trace())
		}
	}
	if _, _, given := parse([]string{whole, whole}); given {
		t.Error("two of them are one")
	}
}

func TestParentsTravel(t *testing.T) {
	of, _, _ := parse([]string{"00-" + someTrace + "-" + someSpan + "-01"})
	if got := Decode(of.Encode()); got != of || From(With(t.Context(), of)) != of {
		t.Errorf("%+v became %+v", of, got)
	}
	for _, b := range [][]byte{nil, {1}, make([]byte, 24), make([]byte, 25)} {
		if Decode(b).Valid() {
			t.Errorf("%v is a parent", b)
		}
	}
	if From(With(t.Context(), Parent{})).Valid() || (Parent{}).Encode() != nil {
		t.Error("nothing became a parent")
	}
}

// collector notes what is sent to it; answer says how it answers.
func collector(t *testing.T, answer http.HandlerFunc) (url string, requests chan *http.Request, spans chan *tracepb.Span) {
	requests, spans = make(chan *http.Request, 64), make(chan *tracepb.Span, 64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		zip, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		raw, _ := io.ReadAll(zip)
		req := new(collectorpb.ExportTraceServiceRequest)
		if err := proto.Unmarshal(raw, req); err != nil {
			t.Error(err)
		}
		for _, s := range req.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans() {
			spans <- s
		}
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests, spans
}

func start(t *testing.T, o Options) *Tracer {
	t.Helper()
	o.Registerer, o.Log = prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	tracer, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

func TestSpansReachTheCollector(t *testing.T) {
	url, requests, spans := collector(t, func(http.ResponseWriter, *http.Request) {})
	tracer := start(t, Options{Endpoint: url, Headers: map[string]string{"Api-Key": "k"}, Instance: "7"})
	begun := time.Now()
	r := tracer.Begin(http.Header{"Traceparent": {"00-" + someTrace + "-" + someSpan + "-01"}}, begun)
	child := tracer.Record(r.Parent, "write", begun, begun.Add(time.Second), Number("perch.zxid", 5))
	r.End("GET /x", "no_quorum", begun.Add(2*time.Second), Text("http.route", "/x"))
	if tracer.Record(child, "backwards", begun, begun.Add(-1)).Valid() || tracer.Record(Parent{}, "of nothing", begun, begun).Valid() {
		t.Error("a span that cannot be was made")
	}
	tracer.Close(t.Context())
	if req := <-requests; req.URL.Path != "/v1/traces" || req.Header.Get("Api-Key") != "k" {
		t.Errorf("%s with %v", req.URL, req.Header)
	}
	inner, outer := <-spans, <-spans
	if Decode(append(inner.TraceId, inner.SpanId...)) != child || string(inner.ParentSpanId) != string(outer.SpanId) || inner.Name != "write" {
		t.Errorf("inner %v, outer %v", inner, outer)
	}
	if p := (Parent{traceID(outer.TraceId), spanID(outer.ParentSpanId)}); p.Trace() != someTrace || outer.Status.GetMessage() != "no_quorum" ||
		outer.EndTimeUnixNano-outer.StartTimeUnixNano != 2e9 || outer.Kind != tracepb.Span_SPAN_KIND_SERVER {
		t.Errorf("outer %v", outer)
	}
	if n := testutil.ToFloat64(tracer.out.sent); n != 2 {
		t.Errorf("%v sent", n)
	}
}

// TestWhoIsTraced: the flag of the caller decides, and the ratio for the others.
func TestWhoIsTraced(t *testing.T) {
	on, off := http.Header{"Traceparent": {"00-" + someTrace + "-" + someSpan + "-01"}}, http.Header{"Traceparent": {"00-" + someTrace + "-" + someSpan + "-00"}}
	for ratio, want := range map[float64][3]bool{0: {true, false, false}, 1: {true, false, true}} {
		tracer := start(t, Options{Endpoint: "http://127.0.0.1:1", Ratio: ratio})
		for i, h := range []http.Header{on, off, {"Traceparent": {"bad"}}} {
			if got := tracer.Begin(h, time.Now()) != nil; got != want[i] {
				t.Errorf("ratio %v, %v: traced %v", ratio, h, got)
			}
		}
		tracer.Close(t.Context())
	}
	if (*Tracer)(nil).Begin(on, time.Now()) != nil || (*Tracer)(nil).Record(Parent{traceID{1}, spanID{1}}, "x", time.Now(), time.Now()).Valid() {
		t.Error("no tracer traces")
	}
}

// TestAHungCollectorHoldsNobodyUp: spans beyond the queue are dropped and counted.
func TestAHungCollectorHoldsNobodyUp(t *testing.T) {
	url, requests, _ := collector(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	tracer := start(t, Options{Endpoint: url})
	at := Parent{traceID{1}, spanID{1}}
	tracer.Record(at, "x", time.Now(), time.Now())
	<-requests // from here on it hangs
	for range 2*queueSpans + batchSpans {
		tracer.Record(at, "x", time.Now(), time.Now())
	}
	if n := testutil.ToFloat64(tracer.out.dropped); n < queueSpans {
		t.Errorf("%v dropped", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tracer.Close(ctx)
	if n := testutil.ToFloat64(tracer.out.failed); n < 1 || testutil.ToFloat64(tracer.out.sent) != 0 {
		t.Errorf("%v failed", n)
	}
}

func TestRefusedSpansAreCounted(t *testing.T) {
	partial, err := proto.Marshal(&collectorpb.ExportTraceServiceResponse{PartialSuccess: &collectorpb.ExportTracePartialSuccess{RejectedSpans: 2}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		failed float64
	}{
		"some":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(partial) }, 2},
		"all":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, 3},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusTemporaryRedirect) }, 3},
	} {
		url, _, _ := collector(t, c.answer)
		tracer := start(t, Options{Endpoint: url})
		for range 3 {
			tracer.Record(Parent{traceID{1}, spanID{1}}, "x", time.Now(), time.Now())
		}
		tracer.Close(t.Context())
		if failed, sent := testutil.ToFloat64(tracer.out.failed), testutil.ToFloat64(tracer.out.sent); failed != c.failed || sent != 3-c.failed {
			t.Errorf("%s: %v failed, %v sent", name, failed, sent)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{Endpoint: ""}, {Endpoint: "127.0.0.1:4318"}, {Endpoint: "grpc://host:4317"}, {Endpoint: "http://"}, {Endpoint: "http://user:pass@host:4318"},
		{Endpoint: "http://host/?q"}, {Endpoint: "http://host", Ratio: -0.1}, {Endpoint: "http://host", Ratio: 1.1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
