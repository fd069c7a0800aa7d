package handlers

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestCounter counts, compares and is waited for.
func TestCounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		look, add, set := "GET /v1/counters/ci", "POST /v1/counters/ci/add", "POST /v1/counters/ci/set"
		if m := e.do(look, "").want("200").json(); m["value"] != 0.0 || m["etag"] != "n0" {
			t.Errorf("%v", m)
		}
		seen := e.background(look+"?wait_ms=20000", "", `If-None-Match: "n0"`)
		a := e.do(add, `{"add":5}`).want("200")
		if m := a.json(); m["value"] != 5.0 || m["previous"] != 0.0 || a.Header.Get("ETag") != `"`+m["etag"].(string)+`"` {
			t.Errorf("%v", m)
		}
		if m := (<-seen).want("200").json(); m["value"] != 5.0 || m["name"] != "ci" {
			t.Errorf("%v", m)
		}
		bad := e.do(set, `{"value":9,"expect":4}`).want("412 version_mismatch")
		if bad.json()["current_etag"] != a.json()["etag"] || !strings.Contains(bad.json()["detail"].(string), "5") || bad.json()["name"] != "ci" {
			t.Errorf("%s", bad.body)
		}
		e.do(set, `{"value":9223372036854775807,"expect":5}`).want("200")
		e.do(add, `{"add":1}`).want("409 counter_overflow")
		if names := e.do("GET /v1/counters", "").want("200").json()["names"].([]any); len(names) != 1 || names[0] != "ci" {
			t.Errorf("%v", names)
		}
		r := e.do("POST /v1/multi", ops(`{"op":"add","counter":"ci","add":-7}`, `{"op":"enqueue","queue":"q","text":"x"}`)).want("200").results()
		if r[0]["value"] != 9223372036854775800.0 || r[1]["id"] != 1.0 {
			t.Errorf("%v", r)
		}
		e.do("DELETE /v1/counters/ci", "").want("204")
		gone := e.do("DELETE /v1/counters/ci", "").want("404 no_node")
		if gone.Header.Get("ETag") != "" || gone.json()["name"] != "ci" { // absent is no tag of counters
			t.Errorf("%v %s", gone.Header, gone.body)
		}
	})
}

// TestQueue is the life of messages.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		claim := "POST /v1/queues/q/claim"
		e.do("GET /v1/queues/q", "").want("404 no_such_queue")
		e.do("POST /v1/queues/q/ack", `{"receipts":["1-1"]}`).want("404 no_such_queue")
		if m := e.do(claim+"?include=text", `{"wait_ms":1}`).want("200").json(); len(m["messages"].([]any)) != 0 {
			t.Errorf("%v", m)
		}
		waiter := e.background(claim+"?include=text", `{"wait_ms":20000,"count":2,"ttl_ms":5000}`)
		if id := e.do("POST /v1/queues/q/messages?priority=3", "hello").want("201").number("id"); id != 1 {
			t.Errorf("%v", id)
		}
		m := (<-waiter).want("200").json()["messages"].([]any)[0].(map[string]any)
		if m["text"] != "hello" || m["data"] != nil || m["attempts"] != 1.0 || m["priority"] != 3.0 || m["remaining_ms"] != 5000.0 ||
			m["fencing_token"] == 0.0 || m["enqueued_at"] == nil {
			t.Errorf("%v", m)
		}
		receipts := `{"receipts":["` + m["receipt"].(string) + `","9-9"]`
		bad := e.do("POST /v1/queues/q/extend", receipts+`,"ttl_ms":9000}`).want("410 receipt_lost")
		if r := bad.part("receipts"); len(r["ok"].([]any)) != 1 || r["lost"].([]any)[0] != "9-9" {
			t.Errorf("%s", bad.body)
		}
		if q := e.do("GET /v1/queues/q", "").want("200").json(); q["leased"] != 1.0 || q["ready"] != 0.0 {
			t.Errorf("%v", q)
		}
		e.do("POST /v1/queues/q/nack", `{"receipts":["`+m["receipt"].(string)+`"]}`).want("200")
		peeked := e.do("GET /v1/queues/q/messages", "").want("200").json()["messages"].([]any)[0].(map[string]any)
		if peeked["state"] != "ready" || peeked["data"] != "aGVsbG8=" || peeked["attempts"] != 1.0 {
			t.Errorf("%v", peeked)
		}
		m = e.do(claim, "").want("200").json()["messages"].([]any)[0].(map[string]any)
		e.do("POST /v1/multi", ops(`{"op":"put","path":"done"}`, `{"op":"ack","queue":"q","receipt":"`+m["receipt"].(string)+`"}`)).want("200")
		e.do("POST /v1/queues/q/ack", `{"receipts":["`+m["receipt"].(string)+`"]}`).want("200")
		if c := e.do("PUT /v1/queues/q", `{"max_attempts":2,"dead_letter":"dead"}`).want("200").json(); c["max_attempts"] != 2.0 || c["dead_letter"] != "dead" {
			t.Errorf("%v", c)
		}
		e.do("POST /v1/queues/q/messages?delay_ms=60000", "later").want("201")
		e.do("DELETE /v1/queues/q", "").want("409 not_empty")
		e.do("DELETE /v1/queues/q?force=true", "").want("204")
		if names := e.do("GET /v1/queues", "").want("200").json()["names"].([]any); len(names) != 0 {
			t.Errorf("%v", names)
		}
	})
}

// TestDeadLetters: what has failed too often goes elsewhere, and comes back when
// it is asked to.
func TestDeadLetters(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/queues/q", `{"max_attempts":1}`).want("200")
	e.do("POST /v1/queues/q/messages", "x").want("201")
	m := e.do("POST /v1/queues/q/claim", "").want("200").json()["messages"].([]any)[0].(map[string]any)
	e.do("POST /v1/queues/q/nack", `{"receipts":["`+m["receipt"].(string)+`"]}`).want("200")
	dead := e.do("GET /v1/queues/q.dead/messages", "").want("200").json()["messages"].([]any)[0].(map[string]any)
	if dead["dead_from"] != "q" {
		t.Errorf("%v", dead)
	}
	if n := e.do("POST /v1/queues/q.dead/redrive", `{"to":"q"}`).want("200").number("moved"); n != 1 {
		t.Errorf("%v were moved", n)
	}
	e.do("POST /v1/queues/none/redrive", `{"to":"q"}`).want("404 no_such_queue")
}

// TestBarrier: all enter, all leave.
func TestBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		look, enter, leave := "GET /v1/barriers/ci", "POST /v1/barriers/ci/enter", "POST /v1/barriers/ci/leave"
		if m := e.do(look, "").want("200").json(); m["open"] != true || m["etag"] != "b0" || m["generation"] != 0.0 {
			t.Errorf("%v", m)
		}
		a := e.do(enter, `{"count":2,"ttl_ms":60000}`, held(tokenA)).want("409 barrier_waiting")
		if a.json()["waiting"] != 1.0 || a.json()["name"] != "ci" || a.Header.Get("Retry-After") != "1" {
			t.Errorf("%s", a.body)
		}
		e.do(enter, `{"count":3,"ttl_ms":60000}`, held(tokenB)).want("409 limit_mismatch")
		first := e.background(enter, `{"count":2,"wait_ms":20000}`, held(tokenA))
		seen := e.background(look+"?wait_ms=20000", "", "If-None-Match: "+e.do(look, "").Header.Get("ETag"))
		second := e.do(enter, `{"count":2,"ttl_ms":60000}`, held(tokenB)).want("200").json()
		if m := (<-first).want("200").json(); m["generation"] != 1.0 || m["open"] != true || m["remaining_ms"] != 60_000.0 || second["generation"] != 1.0 {
			t.Errorf("%v %v", m, second)
		}
		if m := (<-seen).want("200").json(); m["generation"] != 1.0 || m["leaving"] != 2.0 {
			t.Errorf("%v", m)
		}
		e.do(enter, `{"count":2,"generation":1}`, held(tokenA)).want("200")
		waiter := e.background(leave, `{"wait_ms":20000}`, held(tokenA))
		e.do(leave, "", held(tokenB)).want("200")
		(<-waiter).want("200")
		e.do(leave, "", held(tokenA)).want("200")
	})
}

// TestBarrierPolled: who asks again is told of an opening that came in between,
// and who waits for it goes on to the next.
func TestBarrierPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		enter, two := "POST /v1/barriers/ci/enter", `{"ttl_ms":60000,"count":2}`
		e.do(enter, two, held(tokenA)).want("409 barrier_waiting")
		e.do(enter, two, held(tokenB)).want("200")
		if m := e.do(enter, two, held(tokenA)).want("200").json(); m["generation"] != 1.0 || m["open"] != true || m["replayed"] != nil {
			t.Errorf("%v", m)
		}
		for round := range 3 {
			waiter := e.background(enter, `{"ttl_ms":60000,"count":2,"wait_ms":20000}`, held(tokenA))
			e.do(enter, two, held(tokenB)).want("200")
			if m := (<-waiter).want("200").json(); m["generation"] != float64(round+2) {
				t.Errorf("round %d: %v", round, m)
			}
		}
		drawn := e.background(enter, `{"ttl_ms":60000,"count":2,"wait_ms":20000}`, "Idempotency-Key: k")
		again := e.background(enter, `{"ttl_ms":60000,"count":2,"wait_ms":20000}`, "Idempotency-Key: k")
		e.do(enter, two, held(tokenB)).want("200")
		for _, a := range []<-chan *answer{drawn, again} {
			if m := (<-a).want("200").json(); m["generation"] != 5.0 {
				t.Errorf("%v", m)
			}
		}
	})
}

// TestBarrierSessionWaits: the session that a request has opened lives while
// that waits.
func TestBarrierSessionWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		enter := "POST /v1/barriers/ci/enter"
		waiter := e.background(enter, `{"ttl_ms":1500,"count":2,"wait_ms":20000}`)
		for range 15 {
			before := e.svc.touched()
			<-time.After(time.Second) // of the bubble
			synctest.Wait()
			if e.svc.touched() < before+1 {
				t.Fatal("nobody renews the session")
			}
		}
		e.do("POST /v1/sessions", `{"ttl_ms":1500}`, held(tokenB)).want("201")
		e.do(enter, `{"count":2}`, held(tokenB)).want("200")
		(<-waiter).want("200")
		before := e.svc.touched()
		<-time.After(time.Minute)
		if e.svc.touched() != before {
			t.Error("it goes on when nobody waits any more")
		}
		// A session that is there for its own sake is not kept alive by a request.
		parked := e.background(enter, `{"count":2,"wait_ms":20000}`, held(tokenB))
		before = e.svc.touched()
		(<-parked).want("409 barrier_waiting")
		if e.svc.touched() != before {
			t.Error("a parked request renews a session")
		}
	})
}

// TestLeaveWithoutSession: the session ends with the entry, and the request waits
// for the others all the same.
func TestLeaveWithoutSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		enter, leave, two := "POST /v1/barriers/ci/enter", "POST /v1/barriers/ci/leave", `{"ttl_ms":60000,"count":2,"wait_ms":20000}`
		first := e.background(enter, two)
		e.do(enter, two, held(tokenB)).want("200")
		own := held((<-first).want("200").json()["session_token"].(string))
		waiter := e.background(leave, `{"wait_ms":20000}`, own)
		e.do(leave, "", held(tokenB)).want("200")
		(<-waiter).want("200")
	})
}

// TestBarrierGivenUp: a session that nobody was told of does not stay inside.
func TestBarrierGivenUp(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/barriers/ci/enter", `{"count":2,"ttl_ms":60000,"wait_ms":1}`).want("409 barrier_waiting")
	if m := e.do("GET /v1/barriers/ci", "").want("200").json(); m["entered"] != 0.0 || e.svc.view().Sessions() != 0 {
		t.Errorf("%v, %d sessions", m, e.svc.view().Sessions())
	}
	for range 2 {
		m := e.do("POST /v1/barriers/ci/enter", `{"count":1,"ttl_ms":60000}`, "Idempotency-Key: k").want("200").json()
		if m["generation"] != 1.0 {
			t.Errorf("%v", m)
		}
	}
}

// TestPlainBarrier is closed and opened by hand.
func TestPlainBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		if m := e.do("PUT /v1/barriers/ci", "").want("200").json(); m["open"] != false {
			t.Errorf("%v", m)
		}
		waiter := e.background("POST /v1/barriers/ci/enter", `{"count":9,"ttl_ms":60000,"wait_ms":20000}`, held(tokenA))
		e.do("DELETE /v1/barriers/ci", "").want("204")
		if m := (<-waiter).want("200").json(); m["generation"] != 1.0 {
			t.Errorf("%v", m)
		}
		if names := e.do("GET /v1/barriers", "").want("200").json()["names"].([]any); len(names) > 1 {
			t.Errorf("%v", names)
		}
	})
}
