package handlers

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSemaphore: so many permits, and who waits for them.
func TestSemaphore(t *testing.T) {
	e := newEdgeTest(t)
	acquire := "POST /v1/semaphores/ci/acquire"
	if m := e.do("GET /v1/semaphores/ci", "").want("200").json(); m["etag"] != "s0" {
		t.Errorf("%v", m)
	}
	got := e.do(acquire, `{"limit":3,"permits":2,"ttl_ms":60000,"owner":"one"}`, held(tokenA)).want("200")
	if got.number("permits") != 2 || got.json()["mode"] != nil {
		t.Errorf("%s", got.body)
	}
	e.do(acquire, `{"limit":3,"permits":2,"owner":"two"}`, held(tokenA)).want("409 no_permits")
	a := e.do(acquire, `{"limit":4,"ttl_ms":60000}`, held(tokenB)).want("409 limit_mismatch")
	if a.number("limit") != 3 || a.json()["retryable"] != false {
		t.Errorf("%s", a.body)
	}
	e.do(acquire, `{"limit":3,"ttl_ms":60000}`, held(tokenB)).want("200")
	m := e.do("GET /v1/semaphores/ci", "").want("200").json()
	if m["limit"] != 3.0 || m["held"] != 2.0 || m["holders"].([]any)[0].(map[string]any)["permits"] != 2.0 {
		t.Errorf("%v", m)
	}
	e.do("POST /v1/semaphores/ci/renew", "", held(tokenB)).want("200")
	e.do("PUT /v1/nodes/a?fence=semaphores/ci", "", held(tokenB)).want("201")
	e.do("POST /v1/semaphores/ci/release", "", held(tokenB)).want("204")
	e.do("DELETE /v1/semaphores/ci", "").want("204")
	e.do("POST /v1/semaphores/ci/release", "", held(tokenA)).want("410 hold_lost")
	if list := e.do("GET /v1/semaphores", "").want("200").json()["locks"].([]any); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

// TestElection: who leads says what all may read.
func TestElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		look, campaign := "GET /v1/elections/ci", "POST /v1/elections/ci/campaign"
		if m := e.do(look, "").want("200").json(); m["etag"] != "e0" || m["leader"] != nil || m["candidates"] != 0.0 {
			t.Errorf("%v", m)
		}
		seen := e.background(look+"?wait_ms=20000", "", `If-None-Match: "e0"`)
		token := e.do(campaign, `{"ttl_ms":60000,"value":"10.0.0.7"}`, held(tokenA)).want("200").number("fencing_token")
		if m := (<-seen).want("200").json(); m["value"] != "10.0.0.7" || m["fencing_token"] != token || m["since"] == nil {
			t.Errorf("%v", m)
		}
		next := e.background(campaign, `{"ttl_ms":60000,"wait_ms":20000,"value":"10.0.0.8"}`, held(tokenB))
		if m := e.do(look, "").want("200").json(); m["candidates"] != 1.0 {
			t.Errorf("%v", m)
		}
		e.do("POST /v1/elections/ci/proclaim", `{"value":"x"}`, held(tokenB)).want("409 not_leader")
		e.do("POST /v1/elections/ci/proclaim", `{"value":"x","fencing_token":1}`).want("409 not_leader")
		if m := e.do("POST /v1/elections/ci/proclaim", `{"value":"moved"}`, held(tokenA)).want("200").json(); m["value"] != "moved" {
			t.Errorf("%v", m)
		}
		e.do("POST /v1/elections/ci/renew", "", held(tokenA)).want("200")
		e.do("POST /v1/elections/ci/resign", "", held(tokenA)).want("204")
		if won := (<-next).want("200"); won.number("waited_ms") != 0 || won.number("fencing_token") <= token {
			t.Errorf("%s", won.body)
		}
		if names := e.do("GET /v1/elections", "").want("200").json()["names"].([]any); len(names) != 1 || names[0] != "ci" {
			t.Errorf("%v", names)
		}
		e.svc.expire(t, tokenB)
		e.do("POST /v1/elections/ci/resign", "", held(tokenB)).want("410 hold_lost")
	})
}

// TestWaitedMs: a grant tells how long it took, and what is left after that.
func TestWaitedMs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		e.do(acquireCI, aMinute, held(tokenA)).want("200")
		waiter := e.background(acquireCI, `{"ttl_ms":60000,"wait_ms":20000}`, held(tokenB))
		<-time.After(3 * time.Second) // of the bubble
		e.do(releaseCI, "", held(tokenA)).want("204")
		if m := (<-waiter).want("200").json(); m["waited_ms"] != 3000.0 || m["remaining_ms"] != 60_000.0 {
			t.Errorf("%v", m)
		}
	})
}

// TestOnce: a run is won once, and its result told to everybody else.
func TestOnce(t *testing.T) {
	e := newEdgeTest(t)
	begin, look := "POST /v1/once/ci/begin", "GET /v1/once/ci?key=today"
	if m := e.do(look, "").want("200").json(); m["etag"] != "o0" || m["state"] != "idle" || m["key"] != "today" {
		t.Errorf("%v", m)
	}
	run := `{"key":"today","ttl_ms":60000,"max_attempts":2}`
	m := e.do(begin, run, held(tokenA)).want("200").json()
	if m["attempt"] != 1.0 || m["key"] != "today" || m["name"] != "ci" {
		t.Errorf("%v", m)
	}
	a := e.do(begin, run, held(tokenB)).want("409 once_running")
	if once := a.part("once"); once["state"] != "running" || a.json()["holder"] == nil || a.Header.Get("Retry-After") != "1" {
		t.Errorf("%s", a.body)
	}
	e.do("POST /v1/once/ci/abandon", "", held(tokenA)).want("204")
	if m = e.do(begin, run, held(tokenB)).want("200").json(); m["attempt"] != 2.0 {
		t.Errorf("%v", m)
	}
	token := jsonNumber(int(m["fencing_token"].(float64)))
	e.do("POST /v1/once/ci/complete?fence=once/ci:1", "done").want("412 fence_stale")
	m = e.do("POST /v1/once/ci/complete?fence=once/ci/today:"+token, "done").want("200").json()
	if m["state"] != "done" || m["data"] != "ZG9uZQ==" || m["completed_at"] == nil || m["attempts"] != 2.0 {
		t.Errorf("%v", m)
	}
	a = e.do(begin, run, held(tokenA)).want("409 once_done")
	if a.part("once")["data"] != "ZG9uZQ==" || a.json()["retryable"] != false || a.Header.Get("Retry-After") != "" {
		t.Errorf("%s", a.body)
	}
	for _, line := range []string{look + "&include=text", "GET /v1/once/ci?include=text"} {
		if m := e.do(line, "").want("200").json(); m["text"] != "done" || m["data"] != nil {
			t.Errorf("%v", m)
		}
	}
	if names := e.do("GET /v1/once", "").want("200").json()["names"].([]any); len(names) != 1 {
		t.Errorf("%v", names)
	}
	e.do("DELETE /v1/once/ci?key=today", "").want("204")
	e.do(begin, run, held(tokenA)).want("200")
}

// TestOnceWaits: the result ends the wait of whoever wanted to run it, and of
// whoever only looks.
func TestOnceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		begin := "POST /v1/once/ci/begin"
		e.do(begin, `{"period_ms":1000,"ttl_ms":60000}`, held(tokenA)).want("200")
		run := e.do("GET /v1/once/ci", "").want("200")
		if run.json()["next_at"] == nil {
			t.Errorf("%s", run.body)
		}
		waiter := e.background(begin, `{"period_ms":1000,"ttl_ms":60000,"wait_ms":20000}`, held(tokenB))
		looker := e.background("GET /v1/once/ci?wait_ms=20000", "", "If-None-Match: "+e.do("GET /v1/once/ci", "").Header.Get("ETag"))
		e.do("POST /v1/once/ci/complete", "7", held(tokenA)).want("200")
		if a := (<-waiter).want("409 once_done"); a.part("once")["data"] != "Nw==" {
			t.Errorf("%s", a.body)
		}
		if m := (<-looker).want("200").json(); m["state"] != "done" {
			t.Errorf("%v", m)
		}
	})
}

// TestOnceFails: an attempt that says that it has failed leaves the next one to
// others, until there are no more.
func TestOnceFails(t *testing.T) {
	e := newEdgeTest(t)
	begin, run := "POST /v1/once/ci/begin", `{"key":"`+strings.Repeat("k/", 100)+`","ttl_ms":60000,"max_attempts":2}`
	for _, want := range []string{"idle", "failed"} {
		e.do(begin, run, held(tokenA)).want("200")
		if m := e.do("POST /v1/once/ci/complete?failed=true", "no", held(tokenA)).want("200").json(); m["state"] != want {
			t.Errorf("%v", m)
		}
	}
	e.do(begin, run, held(tokenA)).want("409 once_failed")
	if m := e.do("POST /v1/once/ci/complete", "", held(tokenA)).want("200").json(); m["data"] != "bm8=" {
		t.Errorf("completed before: %v", m)
	}
	e.do("POST /v1/sessions", "", held(tokenB)).want("201")
	e.do("POST /v1/once/ci/complete", "", held(tokenB)).want("410 hold_lost")
}
