package handlers

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"perch/gen/commandpb"
	"perch/handlers/identity"
	"perch/quorum/tracing"
)

// exchange is one request and its answer, as far as the edge keeps book of it.
// It is the request's context and the handler's ResponseWriter at once, so that
// a request costs one allocation for all of them. Only the goroutine of the
// request touches it.
type exchange struct {
	context.Context
	http.ResponseWriter
	edge   *edge
	route  *chi.Context      // nil once the request has been routed
	caller *commandpb.Caller // of whom only the address is known before routing
	op     *operation        // nil before routing, and for a path that has none
	begun  time.Time
	length int64 // Content-Length; -1 when the body is chunked
	status int   // 0 until the answer has begun
	code   string
	parked bool // waited, so that its duration says nothing of speed
	method string
	path   string   // of the URL
	about  []string // for the audit log: what it concerns besides path
	reason string   // for the audit log: why credentials were refused
	head   bool     // only the headers of the answer are sent
	tail   tail     // what still waits when the operation has returned
	id     string

	key      *idempotency       // nil without Idempotency-Key
	fences   []*commandpb.Fence // what must be held for the request to be done
	replayed bool               // an earlier request with the same key has done it

	trace *tracing.Request // nil when it is not traced
}

type exchangeKey struct{}

// routes keeps routing contexts, as chi does when it makes its own.
var routes = sync.Pool{New: func() any { return chi.NewRouteContext() }}

func (e *edge) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{
		edge: e, Context: r.Context(), ResponseWriter: w, begun: time.Now(), length: r.ContentLength,
		caller: identity.Peer(r), method: r.Method, path: r.URL.Path, head: r.Method == http.MethodHead, id: inboundID(r),
	}
	if e.tracer != nil {
		x.trace = e.tracer.Begin(r.Header, x.begun)
	}
	return x
}

// Value adds chi's routing context and the exchange itself to the context.
func (x *exchange) Value(key any) any {
	switch key {
	case chi.RouteCtxKey:
		return x.route
	case exchangeKey{}:
		return x
	case tracing.Key{}:
		if x.trace == nil {
			return nil
		}
		return &x.trace.Parent
	}
	return x.Context.Value(key)
}

// exchangeOf is the exchange that ctx belongs to, or nil.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// WriteHeader notes the status of the answer and adds the headers of every
// answer. They come so late because a parked request should not hold them.
func (x *exchange) WriteHeader(status int) {
	if x.status != 0 {
		return
	}
	x.status = status
	x.edge.commonHeaders(x.Header())
	if x.replayed {
		x.Header()[headerReplayed] = valueTrue
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write begins the answer if WriteHeader has not.
func (x *exchange) Write(p []byte) (int, error) {
	x.WriteHeader(http.StatusOK)
	return x.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }
