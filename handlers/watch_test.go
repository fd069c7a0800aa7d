package handlers

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"perch/lease"
	"perch/tree"
)

func events(t *testing.T, a *answer) (list []string, cursor string, more bool) {
	t.Helper()
	m := a.json()
	for _, raw := range m["events"].([]any) {
		ev := raw.(map[string]any)
		list = append(list, ev["type"].(string)+" "+ev["path"].(string)+" "+ev["cause"].(string))
		if _, has := ev["stat"]; has == (ev["type"] == "deleted") {
			t.Errorf("stat of %v", ev)
		}
	}
	if m["cursor"] != a.Header.Get("Perch-Zxid") {
		t.Errorf("cursor %v, Perch-Zxid %s", m["cursor"], a.Header.Get("Perch-Zxid"))
	}
	return list, m["cursor"].(string), m["more"].(bool)
}

func TestWatchScopes(t *testing.T) {
	e := newEdgeTest(t)
	token := "Perch-Session: " + strings.Repeat("w", 22)
	e.do("PUT /v1/nodes/a", "").want("201")
	e.do("POST /v1/nodes/a/b/c?parents=true", "").want("201")
	e.do("PUT /v1/nodes/a", "x").want("200")
	e.do("PUT /v1/nodes/a/e?mode=ephemeral&ttl_ms=5000", "", token).want("201")
	e.do("DELETE /v1/sessions/self", "", token).want("204")
	e.do("PUT /v1/nodes/a/f?mode=ephemeral&ttl_ms=5000", "", "Perch-Session: "+strings.Repeat("x", 22)).want("201")
	e.svc.expire(t, strings.Repeat("x", 22))
	e.do("DELETE /v1/nodes/a?recursive=true", "").want("204")
	for scope, want := range map[string]string{
		"node": "created /a request, changed /a request, deleted /a request",
		"children": "created /a/b request, created /a/e request, deleted /a/e session_closed, created /a/f request, " +
			"deleted /a/f session_expired, deleted /a/b request, deleted /a request",
		"subtree": "created /a request, created /a/b request, created /a/b/c request, changed /a request, " +
			"created /a/e request, deleted /a/e session_closed, created /a/f request, deleted /a/f session_expired, " +
			"deleted /a/b/c request, deleted /a/b request, deleted /a request",
	} {
		list, cursor, more := events(t, e.do("GET /v1/watch/a?since=0&scope="+scope, "").want("200"))
		if got := strings.Join(list, ", "); got != want || more || cursor != formatZxid(e.svc.view().Zxid()) {
			t.Errorf("%s: %s, cursor %s, more %v", scope, got, cursor, more)
		}
	}
	for _, bad := range []string{"scope=all", "since=x", "since=-1", "since=1.0", "since=0x1", "since=99999999999999999999",
		"limit=0", "limit=1001", "limit=-1", "wait_ms=-1"} {
		e.do("GET /v1/watch/a?"+bad, "").want("400 invalid_argument")
		if !strings.HasPrefix(bad, "limit") && !strings.HasPrefix(bad, "wait") {
			e.do("GET /v1/stream/a?"+bad, "").want("400 invalid_argument")
		}
	}
}

// TestWatchLoop follows a cursor through batches; nothing is missing or twice.
func TestWatchLoop(t *testing.T) {
	e := newEdgeTest(t)
	for i := range 25 {
		e.do("POST /v1/nodes/n"+strconv.Itoa(i), "").want("201")
	}
	seen, cursor := 0, "0"
	for range 100 {
		list, next, more := events(t, e.do("GET /v1/watch/?scope=children&limit=4&since="+cursor, "").want("200"))
		for _, ev := range list {
			if ev != "created /n"+strconv.Itoa(seen)+" request" {
				t.Fatalf("event %d is %s", seen, ev)
			}
			seen++
		}
		cursor = next
		if !more {
			break
		}
	}
	if seen != 25 {
		t.Errorf("%d events", seen)
	}
}

func TestWatchWaits(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "").want("201")
		z := e.svc.view().Zxid()
		at := func(n int) string { return formatZxid(z + 0 + zx(n)) }

		// At once: an empty batch at the present, from which nothing is missed.
		if list, cursor, _ := events(e.T, e.do("GET /v1/watch/a", "").want("200")); len(list) != 0 || cursor != at(0) {
			e.Errorf("at the present: %v at %s", list, cursor)
		}
		watch := e.start("GET /v1/watch/a?wait_ms=25000").parked()
		e.do("PUT /v1/nodes/b", "").want("201")
		watch.parked()
		e.do("PUT /v1/nodes/a", "").want("200")
		if list, cursor, _ := events(e.T, watch.now().want("200")); len(list) != 1 || cursor != at(2) {
			e.Errorf("woken with %v at %s", list, cursor)
		}
		// An empty batch moves the cursor.
		watch = e.start("GET /v1/watch/a?wait_ms=8000&since=" + at(2)).parked()
		e.do("PUT /v1/nodes/b", "").want("200")
		if list, cursor, _ := events(e.T, watch.parked().after(8*time.Second).want("200")); len(list) != 0 || cursor != at(3) {
			e.Errorf("timed out with %v at %s", list, cursor)
		}
		// The node need not exist.
		watch = e.start("GET /v1/watch/x/y?scope=subtree&wait_ms=8000&since=" + at(3)).parked()
		e.do("POST /v1/nodes/x/y?parents=true", "").want("201")
		if list, _, _ := events(e.T, watch.now().want("200")); len(list) != 1 {
			e.Errorf("woken with %v", list)
		}
	})
}

func TestWatchBeyondThisNode(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "").want("201")
		z := e.svc.view().Zxid()
		e.svc.ahead = z + 2
		next := formatZxid(z + 2)
		if list, cursor, more := events(e.T, e.start("GET /v1/watch/a?wait_ms=8000&since="+next).parked().after(8*time.Second).want("200")); len(list) != 0 || more || cursor != next {
			e.Errorf("%v at %s", list, cursor)
		}
		for _, line := range []string{"GET /v1/watch/a?wait_ms=8000&since=", "GET /v1/stream/a?since="} {
			lost := e.start(line + formatZxid(z+3)).now().want("410 history_lost")
			if at := lost.Header.Get("Perch-Zxid"); at != formatZxid(z) {
				e.Errorf("%s: decided at %s", line, at)
			}
		}
		watch := e.start("GET /v1/watch/a?wait_ms=8000&since=" + next).parked()
		for range 3 {
			e.do("PUT /v1/nodes/a", "").want("200")
		}
		if list, cursor, _ := events(e.T, watch.now().want("200")); len(list) != 1 || cursor != formatZxid(z+3) {
			e.Errorf("%v at %s", list, cursor)
		}
	})
}

func TestWatchTooOld(t *testing.T) {
	e := newEdgeTest(t)
	s := lease.DefaultSettings()
	s.EventBytes = 1 << 20
	e.svc.state = lease.New(s)
	for range 20_000 {
		e.svc.result = nil
		if _, err := e.svc.Write(t.Context(), putCommand("/a"), ""); err != nil {
			t.Fatal(err)
		}
		if e.svc.state.View().Oldest() != 0 {
			break
		}
	}
	oldest := e.svc.state.View().Oldest()
	for _, line := range []string{"GET /v1/watch/a?since=5", "GET /v1/stream/a?since=5"} {
		a := e.do(line, "").want("410 cursor_expired")
		if oldest == 0 || a.json()["oldest_zxid"] != float64(oldest) {
			t.Errorf("%s, oldest is %d", a.body, oldest)
		}
		if now := formatZxid(e.svc.view().Zxid()); a.Header.Get("Perch-Zxid") != now {
			t.Errorf("%s: decided at %s, not %s", line, a.Header.Get("Perch-Zxid"), now)
		}
	}
	e.do("GET /v1/watch/a?since="+formatZxid(oldest), "").want("200")
}

// TestSessionOfAWatch: a session that is not alive answers 410 there too, also
// when it ends while the request waits.
func TestSessionOfAWatch(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		token := strings.Repeat("w", 22)
		for _, line := range []string{"GET /v1/watch/a", "GET /v1/watch/a?wait_ms=1000", "GET /v1/stream/a", "GET /v1/watch/a?since=0"} {
			e.start(line, "Perch-Session: "+token).now().want("410 session_expired")
		}
		e.do("POST /v1/sessions", "", "Perch-Session: "+token).want("201")
		z := formatZxid(e.svc.view().Zxid())
		watch := e.start("GET /v1/watch/a?wait_ms=8000&since="+z, "Perch-Session: "+token).parked()
		stream := e.start("GET /v1/stream/a?since="+z, "Perch-Session: "+token).parked()
		e.svc.expire(e.T, token)
		watch.parked()
		e.do("PUT /v1/nodes/a", "").want("201")
		watch.now().want("410 session_expired")
		a := stream.now().want("200")
		if !strings.HasPrefix(string(a.body), "id: "+z+"\n\nevent: gone\ndata: {") || !strings.Contains(string(a.body), `"code":"session_expired"`) {
			e.Errorf("stream %q", a.body)
		}
	})
}

func TestEventNames(t *testing.T) {
	if eventType(99) != "unknown" || eventCause(99) != "unknown" {
		t.Error("a name that the contract does not know")
	}
	for typ, want := range map[tree.EventType]string{tree.EventCreated: "created", tree.EventChanged: "changed", tree.EventDeleted: "deleted"} {
		if eventType(typ) != want {
			t.Errorf("%d is %s", typ, eventType(typ))
		}
	}
}
