package handlers

import (
	"encoding/base64"
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/lease"
)

// wantProblem checks fields of a problem; nil: it is not there.
func (a *answer) wantProblem(want map[string]any) {
	a.t.Helper()
	p := a.json()
	for name, v := range want {
		if p[name] != v {
			a.t.Errorf("%s is %v, want %v: %s", name, p[name], v, a.body)
		}
	}
}

// withSmallTransactions is a service whose transactions touch few nodes.
func withSmallTransactions(e *edgeTest, nodes int) {
	s := lease.DefaultSettings()
	s.TxnNodes = nodes
	e.svc.state = lease.New(s)
}

// A quota that is met is named, with its bound.
func TestQuotaThatIsMet(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/t/q/a?parents=true", "").want("201")
	e.do("PUT /v1/quota/t/q", `{"max_nodes":2,"max_bytes":3}`).want("200")
	e.do("POST /v1/nodes/t/q/b", "").want("409 quota_exceeded").wantProblem(map[string]any{
		"path": "/t/q", "limit": 2.0, "detail": "the quota of /t/q is 2 nodes"})
	e.do("PUT /v1/nodes/t/q/a", "four").want("409 quota_exceeded").wantProblem(map[string]any{
		"path": "/t/q", "limit": 3.0, "detail": "the quota of /t/q is 3 bytes of data"})
	e.do("POST /v1/multi", ops(`{"op":"check","path":"t"}`, `{"op":"create","path":"t/q/b"}`)).want("409 quota_exceeded").
		wantProblem(map[string]any{"path": "/t/q", "limit": 2.0, "failed_index": 1.0})
	for name, root := range map[string]string{"at": "/t/q", "below": "/t/q/a"} {
		e.do("PUT /v1/principals/"+name, `{"root":"`+root+`","grants":[{"prefix":"/","perms":["read","write","create"]}]}`).want("200")
	}
	if turned, err := e.svc.EnableAuth(t.Context(), "root", [32]byte{1}); !turned || err != nil {
		t.Fatal(turned, err)
	}
	e.as(&commandpb.Caller{Principal: "at"}, "POST /v1/nodes/b", "").want("409 quota_exceeded").
		wantProblem(map[string]any{"path": "/", "limit": 2.0})
	e.as(&commandpb.Caller{Principal: "below"}, "POST /v1/nodes/b", "").want("409 quota_exceeded").
		wantProblem(map[string]any{"path": nil, "limit": 2.0, "detail": "the quota above is 2 nodes"})
}

// What apply finds too large is said to be so with the bound.
func TestTooLargeInApply(t *testing.T) {
	e := newEdgeTest(t)
	withSmallTransactions(e, 3)
	for _, path := range []string{"a", "a/1", "a/2", "a/3"} {
		e.do("PUT /v1/nodes/"+path, "").want("201")
	}
	check := func(a *answer, detail string, want map[string]any) {
		t.Helper()
		a.want("413 too_large").wantProblem(want)
		if got, _ := a.json()["detail"].(string); !strings.Contains(got, detail) {
			t.Errorf("detail %q", got)
		}
	}
	check(e.do("DELETE /v1/nodes/a?recursive=true", ""), "below the node", map[string]any{"limit": 3.0, "path": "/a"})
	check(e.do("POST /v1/nodes/w/x/y/z?parents=true", ""), "more nodes", map[string]any{"limit": 3.0, "path": "/w/x/y/z"})
	check(e.do("POST /v1/multi", ops(`{"op":"check","path":"a"}`, `{"op":"delete","path":"a","recursive":true}`)), "more nodes",
		map[string]any{"limit": 3.0, "failed_index": 1.0, "path": "/a"})
	e.do("PUT /v1/principals/ci", `{"grants":[{"prefix":"/","perms":["create"]}]}`).want("200")
	ci := &commandpb.Caller{Principal: "ci"}
	for _, path := range []string{"e1", "e2", "e3"} {
		e.as(ci, "PUT /v1/nodes/"+path+"?mode=ephemeral&ttl_ms=60000", "", held(tokenA)).want("201")
	}
	check(e.do("DELETE /v1/principals/ci", ""), "disable it", map[string]any{"limit": 3.0})
}

// A multi whose answer would be too large says which get it was.
func TestMultiAnswerTooLarge(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/a", strings.Repeat("x", 600<<10)).want("201")
	want := map[string]any{"failed_index": 2.0, "limit": float64(multiBytesMax), "detail": answerTooLarge, "path": "/a"}
	get, check := `{"op":"get","path":"a"}`, `{"op":"check","path":"a"}`
	e.do("POST /v1/multi", ops(get, check, get)).want("413 too_large").wantProblem(want)
	want["failed_index"] = 3.0
	e.do("POST /v1/multi", ops(`{"op":"put","path":"b"}`, get, check, get)).want("413 too_large").wantProblem(want)
}

// TestValueTooLargeForTheCluster is one that the edge alone would take.
func TestValueTooLargeForTheCluster(t *testing.T) {
	e := newEdgeTest(t)
	s := lease.DefaultSettings()
	s.ValueBytes = 1024
	e.svc.state = lease.New(s)
	want := map[string]any{"limit": 1024.0, "detail": "the value is too large", "path": "/a"}
	big := make([]byte, 1025)
	e.do("PUT /v1/nodes/a", string(big)).want("413 too_large").wantProblem(want)
	e.do("POST /v1/multi", ops(`{"op":"put","path":"a","data":"`+base64.StdEncoding.EncodeToString(big)+`"}`)).want("413 too_large").wantProblem(want)
}

// A refusal tells which node it is about, as the caller names it.
func TestRefusalsNameTheNode(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app/x?parents=true", "").want("201")
	for line, status := range map[string]string{
		"DELETE /v1/nodes/app/x?version=7": "412 version_mismatch", "PUT /v1/nodes/app/x?version=7": "412 version_mismatch",
		"GET /v1/nodes/none": "404 no_node", "GET /v1/stat/none": "404 no_node", "GET /v1/children/none": "404 no_node",
		"GET /v1/nodes/none?wait_ms=1": "404 no_node", "DELETE /v1/nodes/none": "404 no_node",
		"POST /v1/nodes/none/x": "404 no_parent", "DELETE /v1/nodes/app": "409 not_empty", "DELETE /v1/quota/none": "404 no_node",
	} {
		_, path, _ := strings.Cut(line, "/v1/")
		_, path, _ = strings.Cut(path, "/")
		path, _, _ = strings.Cut(path, "?")
		e.do(line, "").want(status).wantProblem(map[string]any{"path": "/" + path})
	}
	e.do("PUT /v1/nodes/app/x", "", "If-Match: 1").want("412 etag_mismatch").wantProblem(map[string]any{"path": "/app/x"})
	e.do("PUT /v1/acl/app/x", `{"aversion":7,`+entries("world anyone r")[1:]).want("412 version_mismatch").wantProblem(map[string]any{"path": "/app/x"})
	for _, other := range []string{`{"op":"put","path":"new"}`, `{"op":"get","path":"app"}`} {
		e.do("POST /v1/multi", ops(other, `{"op":"check_absent","path":"app/x"}`)).want("412 etag_mismatch").
			wantProblem(map[string]any{"path": "/app/x", "detail": "the node exists", "failed_index": 1.0})
	}
}
