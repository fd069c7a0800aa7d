package handlers

import (
	"maps"
	"strings"
	"testing"

	"perch/gen/commandpb"
)

// TestCallerGoesAlong: whatever an operation asks of the service it asks in the
// name of its caller.
func TestCallerGoesAlong(t *testing.T) {
	e := newEdgeTest(t)
	ci := &commandpb.Caller{Principal: "ci"}
	for _, line := range []string{"POST /v1/sessions", "PUT /v1/nodes/app"} {
		e.as(ci, line, "", held(tokenA)).want("201")
	}
	bodies := maps.Clone(wellFormed)
	bodies["addMember"] = `{"members":[{"id":"4","address":"127.0.0.1:7504","role":"observer"}]}`
	for i := range operations {
		op := &operations[i]
		if op.ops || op.id == "streamNode" {
			continue // a stream asks as a watch does, and does not end here
		}
		target := op.method + " " + strings.Replace(example(op.path), "/members/self", "/members/4", 1)
		for _, headers := range [][]string{nil, {held(tokenA)}} {
			e.svc.callers = nil
			e.as(ci, target, bodies[op.id], headers...)
			if len(e.svc.callers) == 0 && headers != nil {
				t.Errorf("%s asks nothing", op.id)
			}
			for _, c := range e.svc.callers {
				if c.GetPrincipal() != "ci" {
					t.Errorf("%s asks as %v", op.id, c)
				}
			}
		}
	}
}

// TestCallerWaits: the wait of a read is the caller's too, in each of its scopes.
func TestCallerWaits(t *testing.T) {
	e := newEdgeTest(t)
	ci := &commandpb.Caller{Principal: "ci"}
	tag := e.do("PUT /v1/nodes/app", "").want("201").Header.Get("Perch-Zxid")
	e.svc.callers = nil
	e.as(ci, "GET /v1/stat/app?wait_ms=20", "", "If-None-Match: "+tag+"-"+tag+"-0").want("304")
	e.as(ci, "GET /v1/watch/app?wait_ms=20&scope=subtree", "").want("200")
	if len(e.svc.callers) < 5 {
		t.Errorf("%d calls", len(e.svc.callers))
	}
	for _, c := range e.svc.callers {
		if c != ci {
			t.Errorf("it asks as %v", c)
		}
	}
}
