package handlers

import (
	"bytes"
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"perch"
	"perch/gen/api"
	"perch/lease"
	"perch/quorum"
)

// Livez implements GET /livez: a process that answers is alive.
func (e *edge) Livez(context.Context, api.LivezRequestObject) (api.LivezResponseObject, error) {
	return api.Livez200TextResponse{Body: "alive\n"}, nil
}

// Readyz implements GET /readyz: the node has a leader with a quorum and is
// caught up, and this gateway neither drains nor waits for authentication.
func (e *edge) Readyz(context.Context, api.ReadyzRequestObject) (api.ReadyzResponseObject, error) {
	if e.drained.Err() != nil {
		return nil, fail(codeShuttingDown, "")
	}
	if e.auth && !e.svc.Auth() {
		return nil, fail(codeNotCaughtUp, authComing)
	}
	s := e.svc.Status()
	if s.Ready {
		return api.Readyz200TextResponse{Body: "ready\n"}, nil
	}
	return nil, fail(unreadyCode(&s), s.NotReady)
}

func unreadyCode(s *lease.Status) string {
	switch {
	case s.Soft.Doubt != quorum.DoubtNone:
		return codeStateInDoubt
	case s.Soft.Leader == 0:
		return codeNoLeader
	case s.Soft.Leader == s.Node:
		return codeNoQuorum
	}
	return codeNotCaughtUp
}

// Openapi implements GET /openapi.yaml.
func (e *edge) Openapi(context.Context, api.OpenapiRequestObject) (api.OpenapiResponseObject, error) {
	return api.Openapi200ApplicationYamlResponse{
		Body: bytes.NewReader(perch.OpenAPI), ContentLength: int64(len(perch.OpenAPI))}, nil
}

// Metrics implements GET /metrics. It shows the volume of everybody's traffic.
func (e *edge) Metrics(ctx context.Context, _ api.MetricsRequestObject) (api.MetricsResponseObject, error) {
	if err := e.requireCluster(ctx); err != nil {
		return nil, err
	}
	// A request without headers: Accept is ignored (API.md rule 8).
	plain, err := http.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	return exposition{request: plain, handler: promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{DisableCompression: true})}, nil
}

// exposition lets the Prometheus library write its own format.
type exposition struct {
	request *http.Request
	handler http.Handler
}

func (x exposition) VisitMetricsResponse(w http.ResponseWriter) error {
	x.handler.ServeHTTP(w, x.request)
	return nil
}
