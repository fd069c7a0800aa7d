package handlers

import "testing"

func TestNodesByHand(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app", "x").want("201")
	e.do("GET /v1/nodes/app", "").want("200")
	e.do("HEAD /v1/nodes/app", "").want("200")
	e.do("GET /v1/nodes/", "").want("200")
	e.do("GET /v1/stat/app", "").want("200")
	e.do("GET /v1/children/", "").want("200")
	e.do("GET /v1/cluster", "").want("200")
	e.do("GET /livez", "").want("200")
	e.do("GET /readyz", "").want("200")
	e.do("GET /metrics", "").want("200")
	e.do("GET /openapi.yaml", "").want("200")
	e.do("GET /v1/watch/app?since=0", "").want("200")
	e.do("GET /v1/watch/app", "").want("200")
	e.do("POST /v1/sessions", "").want("201")
	e.do("GET /v1/sessions", "").want("200")
	e.do("DELETE /v1/nodes/app", "").want("204")
	e.do("GET /v1/nodes/app", "").want("404 no_node")
}
