package handlers

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFaultsAreNamed: a refusal of form says which field is at fault, and how.
func TestFaultsAreNamed(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/sessions", "", held(tokenA)).want("201")
	const missing = "it is missing"
	long := strings.Repeat("q", 251)
	for _, c := range []struct{ line, body, field, detail string }{
		{acquireCI, `{"ttl_ms":60000,"wait_ms":3000000000}`, "/wait_ms", "out of range"},
		{"POST /v1/semaphores/ci/acquire", `{"ttl_ms":60000,"limit":2147483648}`, "/limit", "out of range"},
		{"POST /v1/semaphores/ci/acquire", `{"ttl_ms":60000}`, "/limit", missing},
		{"POST /v1/lock-sets/acquire", `{"ttl_ms":60000}`, "/locks", missing},
		{"POST /v1/lock-sets/acquire", `{"ttl_ms":60000,"locks":[{"name":"a"},{}]}`, "/locks/1/name", missing},
		{"POST /v1/lock-sets/release", `{"names":["a","a/b"]}`, "/names/1", "a name has"},
		{"POST /v1/once/ci/begin", `{"key":"k"}`, "/ttl_ms", missing},
		{"POST /v1/barriers/ci/enter", "", "/count", missing},
		{"POST /v1/barriers/ci/enter", `{"count":2,"ttl_ms":60000,"generation":2}`, "/generation", "has not come so far"},
		{"POST /v1/queues/q/extend", `{"receipts":["1-1"]}`, "/ttl_ms", missing},
		{"POST /v1/queues/q/ack", `{}`, "/receipts", missing},
		{"POST /v1/queues/q/redrive", `{}`, "/to", missing},
		{"POST /v1/queues/q/redrive", `{"to":"q"}`, "/to", "itself"},
		{"PUT /v1/queues/q", `{"dead_letter":"q"}`, "/dead_letter", "itself"},
		{"PUT /v1/queues/" + long, `{"max_attempts":1}`, "/dead_letter", "too long"},
		{"GET /v1/locks?prefix=:", "", "prefix", "no name begins so"},
		{"GET /v1/queues?prefix=%2F", "", "prefix", "no name begins so"},
		{acquireCI + "?wait=1", "", "wait", ""},
	} {
		a := e.do(c.line, c.body, held(tokenA))
		detail, _ := a.json()["detail"].(string)
		if a.StatusCode != 400 || a.json()["field"] != c.field || !strings.Contains(detail, c.detail) {
			t.Errorf("%s %s: %s", c.line, c.body, a.body)
		}
	}
}

// TestEmptyPrefix: every name begins with nothing.
func TestEmptyPrefix(t *testing.T) {
	e := newEdgeTest(t)
	e.do(acquireCI, aMinute).want("200")
	e.do("POST /v1/counters/ci/add", `{"add":1}`).want("200")
	if list := e.do("GET /v1/locks?prefix=", "").want("200").json()["locks"].([]any); len(list) != 1 {
		t.Errorf("%v", list)
	}
	if list := e.do("GET /v1/counters?prefix=&limit=1", "").want("200").json()["names"].([]any); len(list) != 1 {
		t.Errorf("%v", list)
	}
}

// TestConditionsOfReads: what a read does not take it refuses; those who scrape
// may send what they like.
func TestConditionsOfReads(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app", "x").want("201")
	for _, line := range []string{"GET /v1/queues/q", "GET /v1/locks", "GET /v1/sessions", "GET /v1/tree/app"} {
		if a := e.do(line, "", `If-None-Match: "1"`).want("400 invalid_argument"); a.json()["field"] != ifNoneMatch {
			t.Errorf("%s", a.body)
		}
	}
	e.do("GET /v1/nodes/app", "", `If-Match: "1"`).want("400 invalid_argument")
	e.do("GET /v1/nodes/app", "", `If-Range: "1"`).want("200")
	e.do("GET /metrics", "", `If-None-Match: "1"`).want("200")
}

// TestPreferWaits: Prefer stands for wait_ms of a body, which beats it.
func TestPreferWaits(t *testing.T) {
	for line, body := range map[string]string{
		acquireCI:                         `{"ttl_ms":60000}`,
		"POST /v1/lock-sets/acquire":      `{"ttl_ms":60000,"locks":[{"name":"ci"}]}`,
		"POST /v1/semaphores/ci/acquire":  `{"ttl_ms":60000,"limit":1}`,
		"POST /v1/elections/ci/campaign":  `{"ttl_ms":60000}`,
		"POST /v1/once/ci/begin":          `{"ttl_ms":60000,"key":"k"}`,
		"POST /v1/barriers/ci/enter":      `{"ttl_ms":60000,"count":3}`,
		"POST /v1/queues/ci/claim":        `{}`,
		"POST /v1/barriers/closing/leave": `{}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEdgeTest(t)
			enter := e.background("POST /v1/barriers/closing/enter", `{"ttl_ms":60000,"count":2,"wait_ms":1000}`, held(tokenA))
			e.do("POST /v1/barriers/closing/enter", `{"ttl_ms":60000,"count":2}`, held(tokenB)).want("200")
			(<-enter).want("200")
			if !strings.HasSuffix(line, "/leave") { // there whoever stays inside is in the way
				e.do(line, body, held(tokenA))
			}
			begun := time.Now()
			e.do(line, body, held(tokenB), "Prefer: wait=16")
			if took := time.Since(begun); took < 15*time.Second || took > 16*time.Second {
				t.Errorf("%s took %v", line, took)
			}
			begun = time.Now()
			e.do(line, strings.TrimSuffix(strings.Replace(body, "{", `{"wait_ms":0,`, 1), ",}")+"}", held(tokenB), "Prefer: wait=16")
			if took := time.Since(begun); took != 0 {
				t.Errorf("%s with wait_ms took %v", line, took)
			}
			e.do(line, body, "Prefer: wait=x").want("400 invalid_argument")
		})
	}
}

// TestFenceIsNamed: of several fences the refusal names the one that is stale,
// also when it is told again.
func TestFenceIsNamed(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/sessions", "", held(tokenA)).want("201")
	e.do(acquireCI, "", held(tokenA)).want("200")
	for range 2 {
		a := e.do("PUT /v1/nodes/a?fence=ci&fence=once/job/today:7", "x", held(tokenA), "Idempotency-Key: k").want("412 fence_stale")
		if a.json()["name"] != "once/job/today" || a.json()["once"] != nil || a.json()["waiting"] != nil {
			t.Errorf("%s", a.body)
		}
	}
	a := e.do("POST /v1/counters/ci/add?fence=elections/a:b:", `{"add":1}`, held(tokenA)).want("412 fence_stale")
	if a.json()["name"] != "elections/a:b" {
		t.Errorf("%s", a.body)
	}
}

// TestNobodyHoldsIt: what is free may be refused because others were there
// before, and then the refusal says so.
func TestNobodyHoldsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		e.do("POST /v1/locks/other/acquire", aMinute, held(tokenA)).want("200")
		set := e.background("POST /v1/lock-sets/acquire", `{"ttl_ms":60000,"wait_ms":1000,"locks":[{"name":"ci"},{"name":"other"}]}`)
		a := e.do(acquireCI, aMinute, held(tokenB)).want("409 lock_held")
		if m := a.json(); m["detail"] != "others wait before" || m["holder"] != nil || m["waiting"] != 1.0 {
			t.Errorf("%s", a.body)
		}
		(<-set).want("409 lock_held")
	})
}
