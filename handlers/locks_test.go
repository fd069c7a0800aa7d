package handlers

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"perch/lease"
	"perch/tree"
)

// Requests as the by-hand section of the contract writes them.
const (
	acquireCI = "POST /v1/locks/ci/acquire"
	releaseCI = "POST /v1/locks/ci/release"
	getCI     = "GET /v1/locks/ci"
	aMinute   = `{"ttl_ms":60000}`
)

// number is a field of the body that is a number.
func (a *answer) number(field string) float64 {
	a.t.Helper()
	n, ok := a.json()[field].(float64)
	if !ok {
		a.t.Errorf("%s is no number in %s", field, a.body)
	}
	return n
}

// part is a field of the body that is an object.
func (a *answer) part(field string) map[string]any {
	a.t.Helper()
	m, ok := a.json()[field].(map[string]any)
	if !ok {
		a.t.Errorf("%s is no object in %s", field, a.body)
	}
	return m
}

// background serves a request that may wait, and gives its answer when there is
// one. It is for synctest bubbles.
func (e *edgeTest) background(line, body string, headers ...string) <-chan *answer {
	answers := make(chan *answer, 1)
	go func() { answers <- e.do(line, body, headers...) }()
	synctest.Wait()
	return answers
}

// TestLock is the whole life of a lock, without a session beforehand.
func TestLock(t *testing.T) {
	e := newEdgeTest(t)
	never := e.do(getCI, "").want("200")
	if m := never.json(); m["etag"] != "l0" || len(m["holders"].([]any)) != 0 || m["waiting"] != 0.0 || never.Header.Get("ETag") != `"l0"` {
		t.Errorf("never used: %s", never.body)
	}
	e.do(getCI, "", `If-None-Match: "l0"`).want("304")
	got := e.do(acquireCI, `{"ttl_ms":60000,"owner":"cron"}`).want("200")
	m := got.json()
	if m["remaining_ms"] != 60_000.0 || m["name"] != "ci" || m["mode"] != "exclusive" || m["expires_at"] == nil || m["session_token"] == nil ||
		m["replayed"] != nil || got.Header.Get("Perch-Session-Remaining-Ms") != "60000" {
		t.Errorf("the grant: %s", got.body)
	}
	if z := got.Header.Get("Perch-Zxid"); z != jsonNumber(int(got.number("fencing_token"))) {
		t.Errorf("granted at %s: %s", z, got.body)
	}
	own := held(m["session_token"].(string))
	shown := e.do(getCI, "", `If-None-Match: "l0"`).want("200")
	holder := shown.json()["holders"].([]any)[0].(map[string]any)
	if holder["owner"] != "cron" || holder["fencing_token"] != m["fencing_token"] || holder["session_id"] != m["session_id"] || holder["since"] == nil {
		t.Errorf("the holder: %s", shown.body)
	}
	e.do("POST /v1/locks/ci/renew", `{"ttl_ms":90000}`, own).want("200")
	if left := e.do("POST /v1/locks/ci/renew", "", own).want("200").number("remaining_ms"); left != 90_000 {
		t.Errorf("%v ms are left", left)
	}
	e.do("POST /v1/locks/ci/renew", `{"fencing_token":1}`, own).want("410 hold_lost")
	e.do(releaseCI, "", held(tokenB)).want("410 session_expired")
	e.do(releaseCI, `{"fencing_token":1}`, own).want("410 hold_lost")
	e.do(releaseCI, "", own).want("204")
	e.do(releaseCI, "", own).want("204")
	e.do("POST /v1/locks/ci/renew", "", own).want("410 session_expired")
}

// TestLockHeld: what a refusal tells, and that a loop may use its token again.
func TestLockHeld(t *testing.T) {
	e := newEdgeTest(t)
	token := e.do(acquireCI, `{"ttl_ms":60000,"owner":"one"}`, held(tokenA)).want("200").number("fencing_token")
	for range 2 {
		a := e.do(acquireCI, aMinute, held(tokenB)).want("409 lock_held")
		holder := a.part("holder")
		if holder["owner"] != "one" || holder["fencing_token"] != token || holder["mode"] != "exclusive" || a.json()["retryable"] != true ||
			a.json()["name"] != "ci" || a.json()["waiting"] != 0.0 || a.Header.Get("Retry-After") != "1" || a.Header.Get("Perch-Zxid") == "" {
			t.Errorf("%v %s", a.Header, a.body)
		}
		waited := e.do(acquireCI, `{"ttl_ms":60000,"wait_ms":1}`, held(tokenB)).want("409 lock_held")
		if waited.number("position") != 1 {
			t.Errorf("%s", waited.body)
		}
	}
	e.do("GET /v1/sessions/self", "", held(tokenB)).want("410 session_expired")
	again := e.do(acquireCI, `{"ttl_ms":60000,"owner":"one"}`, held(tokenA)).want("200")
	if again.number("fencing_token") != token || again.json()["replayed"] != true {
		t.Errorf("asked again: %s", again.body)
	}
	e.do(acquireCI, `{"mode":"shared","owner":"one"}`, held(tokenA)).want("409 mode_mismatch")
	e.svc.expire(t, tokenA)
	e.do(releaseCI, "", held(tokenA)).want("410 hold_lost")
	e.do(acquireCI, aMinute, held(tokenA)).want("410 session_expired")
	e.do(acquireCI, aMinute, held(tokenB)).want("200")
}

// TestLockQueue: a waiter is granted the lock when it is free, and a second
// request for its place takes that over.
func TestLockQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		e.do(acquireCI, aMinute, held(tokenA)).want("200")
		first := e.background(acquireCI, `{"ttl_ms":60000,"wait_ms":20000}`, held(tokenB))
		if n := e.do(getCI, "").want("200").number("waiting"); n != 1 {
			t.Errorf("%v wait", n)
		}
		second := e.background(acquireCI, `{"wait_ms":20000}`, held(tokenB))
		(<-first).want("409 superseded")
		seen := e.background("GET /v1/locks/ci?wait_ms=20000", "", "If-None-Match: "+e.do(getCI, "").Header.Get("ETag"))
		e.do(releaseCI, "", held(tokenA)).want("204")
		granted := (<-second).want("200")
		if granted.number("remaining_ms") != 60_000 || granted.json()["session_token"] != nil {
			t.Errorf("%s", granted.body)
		}
		if shown := (<-seen).want("200"); shown.number("waiting") != 0 {
			t.Errorf("%s", shown.body)
		}
		e.do(releaseCI, "", held(tokenB)).want("204")
	})
}

// TestLockGone: a client that goes away leaves neither a place nor a session.
func TestLockGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		e.do(acquireCI, aMinute, held(tokenA)).want("200")
		ctx, leave := context.WithCancel(t.Context())
		served := make(chan struct{})
		go func() {
			defer close(served)
			defer func() { _ = recover() }() // http.ErrAbortHandler
			e.h.ServeHTTP(httptest.NewRecorder(), request(acquireCI, `{"ttl_ms":60000,"wait_ms":20000}`).WithContext(ctx))
		}()
		synctest.Wait()
		if e.svc.view().Sessions() != 2 || e.h.edge.parked.Load() != 1 {
			t.Errorf("%d sessions, %d parked", e.svc.view().Sessions(), e.h.edge.parked.Load())
		}
		leave()
		<-served
		if n := e.do(getCI, "").want("200").number("waiting"); n != 0 || e.svc.view().Sessions() != 1 || e.h.edge.parked.Load() != 0 {
			t.Errorf("%v wait, %d sessions", n, e.svc.view().Sessions())
		}
	})
}

// TestLockStay: a place is kept for whoever comes back to it.
func TestLockStay(t *testing.T) {
	e := newEdgeTest(t)
	e.do(acquireCI, aMinute, held(tokenA)).want("200")
	e.do(acquireCI, `{"ttl_ms":60000,"stay_ms":30000}`, held(tokenB)).want("409 lock_held")
	if n := e.do(getCI, "").want("200").number("waiting"); n != 1 {
		t.Errorf("%v wait", n)
	}
	e.do(releaseCI, "", held(tokenB)).want("204")
	if n := e.do(getCI, "").want("200").number("waiting"); n != 0 {
		t.Errorf("%v wait", n)
	}
}

// TestLockTooManyWait: a parked acquire counts as any parked request does.
func TestLockTooManyWait(t *testing.T) {
	e := newEdgeTest(t)
	e.h.edge.waiters = 0
	e.do(acquireCI, `{"ttl_ms":60000,"wait_ms":1000}`).want("429 too_many_waiters")
	e.do(acquireCI, aMinute).want("200")
}

// TestLockRevoke asks holders to give a lock up, and breaks it.
func TestLockRevoke(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/sessions", "", held(tokenA)).want("201")
	e.do(acquireCI, "", held(tokenA)).want("200")
	if m := e.do("POST /v1/locks/ci/revoke", `{"reason":"deploy"}`).want("200").json(); m["revoke_requested"] != true || m["revoke_reason"] != "deploy" {
		t.Errorf("%v", m)
	}
	if m := e.do("POST /v1/locks/ci/renew", "", held(tokenA)).want("200").json(); m["revoke_requested"] != true || m["revoke_reason"] != "deploy" {
		t.Errorf("%v", m)
	}
	if m := e.do("GET /v1/sessions/self", "", held(tokenA)).want("200").json(); len(m["locks"].([]any)) != 1 || m["locks"].([]any)[0] != "locks/ci" {
		t.Errorf("%v", m)
	}
	e.do("DELETE /v1/locks/ci", "").want("204")
	e.do(releaseCI, "", held(tokenA)).want("410 hold_lost")
	e.do("POST /v1/locks/ci/renew", "", held(tokenA)).want("410 hold_lost")
}

// TestLockBroken: who lost a hold learns that, though the session that acquire
// has opened is gone with it.
func TestLockBroken(t *testing.T) {
	e := newEdgeTest(t)
	write, renew := "PUT /v1/nodes/x?fence=ci", "POST /v1/locks/ci/renew"
	token := jsonNumber(int(e.do(acquireCI, aMinute, held(tokenA)).want("200").number("fencing_token")))
	e.do(write, "1", held(tokenA)).want("201")
	e.do("DELETE /v1/locks/ci", "").want("204")
	a := e.do(renew, "", held(tokenA)).want("410 hold_lost")
	if a.json()["name"] != "ci" || a.Header.Get("Perch-Zxid") == "" {
		t.Errorf("%s", a.body)
	}
	e.do(renew, `{"fencing_token":`+token+`}`, held(tokenA)).want("410 hold_lost")
	e.do("POST /v1/locks/other/renew", "", held(tokenA)).want("410 session_expired")
	e.do(write, "2", held(tokenA)).want("412 fence_stale")
	e.do(write+":"+token, "2", held(tokenA)).want("412 fence_stale")
	e.do("PUT /v1/nodes/x", "2", held(tokenA)).want("410 session_expired")
	e.do(acquireCI, aMinute, held(tokenA)).want("200")
	e.do(renew, "", held(tokenA)).want("200")
	e.svc.expire(t, tokenA)
	e.do(renew, "", held(tokenA)).want("410 session_expired")
	e.do(write, "2", held(tokenA)).want("412 fence_stale")
}

// TestLockSet: all or none, with one token.
func TestLockSet(t *testing.T) {
	e := newEdgeTest(t)
	set := "POST /v1/lock-sets/acquire"
	e.do(acquireCI, aMinute, held(tokenA)).want("200")
	if a := e.do(set, `{"ttl_ms":60000,"locks":[{"name":"a"},{"name":"ci"}]}`, held(tokenB)).want("409 lock_held"); a.json()["name"] != "ci" {
		t.Errorf("%s", a.body)
	}
	e.do(releaseCI, "", held(tokenA)).want("204")
	m := e.do(set, `{"ttl_ms":60000,"locks":[{"name":"ci"},{"name":"a","mode":"shared"}]}`, held(tokenB)).want("200").json()
	if names := m["names"].([]any); len(names) != 2 || names[0] != "a" {
		t.Errorf("%v", m)
	}
	for _, name := range []string{"a", "ci"} {
		shown := e.do("GET /v1/locks/"+name, "").want("200").json()
		if shown["holders"].([]any)[0].(map[string]any)["fencing_token"] != m["fencing_token"] {
			t.Errorf("%v", shown)
		}
	}
	if list := e.do("GET /v1/locks", "").want("200").json()["locks"].([]any); len(list) != 2 {
		t.Errorf("%v", list)
	}
	if list := e.do("GET /v1/locks?prefix=c&limit=1", "").want("200").json()["locks"].([]any); len(list) != 1 {
		t.Errorf("%v", list)
	}
	e.do("POST /v1/lock-sets/release", `{"names":["ci","a"]}`, held(tokenB)).want("204")
	e.do("POST /v1/lock-sets/release", `{"names":["ci","a"]}`, held(tokenB)).want("204")
	e.do("POST /v1/lock-sets/release", "", held(strings.Repeat("n", 30))).want("410 session_expired")
}

// TestFence: a write that depends on a hold is not applied without it.
func TestFence(t *testing.T) {
	e := newEdgeTest(t)
	token := jsonNumber(int(e.do(acquireCI, aMinute, held(tokenA)).want("200").number("fencing_token")))
	e.do("PUT /v1/nodes/a?fence=ci:"+token, "1").want("201")
	e.do("PUT /v1/nodes/a?fence=ci&fence=locks/ci:"+token, "2", held(tokenA)).want("200")
	e.do("PUT /v1/nodes/a?fence=ci", "3").want("412 fence_stale")
	e.do("PUT /v1/nodes/a?fence=ci:1", "3", held(tokenA)).want("412 fence_stale")
	e.do("PUT /v1/nodes/a?fence=elections/ci:"+token, "3").want("412 fence_stale")
	a := e.do("POST /v1/multi", `{"ops":[{"op":"put","path":"b"},{"op":"check_lock","lock":"locks/ci","fencing_token":1}]}`).want("412 fence_stale")
	if a.number("failed_index") != 1 || a.json()["name"] != "locks/ci" {
		t.Errorf("%s", a.body)
	}
	e.do("POST /v1/multi", `{"ops":[{"op":"put","path":"b"},{"op":"check_lock","lock":"ci","fencing_token":`+token+`}]}`).want("200")
	e.do(releaseCI, "", held(tokenA)).want("204")
	e.do("PUT /v1/nodes/a?fence=ci:"+token, "3").want("412 fence_stale")
	e.do("POST /v1/multi?fence=ci:"+token, `{"ops":[{"op":"get","path":"a"}]}`).want("412 fence_stale")
	if body := string(e.do("GET /v1/nodes/a", "").want("200").body); body != "2" {
		t.Errorf("the node holds %q", body)
	}
}

// TestGrantWithoutToken: an answer of the service that cannot be is a fault of
// ours, and no grant.
func TestGrantWithoutToken(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/a", "").want("201")
	e.svc.result = &lease.Result{Zxid: 1}
	e.do(acquireCI, aMinute).want("500 internal")
	e.svc.result = &lease.Result{Zxid: 1, Code: tree.ErrLockDelayed}
	e.do(acquireCI, aMinute).want("409 lock_delayed")
}
