// Package handlers is the HTTP edge: it turns requests of openapi.yaml into
// questions to a lease.Service and answers into HTTP.
//
// It guarantees that every refusal is a problem with a code of the contract,
// written in one place; that nothing the contract does not declare has an
// effect or is passed over in silence; that every bound of a request is checked
// before the service sees it; and that a waiting request ends with a normal
// answer when its time is over or the gateway drains.
//
// It holds no state beyond the request, and decides nothing about nodes and
// sessions: that is apply's business. Who asks it finds out by package identity;
// what that lets him do is decided in apply too. It does not terminate TLS by
// itself.
package handlers

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"perch/gen/api"
	"perch/handlers/audit"
	"perch/handlers/identity"
	"perch/lease"
	"perch/quorum/tracing"
)

// Handler serves the contract. It may be used concurrently.
type Handler struct {
	edge   *edge
	router *chi.Mux
}

// edge implements the operations; its methods are spread over one file per
// resource.
type edge struct {
	svc         lease.Service
	log         *slog.Logger
	registry    *prometheus.Registry
	metrics     *metrics
	tracer      *tracing.Tracer // nil: nothing is traced
	version     string
	waitMax     time.Duration
	waiters     int64
	anyHost     bool
	crossOrigin *http.CrossOriginProtection
	identity    *identity.Resolver
	auth        bool // refuse everybody until authentication is on
	rates       rates

	audit         *audit.Log
	auditRequired bool

	parked  atomic.Int64
	crowd   crowd
	status  atomic.Pointer[agedStatus]
	cluster atomic.Pointer[[]string] // value of Perch-Cluster, once it is known
	drained context.Context          // ends when the edge drains
	drain   context.CancelFunc
}

// New makes the handler of the contract.
func New(o Options) (*Handler, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	e := &edge{
		svc: o.Service, log: o.Log, registry: o.Registry, tracer: o.Tracer, version: o.Version,
		waitMax: o.WaitMax, waiters: int64(o.Waiters), anyHost: o.AnyHost,
		crossOrigin: http.NewCrossOriginProtection(),
		identity:    identity.NewResolver(o.Service, o.OIDC), auth: o.Auth, rates: newRates(o.Rates),
		audit: o.Audit, auditRequired: o.AuditRequired, crowd: crowd{most: o.PrincipalWaiters},
	}
	e.drained, e.drain = context.WithCancel(context.Background())
	var err error
	if e.metrics, err = newMetrics(e.registry, &e.parked, e.version); err != nil {
		return nil, err
	}
	return &Handler{edge: e, router: e.routes()}, nil
}

// routes builds the router: after chi has found the operation, its gates, then
// the generated code.
func (e *edge) routes() *chi.Mux {
	router := chi.NewRouter()
	router.NotFound(e.notFound)
	router.MethodNotAllowed(e.methodNotAllowed)
	strict := api.NewStrictHandlerWithOptions(e, nil, api.StrictHTTPServerOptions{
		RequestErrorHandlerFunc:  e.problem,
		ResponseErrorHandlerFunc: e.problem,
	})
	api.HandlerWithOptions(strict, api.ChiServerOptions{
		BaseRouter:       router.With(e.afterRouting),
		ErrorHandlerFunc: e.problem,
	})
	return router
}

func (e *edge) notFound(w http.ResponseWriter, r *http.Request) {
	e.problem(w, r, fail(codeNoEndpoint, ""))
}

// methodNotAllowed finds the methods by asking the router for each, since chi
// keeps what it found to itself.
func (e *edge) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	for i := range operations {
		if matchesPattern(operations[i].path, sentPath(r)) {
			f := fail(codeMethod, "")
			f.allow = methodsOf(operations[i].path)
			e.problem(w, r, f)
			return
		}
	}
	e.notFound(w, r)
}

// ServeHTTP answers one request. Gates run one after the other and not inside
// each other, which keeps the stacks of ten thousand parked requests small.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := h.edge
	x := e.begin(w, r)
	defer e.finish(x)
	h.route(x, r.WithContext(x))
	e.runTail(x)
}

// route runs the gates and the operation.
func (h *Handler) route(x *exchange, r *http.Request) {
	e := h.edge
	for _, check := range [...]func(*exchange, *http.Request) *failure{
		checkSize, e.checkHost, e.checkOrigin, foldPath,
	} {
		if f := check(x, r); f != nil {
			e.refuse(x, f)
			return
		}
	}
	x.route = routes.Get().(*chi.Context)
	x.route.Routes = h.router
	x.route.RouteMethod = routeMethod(r)
	h.router.ServeHTTP(x, r)
	x.route.Reset()
	routes.Put(x.route)
	x.route = nil
}

// afterRouting runs the gates that depend on the operation.
func (e *edge) afterRouting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		x.op = operationOf[routeKey{x.route.RouteMethod, r.Pattern}]
		f := e.checkCaller(x, r)
		if f == nil {
			f = checkParameters(x.op, r)
		}
		if f == nil {
			f = checkFences(x, r)
		}
		if f == nil {
			f = e.checkDrain(x.op)
		}
		if f == nil {
			f = checkKey(x, r)
		}
		if f == nil {
			f = checkBody(x, x.op, r)
		}
		if f == nil {
			f = e.checkAudit(x)
		}
		if f != nil {
			e.refuse(x, f)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkDrain refuses writes that have not started when the gateway goes down.
// Reads are answered as long as there are connections.
func (e *edge) checkDrain(op *operation) *failure {
	if op.writes() && e.drained.Err() != nil {
		return fail(codeShuttingDown, "")
	}
	return nil
}

// finish closes the books of a request, whatever became of it.
func (e *edge) finish(x *exchange) {
	defer e.auditEnd(x)
	if v := recover(); v != nil {
		e.recovered(x, v)
	}
	took := time.Since(x.begun)
	e.metrics.observe(x, took)
	x.endTrace(took)
	e.logAccess(x, took)
	if x.status == statusClientGone {
		// net/http makes a 200 of an answer that was never begun, and a client
		// that closed only its sending side would read that.
		panic(http.ErrAbortHandler)
	}
}

// Drain ends parked requests and streams with their normal answers of a
// time-out, and refuses writes from now on. It returns at once.
func (h *Handler) Drain() { h.edge.drain() }

// agedStatus is a Status and when it was taken.
type agedStatus struct {
	lease.Status
	at time.Time
}

const statusAge = time.Second

// recent is the status of the node, at most a second old: for limits and names,
// not for positions.
func (e *edge) recent() *lease.Status {
	now := time.Now()
	if s := e.status.Load(); s != nil && now.Sub(s.at) < statusAge {
		return &s.Status
	}
	s := &agedStatus{Status: e.svc.Status(), at: now}
	e.status.Store(s)
	return &s.Status
}

// clusterHeader is the value of Perch-Cluster; nil while the cluster forms.
func (e *edge) clusterHeader() []string {
	if v := e.cluster.Load(); v != nil {
		return *v
	}
	id := clusterID(e.recent())
	if id == "" { // as of some moments ago: it may have formed since
		status := e.svc.Status()
		if id = clusterID(&status); id == "" {
			return nil
		}
	}
	v := []string{id}
	e.cluster.Store(&v)
	return v
}

// clampInt32 keeps counts within the contract's int32.
func clampInt32[N int | int64](n N) int32 { return int32(min(n, math.MaxInt32)) }
