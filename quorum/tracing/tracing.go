// Package tracing hands what became of single requests to an OpenTelemetry
// collector.
//
// Spans are made of time stamps that were taken anyway, once it is known how a
// request ended. It guarantees that nobody waits for the collector: what the
// bounded queue has no room for is dropped and counted, and so is what the
// collector does not take. It does not promise that a trace is whole. A nil
// *Tracer traces nothing.
//
// The context of a trace comes from the header traceparent (W3C Trace Context);
// one that is not well-formed is as good as none. Paths, values and tokens stand
// in no span.
//
// It makes the messages of the protocol itself: the exporter of the OpenTelemetry
// SDK links gRPC, also for HTTP, which is a third of this program again.
package tracing

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"time"

	commonpb "go.opentelemetry.io/proto/slim/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
)

// The ids of traces and spans, as the protocol has them.
type (
	traceID [16]byte
	spanID  [8]byte
)

// Parent is the span that others belong to, in a trace that is recorded. The zero
// Parent is of no trace.
type Parent struct {
	trace traceID
	span  spanID
}

// Valid says whether p is of a trace.
func (p Parent) Valid() bool { return p.trace != traceID{} && p.span != spanID{} }

// Trace is the id of the trace, for logs.
func (p Parent) Trace() string { return hex.EncodeToString(p.trace[:]) }

// Encode gives p to another process; nil for the zero Parent.
func (p Parent) Encode() []byte {
	if !p.Valid() {
		return nil
	}
	return append(p.trace[:], p.span[:]...)
}

// Decode is the Parent that Encode has given away; the zero one where b is none.
func Decode(b []byte) (p Parent) {
	if len(b) == len(p.trace)+len(p.span) {
		copy(p.trace[:], b)
		copy(p.span[:], b[len(p.trace):])
	}
	return p
}

// Key is the context key of a *Parent. It is exported for contexts of their own
// type; others use With.
type Key struct{}

// With is ctx on behalf of a traced request.
func With(ctx context.Context, p Parent) context.Context {
	if !p.Valid() {
		return ctx
	}
	return context.WithValue(ctx, Key{}, &p)
}

// From is the span that ctx acts on behalf of, if it is traced.
func From(ctx context.Context) Parent {
	if p, _ := ctx.Value(Key{}).(*Parent); p != nil {
		return *p
	}
	return Parent{}
}

// Tracer makes spans. It may be used concurrently.
type Tracer struct {
	ratio float64
	out   *exports
}

// Request is a traced request at the edge.
type Request struct {
	Parent Parent // of what is done for it
	span   *tracepb.Span
	tracer *Tracer
}

// Begin starts the span of a request that came in at begun, with these headers.
// It returns nil when the request is not traced: by the flag of its traceparent,
// or, without one, by the ratio.
func (t *Tracer) Begin(h http.Header, begun time.Time) *Request {
	if t == nil {
		return nil
	}
	of, sampled, given := parse(h["Traceparent"])
	if !given {
		sampled = rand.Float64() < t.ratio
		binary.BigEndian.PutUint64(of.trace[:], rand.Uint64())
		binary.BigEndian.PutUint64(of.trace[8:], rand.Uint64()|1)
	}
	if !sampled {
		return nil
	}
	span := newSpan(of, tracepb.Span_SPAN_KIND_SERVER, begun)
	return &Request{Parent: parentOf(span), span: span, tracer: t}
}

// End ends the span of a request, at once or later. fault says why it failed; ""
// when it did not.
func (r *Request) End(name, fault string, at time.Time, attributes ...Attribute) {
	if fault != "" {
		r.span.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: fault}
	}
	r.tracer.end(r.span, name, at, attributes)
}

// Record hands in a span that is over, and returns where its children belong. A
// span of no trace, or that ends before it began, is passed over.
func (t *Tracer) Record(of Parent, name string, begin, end time.Time, attributes ...Attribute) Parent {
	if t == nil || !of.Valid() || end.Before(begin) {
		return Parent{}
	}
	span := newSpan(of, tracepb.Span_SPAN_KIND_INTERNAL, begin)
	t.end(span, name, end, attributes)
	return parentOf(span)
}

// Dropped counts spans that were not even made, for want of room.
func (t *Tracer) Dropped(spans int) {
	if t != nil {
		t.out.dropped.Add(float64(spans))
	}
}

// Close hands over what is queued, for as long as ctx lasts.
func (t *Tracer) Close(ctx context.Context) {
	if t != nil {
		t.out.close(ctx)
	}
}

func newSpan(of Parent, kind tracepb.Span_SpanKind, begin time.Time) *tracepb.Span {
	var id spanID
	binary.BigEndian.PutUint64(id[:], rand.Uint64()|1) // never zero
	span := &tracepb.Span{TraceId: of.trace[:], SpanId: id[:], Kind: kind, Flags: flagSampled, StartTimeUnixNano: uint64(begin.UnixNano())}
	if of.span != (spanID{}) {
		span.ParentSpanId = of.span[:]
	}
	return span
}

func parentOf(span *tracepb.Span) Parent {
	return Parent{trace: traceID(span.TraceId), span: spanID(span.SpanId)}
}

func (t *Tracer) end(span *tracepb.Span, name string, at time.Time, attributes []Attribute) {
	span.Name, span.EndTimeUnixNano, span.Attributes = name, uint64(at.UnixNano()), attributes
	t.out.put(span)
}

// Attribute is what a span tells besides its name.
type Attribute = *commonpb.KeyValue

// Text is an attribute that is a text.
func Text(key, value string) Attribute {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

// Number is an attribute that is a number.
func Number(key string, value int64) Attribute {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}}}
}
