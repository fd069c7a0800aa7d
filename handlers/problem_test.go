package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// TestErrorsOfTheService maps everything that the seam can answer.
func TestErrorsOfTheService(t *testing.T) {
	codes := map[error]string{
		tree.ErrInvalidPath: "400 invalid_path", tree.ErrInvalidArgument: "400 invalid_argument",
		tree.ErrReservedPath: "403 reserved_path", tree.ErrNoNode: "404 no_node", tree.ErrNoParent: "404 no_parent",
		tree.ErrNoSession: "404 no_such_session", tree.ErrNodeExists: "409 node_exists", tree.ErrNotEmpty: "409 not_empty",
		tree.ErrNoChildrenForEphemeral: "409 no_children_for_ephemerals", tree.ErrSessionExpired: "410 session_expired",
		tree.ErrVersionMismatch: "412 version_mismatch", tree.ErrETagMismatch: "412 etag_mismatch",
		tree.ErrTooLarge: "413 too_large", tree.ErrTooManyNodes: "429 too_many_nodes",
		tree.ErrTooManySessions: "429 too_many_sessions", tree.ErrInternal: "500 internal",
		tree.ErrCursorExpired: "410 cursor_expired", tree.ErrHistoryLost: "410 history_lost",
		tree.Code(999):    "500 internal",
		lease.ErrNoLeader: "503 no_leader", lease.ErrNoQuorum: "503 no_quorum", lease.ErrNotCaughtUp: "503 not_caught_up",
		lease.ErrOverloaded: "503 overloaded", lease.ErrStorageFull: "503 storage_full",
		lease.ErrShuttingDown: "503 shutting_down", lease.ErrCommitTimeout: "504 commit_timeout",
		lease.ErrStateInDoubt: "503 state_in_doubt",
		lease.ErrPageExpired:  "410 page_expired", lease.ErrTooManyWaiters: "429 too_many_waiters",
		lease.Unavailable("new"):   "500 internal",
		errors.New("disk on fire"): "500 internal", context.DeadlineExceeded: "504 commit_timeout",
		fmt.Errorf("wrapped: %w", lease.ErrNoLeader): "503 no_leader",
	}
	token := "Perch-Session: " + strings.Repeat("t", 22)
	for err, want := range codes {
		t.Run(want, func(t *testing.T) {
			e := newEdgeTest(t)
			e.svc.fail = err
			for _, line := range []string{
				"GET /v1/nodes/a", "HEAD /v1/nodes/a", "PUT /v1/nodes/a", "POST /v1/nodes/a", "DELETE /v1/nodes/a",
				"GET /v1/stat/a", "GET /v1/children/a", "POST /v1/sessions", "GET /v1/sessions", "GET /v1/sessions/1",
				"POST /v1/sessions/self/keepalive", "POST /v1/sessions/1/keepalive", "GET /v1/sessions/self", "GET /v1/cluster",
			} {
				e.do(line, "", token).want(want)
			}
			if want != "503 not_caught_up" { // which is an empty batch there
				e.do("GET /v1/watch/a?since=1", "").want(want)
				e.do("GET /v1/stream/a?since=1", "").want(want)
			}
			if want != "410 session_expired" { // which is 204 there
				e.do("DELETE /v1/sessions/self", "", token).want(want)
			}
			if strings.Contains(e.log.String(), "tttttttttt") {
				t.Error("a token stands in the log")
			}
		})
	}
}

// TestOutcomes looks at what a client may conclude (API.md rule 13).
func TestOutcomes(t *testing.T) {
	for err, want := range map[error][2]any{
		lease.ErrOverloaded: {"not_applied", true}, lease.ErrCommitTimeout: {"unknown", true},
		tree.ErrInternal: {"unknown", false}, tree.ErrTooManyNodes: {"not_applied", true}, tree.ErrNodeExists: {nil, false},
	} {
		e := newEdgeTest(t)
		e.svc.fail = err
		p := e.do("PUT /v1/nodes/a", "x").json()
		if p["outcome"] != want[0] || p["retryable"] != want[1] {
			t.Errorf("%v: outcome %v, retryable %v", err, p["outcome"], p["retryable"])
		}
	}
}

// TestRefusalsOfApply carry the position and what stands in the way.
func TestRefusalsOfApply(t *testing.T) {
	e := newEdgeTest(t)
	z := quorum.MakeZxid(3, 9)
	e.svc.result = &lease.Result{Zxid: z, Code: tree.ErrNodeExists, Node: tree.Node{
		Path: "/a", Stat: tree.Stat{Mzxid: 5, EphemeralOwner: 4}}}
	a := e.do("POST /v1/nodes/a", "x").want("409 node_exists")
	p := a.json()
	if a.Header.Get("Perch-Zxid") != "12884901897" || p["zxid"] != float64(z) || p["zk_code"] != float64(-110) ||
		p["path"] != "/a" || p["current_etag"] != "5" || p["holder"].(map[string]any)["session_id"] != float64(4) {
		t.Errorf("problem %s", a.body)
	}
	e.svc.result = &lease.Result{Zxid: z, Code: tree.ErrNoNode}
	a = e.do("DELETE /v1/nodes/a", "").want("404 no_node")
	if a.Header.Get("ETag") != `"absent"` || a.Header.Get("Perch-Zxid") != "12884901897" {
		t.Errorf("headers %v", a.Header)
	}
}

// panics is a service with a mistake in it.
type panics struct{ *testService }

func (panics) Read(context.Context, lease.Read) (lease.Answer, error) { panic("oh, /secret/path") }

func (panics) Write(context.Context, *commandpb.Command, string) (lease.Result, error) {
	panic(http.ErrAbortHandler)
}

func TestPanics(t *testing.T) {
	e := newEdgeTest(t, func(o *Options) { o.Service = panics{newTestService()} })
	a := e.do("GET /v1/nodes/a", "", "X-Request-Id: mine").want("500 internal")
	if bytes.Contains(a.body, []byte("secret")) || a.json()["request_id"] != "mine" {
		t.Errorf("problem %s", a.body)
	}
	if !strings.Contains(e.log.String(), "oh, /secret/path") || !strings.Contains(e.log.String(), "mine") {
		t.Errorf("log %s", e.log)
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("the abort of net/http became %v", v)
		}
	}()
	e.do("PUT /v1/nodes/a", "x")
}

// TestPanicAfterTheAnswerBegan cuts the connection instead of mixing answers.
func TestPanicAfterTheAnswerBegan(t *testing.T) {
	e := newEdgeTest(t)
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v", v)
		}
	}()
	r := request("GET /v1/nodes/a", "")
	x := e.h.edge.begin(httptest.NewRecorder(), r)
	x.WriteHeader(200)
	e.h.edge.recovered(x, "late")
}

// TestProblemAfterTheAnswerBegan writes nothing into it.
func TestProblemAfterTheAnswerBegan(t *testing.T) {
	e := newEdgeTest(t)
	w := httptest.NewRecorder()
	r := request("GET /v1/nodes/a", "")
	x := e.h.edge.begin(w, r)
	if _, err := io.WriteString(x, "half"); err != nil {
		t.Fatal(err)
	}
	e.h.edge.refuse(x, errors.New("write failed"))
	if w.Body.String() != "half" || w.Code != 200 {
		t.Errorf("answer %d %q", w.Code, w.Body)
	}
}

// TestClientGone answers nobody.
func TestClientGone(t *testing.T) {
	e := newEdgeTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e.svc.fail = context.Canceled
	w := httptest.NewRecorder()
	e.abandoned(w, request("GET /v1/nodes/a", "").WithContext(ctx))
	if w.Body.Len() != 0 {
		t.Errorf("body %q", w.Body)
	}
	if !strings.Contains(e.log.String(), `"status":499`) {
		t.Errorf("log %s", e.log)
	}
}

// abandoned serves a request whose client goes away. The connection must be cut:
// net/http would make a 200 of an answer that was never begun.
func (e *edgeTest) abandoned(w http.ResponseWriter, r *http.Request) {
	e.Helper()
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			e.Errorf("a request without a client ended with %v", v)
		}
	}()
	e.h.ServeHTTP(w, r)
}

// TestErrorsOfGeneratedCode go through the same writer.
func TestErrorsOfGeneratedCode(t *testing.T) {
	e := newEdgeTest(t)
	for target, field := range map[string]string{
		"GET /v1/nodes/a?wait_ms=soon": "wait_ms", "GET /v1/nodes/a?wait_ms=99999999999": "wait_ms",
		"GET /v1/nodes/a?min_zxid=1.5": "min_zxid", "PUT /v1/nodes/a?parents=maybe": "parents",
		"PUT /v1/nodes/a?version=x": "version", "GET /v1/children/a?limit=0x10": "limit",
	} {
		if p := e.do(target, "").want("400 invalid_argument").json(); p["field"] != field {
			t.Errorf("%s: field %v", target, p["field"])
		}
	}
	// The hook for JSON that the gate let through, which a mistake in the gate would reach.
	for _, err := range []error{&json.SyntaxError{}, &json.UnmarshalTypeError{}} {
		if f := asFailure(fmt.Errorf("can't decode JSON body: %w", err)); f.code != "invalid_json" {
			t.Errorf("%T is %s", err, f.code)
		}
	}
	if f := asFailure(io.ErrUnexpectedEOF); f.status != 400 {
		t.Errorf("a short body is %s", f.code)
	}
	if f := fail("made_up", ""); f.code != "internal" {
		t.Errorf("an unlisted code is %s", f.code)
	}
}

func TestRequestIDs(t *testing.T) {
	e := newEdgeTest(t)
	for _, bad := range []string{"a b", "a\x7fb", strings.Repeat("a", 65), `a"b`} {
		if p := e.do("GET /nowhere", "", "X-Request-Id: "+bad).json(); p["request_id"] == bad {
			t.Errorf("took %q", bad)
		}
	}
	one, _ := e.do("GET /nowhere", "").json()["request_id"].(string)
	two, _ := e.do("GET /nowhere", "").json()["request_id"].(string)
	if len(one) != 32 || len(two) != 32 || one[:8] == two[:8] || one[24:] == two[24:] {
		t.Errorf("two requests are %s and %s, which tell of each other", one, two)
	}
	if p := e.do("GET /nowhere", "", "X-Request-Id: a-b_c.9").json(); p["request_id"] != "a-b_c.9" {
		t.Errorf("request id %v", p["request_id"])
	}
}

// TestAccessLog says what happened and nothing secret.
func TestAccessLog(t *testing.T) {
	e := newEdgeTest(t)
	token := strings.Repeat("s", 32)
	e.do("POST /v1/sessions", "", "Perch-Session: "+token).want("201")
	e.do("PUT /v1/nodes/private%0A%1b[31m", "hush", "Perch-Session: "+token).want("400 invalid_path")
	e.do("PUT /v1/nodes/private", "hush", "Perch-Session: "+token, "X-Request-Id: r1").want("201")
	e.do("LIST /v1/nodes/private", "")
	log := e.log.String()
	for _, secret := range []string{token, "private", "hush", "LIST"} {
		if strings.Contains(log, secret) {
			t.Errorf("%q stands in the log:\n%s", secret, log)
		}
	}
	for _, part := range []string{`"route":"/v1/nodes/{path}"`, `"status":201`, `"request_id":"r1"`, `"zxid":"30064771074"`, `"method":"OTHER"`} {
		if !strings.Contains(log, part) {
			t.Errorf("%s is not in the log:\n%s", part, log)
		}
	}
}
