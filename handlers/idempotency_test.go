package handlers

import (
	"slices"
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/lease"
)

// beforehand is what must have been done for an operation of the table to do
// something: requests of the session tokenA.
var beforehand = map[string][]string{
	"deleteNode": {"PUT /v1/nodes/app"}, "setAcl": {"PUT /v1/nodes/app"}, "setQuota": {"PUT /v1/nodes/app"},
	"deleteQuota":      {"PUT /v1/nodes/app", "PUT /v1/quota/app " + wellFormed["setQuota"]},
	"setDefaultAcl":    {"PUT /v1/nodes/app"},
	"deleteDefaultAcl": {"PUT /v1/nodes/app", "PUT /v1/acl-default/app " + wellFormed["setDefaultAcl"]},
	"createToken":      {"PUT /v1/principals/ci " + wellFormed["putPrincipal"]},
	"revokeToken":      {"PUT /v1/principals/ci " + wellFormed["putPrincipal"], "POST /v1/tokens " + wellFormed["createToken"]},
	"deletePrincipal":  {"PUT /v1/principals/ci " + wellFormed["putPrincipal"]},
	"breakLock":        {acquireCI}, "releaseLock": {acquireCI}, "revokeLock": {acquireCI},
	"releaseLockSet": {acquireCI},
	"breakSemaphore": {`POST /v1/semaphores/ci/acquire {"limit":3}`}, "releaseSemaphore": {`POST /v1/semaphores/ci/acquire {"limit":3}`},
	"proclaim": {"POST /v1/elections/ci/campaign"}, "resign": {"POST /v1/elections/ci/campaign"},
	"completeOnce":  {"POST /v1/once/ci/begin " + wellFormed["beginOnce"]},
	"abandonOnce":   {"POST /v1/once/ci/begin " + wellFormed["beginOnce"]},
	"deleteCounter": {"POST /v1/counters/ci/add " + wellFormed["addCounter"]},
	"deleteQueue":   {"PUT /v1/queues/ci " + wellFormed["configureQueue"]}, "claimMessages": {"POST /v1/queues/ci/messages"},
	"ackMessages": {"POST /v1/queues/ci/messages", "POST /v1/queues/ci/claim"}, "nackMessages": {"POST /v1/queues/ci/messages", "POST /v1/queues/ci/claim"},
	"extendMessages":  {"POST /v1/queues/ci/messages", "POST /v1/queues/ci/claim"},
	"redriveMessages": {"POST /v1/queues/ci/messages", "POST /v1/queues/other/messages"},
	"leaveBarrier":    {`POST /v1/barriers/ci/enter {"count":1}`},
	"enterBarrier":    nil, "acquireLock": nil,
}

// grants hand out or prove a hold, so that they are answered from the state.
var grants = map[string]bool{
	"acquireLock": true, "acquireLockSet": true, "acquireSemaphore": true, "campaign": true, "beginOnce": true, "claimMessages": true,
	"enterBarrier": true,
}

// byThemselves say how things shall be; what they are about is not the business
// of apply alone, and no record is kept.
var byThemselves = []string{"addMember", "removeMember", "transferLeadership"}

// keyedRequest prepares an operation and gives its request.
func (e *edgeTest) keyedRequest(op *operation) (line, body string) {
	e.Helper()
	e.do("POST /v1/sessions", "", held(tokenA)).want("201")
	var last *answer
	for _, request := range beforehand[op.id] {
		line, body, _ := strings.Cut(request, " {")
		if body != "" {
			body = "{" + body
		}
		if last = e.do(line, body, held(tokenA)); last.StatusCode >= 300 {
			e.Fatalf("%s: %d %s", request, last.StatusCode, last.body)
		}
	}
	line, body = op.method+" "+example(op.path), wellFormed[op.id]
	switch op.id {
	case "revokeToken":
		line = "DELETE /v1/tokens/" + last.json()["id"].(string)
	case "createToken":
		body = `{"principal":"ci","secret_sha256":"` + strings.Repeat("ab", 32) + `"}`
	case "enterBarrier":
		body = `{"count":1}`
	case "ackMessages", "nackMessages", "extendMessages":
		receipt := last.json()["messages"].([]any)[0].(map[string]any)["receipt"].(string)
		body = strings.Replace(body, "1-1", receipt, 1)
	}
	return line, body
}

// TestReplay: every mutation that is sent twice with one key is done once, and
// answered the same (API.md rule 11).
func TestReplay(t *testing.T) {
	for i := range operations {
		op := &operations[i]
		if !op.keyed || slices.Contains(byThemselves, op.id) {
			continue
		}
		t.Run(op.id, func(t *testing.T) {
			e := newEdgeTest(t)
			line, body := e.keyedRequest(op)
			first := e.do(line, body, held(tokenA), "Idempotency-Key: k")
			if first.StatusCode >= 300 || first.Header.Get("Idempotent-Replayed") != "" {
				t.Fatalf("%d %v %s", first.StatusCode, first.Header, first.body)
			}
			e.do("PUT /v1/nodes/elsewhere", "").want("201") // the position moves on
			before := e.svc.view()
			second := e.do(line, body, held(tokenA), `Idempotency-Key: "k"`)
			e.sameAnswer(op, first, second)
			if before.Nodes() != e.svc.view().Nodes() || before.Sessions() != e.svc.view().Sessions() {
				t.Error("it was done twice")
			}
			if op.query == nil && op.json == nil && !op.raw {
				return // nothing that could differ
			}
			if op.fenced {
				line += "?fence=elsewhere"
			} else if body = e.otherBody(op, body); body == "" {
				return
			}
			e.do(line, body, held(tokenA), "Idempotency-Key: k").want("422 idempotency_key_reused")
		})
	}
}

// otherBody is a body of the operation that asks for something else.
func (e *edgeTest) otherBody(op *operation, body string) string {
	more := map[string]string{
		"acquireLock": `"lock_delay_ms":1`, "acquireLockSet": `"stay_ms":1,"locks":[{"name":"other"}]`, "acquireSemaphore": `"limit":3,"permits":2`,
		"campaign": `"value":"else"`, "beginOnce": `"ttl_ms":5000,"key":"other"`, "claimMessages": `"count":2`, "enterBarrier": `"count":2`,
		"releaseLock": `"fencing_token":1`, "releaseSemaphore": `"fencing_token":1`, "resign": `"fencing_token":1`, "abandonOnce": `"key":"x"`,
		"releaseLockSet": `"names":["x"]`, "revokeLock": `"reason":"x"`, "leaveBarrier": `"generation":9`, "createToken": `"principal":"other"`,
		"putPrincipal": `"grants":[],"disabled":true`,
	}[op.id]
	if more == "" {
		return ""
	}
	return "{" + more + "}"
}

func (e *edgeTest) sameAnswer(op *operation, first, second *answer) {
	e.Helper()
	if second.Header.Get("Idempotent-Replayed") != "true" {
		e.Errorf("it is not replayed: %d %s", second.StatusCode, second.body)
	}
	if grants[op.id] {
		for _, field := range []string{"fencing_token", "generation", "session_id"} {
			if first.json()[field] != second.json()[field] {
				e.Errorf("%s\n%s", first.body, second.body)
			}
		}
		if second.StatusCode != first.StatusCode || second.json()["replayed"] != true {
			e.Errorf("%d %s", second.StatusCode, second.body)
		}
		return
	}
	if second.StatusCode != first.StatusCode || string(second.body) != string(first.body) {
		e.Errorf("%d %s\n%d %s", first.StatusCode, first.body, second.StatusCode, second.body)
	}
	for _, name := range []string{"Etag", "Location", "Perch-Zxid"} {
		if first.Header.Get(name) != second.Header.Get(name) {
			e.Errorf("%s is %q, then %q", name, first.Header.Get(name), second.Header.Get(name))
		}
	}
}

// TestReplayRefused: what a refusal tells that will not change is kept, and
// nothing else.
func TestReplayRefused(t *testing.T) {
	e := newEdgeTest(t)
	key := "Idempotency-Key: k"
	first := e.do("DELETE /v1/nodes/none", "", key).want("404 no_node")
	e.do("PUT /v1/nodes/none", "").want("201")
	second := e.do("DELETE /v1/nodes/none", "", key).want("404 no_node")
	if second.Header.Get("Idempotent-Replayed") != "true" || first.Header.Get("Perch-Zxid") != second.Header.Get("Perch-Zxid") {
		t.Errorf("%v", second.Header)
	}
	e.do(acquireCI, aMinute, held(tokenA)).want("200")
	e.do(acquireCI, aMinute, held(tokenB), key).want("409 lock_held")
	e.do(releaseCI, "", held(tokenA)).want("204")
	if a := e.do(acquireCI, aMinute, held(tokenB), key).want("200"); a.Header.Get("Idempotent-Replayed") != "" {
		t.Errorf("%v", a.Header)
	}
	e.do(releaseCI, "", held(tokenB)).want("204")
	e.do(acquireCI, aMinute, held(tokenB), key).want("410 hold_lost")
	e.do("POST /v1/queues/q/claim", "", key).want("200")
	e.do("POST /v1/queues/q/messages", "x").want("201")
	if claim := e.do("POST /v1/queues/q/claim", "", key).want("200").json(); len(claim["messages"].([]any)) != 1 {
		t.Errorf("an empty claim was kept: %v", claim)
	}
	a := e.do("POST /v1/multi", ops(`{"op":"put","path":"a"}`, `{"op":"get","path":"a"}`), key).want("400 invalid_argument")
	if a.json()["field"] != "/ops/1/op" || a.number("failed_index") != 1 {
		t.Errorf("%s", a.body)
	}
}

// TestReplayWithoutSession: a session that the server drew is told again, though
// nobody keeps its token.
func TestReplayWithoutSession(t *testing.T) {
	e := newEdgeTest(t)
	first := e.do("POST /v1/sessions", "", "Idempotency-Key: k").want("201")
	second := e.do("POST /v1/sessions", "", "Idempotency-Key: k").want("201")
	if string(first.body) != string(second.body) || e.svc.view().Sessions() != 1 {
		t.Errorf("%s\n%s", first.body, second.body)
	}
	first = e.do(acquireCI, aMinute, "Idempotency-Key: k").want("200")
	second = e.do(acquireCI, aMinute, "Idempotency-Key: k").want("200")
	if first.json()["session_token"] != second.json()["session_token"] || first.number("fencing_token") != second.number("fencing_token") {
		t.Errorf("%s\n%s", first.body, second.body)
	}
}

// TestKeyDigest: what counts is what is asked for, and of whom, not how it is
// written.
func TestKeyDigest(t *testing.T) {
	keyOf := func(caller *commandpb.Caller, line, body, key string) *commandpb.Key {
		e := newEdgeTest(t)
		e.as(caller, line, body, "Idempotency-Key: "+key)
		return e.svc.proposed.GetKey()
	}
	nobody, path := &commandpb.Caller{}, "POST /v1/counters/ci/add"
	base := keyOf(nobody, path, `{"add":1,"expect":0}`, "k")
	for name, same := range map[string]*commandpb.Key{
		"order and space": keyOf(nobody, path, ` { "expect" : -0, "add":1 } `, "k"),
		"quotes":          keyOf(nobody, path, `{"add":1,"expect":0}`, `"k"`),
		"escapes":         keyOf(nobody, "POST /v1/counters/%63i/add", `{"\u0061dd":1,"expect":0}`, "k"),
	} {
		if string(same.Hash) != string(base.Hash) || string(same.Digest) != string(base.Digest) {
			t.Errorf("%s: another request", name)
		}
	}
	for name, other := range map[string]*commandpb.Key{
		"key": keyOf(nobody, path, `{"add":1,"expect":0}`, "l"), "path": keyOf(nobody, "POST /v1/counters/co/add", `{"add":1,"expect":0}`, "k"),
		"caller": keyOf(&commandpb.Caller{Principal: "ci"}, path, `{"add":1,"expect":0}`, "k"),
	} {
		if string(other.Hash) == string(base.Hash) {
			t.Errorf("%s: the same request", name)
		}
	}
	if other := keyOf(nobody, path, `{"add":1}`, "k"); string(other.Digest) == string(base.Digest) {
		t.Error("body: the same request")
	}
	put := keyOf(nobody, "PUT /v1/nodes/a/b?parents=true", "x", "k")
	if same := keyOf(nobody, "PUT /v1/nodes/%2Fa%2Fb?parents=true", "x", "k"); string(same.Hash) != string(put.Hash) || string(same.Digest) != string(put.Digest) {
		t.Error("the same node")
	}
	if other := keyOf(nobody, "PUT /v1/nodes/a/b?parents=true", "y", "k"); string(other.Digest) == string(put.Digest) {
		t.Error("another value")
	}
	short := keyOf(nobody, acquireCI, `{"ttl_ms":60000,"owner":"a","wait_ms":1}`, "k")
	if long := keyOf(nobody, acquireCI, `{"ttl_ms":90000,"stay_ms":5}`, "k"); string(long.Digest) != string(short.Digest) {
		t.Error("how long it waits and who asks do not count")
	}
}

// FuzzKey: a key that is taken is taken in quotes too, and has what a header may
// have.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"k", `"k"`, "", `""`, `"`, "a b", " k ", strings.Repeat("k", 128), strings.Repeat("k", 129), "é", "a,b", `"a"b"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, fault := parseKey([]string{text})
		if fault != nil {
			return
		}
		again, fault := parseKey([]string{`"` + key + `"`})
		if fault != nil || again != key || len(key) == 0 || len(key) > keyBytesMax || strings.ContainsAny(key, " \"\x00\n") {
			t.Fatalf("%q is %q, in quotes %q: %v", text, key, again, fault)
		}
	})
}

// FuzzFence: a fence that is taken has a form of its own, which means the same.
func FuzzFence(f *testing.F) {
	for _, s := range []string{"a", "a:1", "locks/a:9", "once/a/k:1", "once/a/b/c:1", "elections/a", "a:b:1", "a:", ":1", "a:0", "a/b", "x/a:1", "once/a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fence, ok := parseFence(text)
		if !ok {
			return
		}
		form := rooms[fence.Kind] + "/" + fence.Name + ":"
		if fence.Token != 0 {
			form += jsonNumber(int(fence.Token))
		}
		again, ok := parseFence(form)
		name, _, _ := strings.Cut(fence.Name, "/")
		if !ok || again.Kind != fence.Kind || again.Name != fence.Name || again.Token != fence.Token || !lease.CheckName(name) {
			t.Fatalf("%q is %v, %q is %v", text, fence, form, again)
		}
	})
}
