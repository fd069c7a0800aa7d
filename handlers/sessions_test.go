package handlers

import (
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/lease"
)

const tokenA, tokenB = "aaaaaaaaaaaaaaaaaaaaaa", "Bbbbbbbbbbbbbbbbbbbbb-_0"

func held(token string) string { return "Perch-Session: " + token }

func TestCreateSession(t *testing.T) {
	e := newEdgeTest(t)
	a := e.do("POST /v1/sessions", "").want("201")
	s := a.json()
	token, _ := s["token"].(string)
	if token == "" || s["ttl_ms"] != float64(30_000) || s["remaining_ms"] != float64(30_000) || s["ephemeral_count"] != float64(0) {
		t.Errorf("session %s", a.body)
	}
	if id := a.Header.Get("Perch-Zxid"); a.Header.Get("Location") != "/v1/sessions/"+id || a.Header.Get("Perch-Session-Remaining-Ms") != "30000" {
		t.Errorf("headers %v", a.Header)
	}
	e.do("PUT /v1/nodes/e?mode=ephemeral", "", held(token)).want("201")

	a = e.do("POST /v1/sessions", `{"ttl_ms":60000}`, held(tokenA)).want("201")
	if s := a.json(); s["token"] != nil || s["ttl_ms"] != float64(60_000) {
		t.Errorf("session of a client's token %s", a.body)
	}
	id := a.json()["id"]
	a = e.do("POST /v1/sessions", `{"ttl_ms":60000}`, held(tokenA)).want("201")
	if s := a.json(); s["id"] != id || s["remaining_ms"] != float64(60_000) || s["token"] != nil {
		t.Errorf("the same again is %s", a.body)
	}
	e.do("POST /v1/sessions", `{"ttl_ms":1000}`).want("201")
	e.do("POST /v1/sessions", `{"ttl_ms":86400000}`).want("201")
	e.svc.expire(t, tokenA)
	e.do("POST /v1/sessions", "", held(tokenA)).want("410 session_expired")
}

// opens are the operations with which a token never seen opens a session.
var opens = map[string]bool{
	"createSession": true, "acquireLock": true, "acquireLockSet": true, "acquireSemaphore": true, "campaign": true, "beginOnce": true,
	"enterBarrier": true,
}

// TestDeadTokens answer 410 to any request of the contract (API.md rule 10).
func TestDeadTokens(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/a", "").want("201")
	e.do("POST /v1/sessions", "", held(tokenA)).want("201")
	live := formatZxid(e.svc.view().Zxid())
	e.svc.expire(t, tokenA)
	forged := "ps1_0000000700000002_" + strings.Repeat("A", 43)
	for _, token := range []string{tokenA, tokenB, forged} {
		for i := range operations {
			op := &operations[i]
			line := op.method + " " + example(op.path)
			body := wellFormed[op.id]
			if op.ops || opens[op.id] && token == tokenB {
				continue
			}
			if op.id == "closeSession" && token != forged {
				e.do(line, "", held(token)).want("204")
				continue
			}
			if op.id == "closeSession" {
				continue
			}
			a := e.do(line, body, held(token)).want("410 session_expired")
			if z := a.Header.Get("Perch-Zxid"); z == "0" {
				t.Errorf("%s was decided at %s", op.id, z)
			}
			if op.id != "headNode" && a.json()["zk_code"] != float64(-112) {
				t.Errorf("%s: %s", op.id, a.body)
			}
		}
		e.do("GET /v1/sessions/"+live, "", held(token)).want("410 session_expired")
		e.do("POST /v1/sessions/"+live+"/keepalive", "", held(token)).want("410 session_expired")
	}
}

func TestGetSession(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/sessions", "", held(tokenA)).want("201")
	a := formatZxid(e.svc.view().Zxid())
	e.do("POST /v1/sessions", "", held(tokenB)).want("201")
	b := formatZxid(e.svc.view().Zxid())
	e.do("PUT /v1/nodes/e?mode=ephemeral", "", held(tokenA)).want("201")

	for _, c := range []struct {
		line, token string
		remaining   any
	}{
		{"GET /v1/sessions/self", tokenA, 30_000.0}, {"GET /v1/sessions/" + a, tokenA, 30_000.0},
		{"GET /v1/sessions/" + a, tokenB, nil}, {"GET /v1/sessions/" + a, "", nil},
		{"GET /v1/sessions/self?consistency=local", tokenA, nil},
		{"GET /v1/sessions/self?min_zxid=" + b, tokenA, 30_000.0}, {"HEAD /v1/sessions/self", tokenA, 30_000.0},
	} {
		var headers []string
		if c.token != "" {
			headers = append(headers, held(c.token))
		}
		got := e.do(c.line, "", headers...).want("200")
		if (got.Header.Get("Perch-Session-Remaining-Ms") != "") != (c.remaining != nil) {
			t.Errorf("%s: headers %v", c.line, got.Header)
		}
		if strings.HasPrefix(c.line, "HEAD") {
			continue
		}
		if s := got.json(); formatZxid(zx(int(s["id"].(float64)))) != a || s["remaining_ms"] != c.remaining || s["ephemeral_count"] != 1.0 || s["token"] != nil {
			t.Errorf("%s of %s: %s", c.line, c.token, got.body)
		}
	}
	e.do("GET /v1/sessions/999", "").want("404 no_such_session")
	e.do("GET /v1/sessions/999", "", held(tokenA)).want("404 no_such_session")
	for _, bad := range []string{"0", "-1", "x", "SELF", "1x", "99999999999999999999", "9999999999999999999"} {
		e.do("GET /v1/sessions/"+bad, "").want("400 invalid_argument")
	}
	e.do("GET /v1/sessions/self", "").want("400 invalid_argument")
	e.do("GET /v1/sessions/self?min_zxid=99999999999", "", held(tokenA)).want("410 history_lost")
}

func TestKeepAlive(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/sessions", "", held(tokenA)).want("201")
	a := formatZxid(e.svc.view().Zxid())
	e.do("POST /v1/sessions", "", held(tokenB)).want("201")
	for _, line := range []string{"POST /v1/sessions/self/keepalive", "POST /v1/sessions/" + a + "/keepalive"} {
		for body, ttl := range map[string]float64{"": 30_000, "{}": 30_000, `{"ttl_ms":30000}`: 30_000} {
			got := e.do(line, body, held(tokenA)).want("200")
			if s := got.json(); s["remaining_ms"] != ttl || s["ttl_ms"] != ttl || got.Header.Get("Perch-Session-Remaining-Ms") == "" {
				t.Errorf("%s %s: %s", line, body, got.body)
			}
		}
		e.do(line, "").want("400 invalid_argument")
	}
	before := e.svc.view().Zxid()
	e.do("POST /v1/sessions/"+a+"/keepalive", `{"ttl_ms":5000}`, held(tokenB)).want("410 session_expired")
	if e.svc.view().Zxid() != before {
		t.Error("the TTL of another session was set")
	}
	got := e.do("POST /v1/sessions/self/keepalive", `{"ttl_ms":5000}`, held(tokenA)).want("200")
	if s := got.json(); s["ttl_ms"] != 5000.0 || e.svc.view().Zxid() != before+1 {
		t.Errorf("another TTL: %s", got.body)
	}
	for _, n := range []string{"999", "86400001", "0", "-5"} {
		e.do("POST /v1/sessions/self/keepalive", `{"ttl_ms":`+n+`}`, held(tokenA)).want("400 invalid_argument")
	}
}

func TestCloseSession(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/sessions", "", held(tokenA)).want("201")
	a := formatZxid(e.svc.view().Zxid())
	e.do("POST /v1/sessions", "", held(tokenB)).want("201")
	e.do("PUT /v1/nodes/e?mode=ephemeral", "", held(tokenA)).want("201")
	e.do("DELETE /v1/sessions/"+a, "").want("400 invalid_argument")
	e.do("DELETE /v1/sessions/"+a, "", held(tokenB)).want("410 session_expired")
	e.do("DELETE /v1/sessions/"+a, "", held("never-seen-token-of-a-client")).want("410 session_expired")
	e.do("DELETE /v1/sessions/"+a, "", held("short")).want("410 session_expired")
	e.do("GET /v1/nodes/e", "").want("200")
	e.do("DELETE /v1/sessions/"+a, "", held(tokenA)).want("204")
	e.do("GET /v1/nodes/e", "").want("404 no_node")
	for _, token := range []string{tokenA, tokenB, "never-seen-token-of-a-client"} {
		e.do("DELETE /v1/sessions/"+a, "", held(token)).want("204") // gone is gone, whoever asks
	}
	e.do("DELETE /v1/sessions/self", "", held(tokenA)).want("204")
	e.do("DELETE /v1/sessions/self", "", held(tokenB)).want("204")
	e.do("GET /v1/sessions/self", "", held(tokenB)).want("410 session_expired")
}

// TestCloseNamed: who runs the cluster closes any session, by its id.
func TestCloseNamed(t *testing.T) {
	e := newEdgeTest(t)
	root, ci := &commandpb.Caller{Principal: "root"}, &commandpb.Caller{Principal: "ci"}
	e.do("PUT /v1/principals/ci", `{"grants":[{"prefix":"/","perms":["read","create"]}]}`).want("200")
	if turned, err := e.svc.EnableAuth(t.Context(), "root", [32]byte{1}); !turned || err != nil {
		t.Fatal(turned, err)
	}
	a := e.as(ci, "POST /v1/nodes/e?mode=ephemeral&ttl_ms=5000", "", held(tokenA)).want("201")
	id := formatZxid(zx(int(a.json()["stat"].(map[string]any)["ephemeral_owner"].(float64))))
	s := e.as(ci, "GET /v1/sessions/"+id, "").want("200").json()
	if s["principal"] != "ci" || len(s["ephemerals"].([]any)) != 1 {
		t.Errorf("session %v", s)
	}
	e.as(root, "GET /v1/sessions/self", "", held(tokenA)).want("410 session_expired")
	e.as(ci, "DELETE /v1/sessions/"+id, "").want("400 invalid_argument")
	e.as(root, "DELETE /v1/sessions/self", "").want("400 invalid_argument")
	for range 2 {
		if a := e.as(root, "DELETE /v1/sessions/"+id, "").want("204"); a.Header.Get("Perch-Zxid") == "" {
			t.Errorf("headers %v", a.Header)
		}
	}
	e.as(ci, "GET /v1/nodes/e", "").want("404 no_node")
}

func TestListSessions(t *testing.T) {
	e := newEdgeTest(t)
	for range 7 {
		e.do("POST /v1/sessions", "").want("201")
	}
	total, last, page := 0, 0.0, ""
	zxid := formatZxid(e.svc.view().Zxid())
	for {
		a := e.do("GET /v1/sessions?limit=3"+page, "").want("200")
		if a.Header.Get("Perch-Zxid") != zxid {
			t.Errorf("a page at %s, the first at %s", a.Header.Get("Perch-Zxid"), zxid)
		}
		m := a.json()
		for _, raw := range m["sessions"].([]any) {
			s := raw.(map[string]any)
			if id := s["id"].(float64); id <= last || s["token"] != nil {
				t.Errorf("session %v after %v", s, last)
			} else {
				last = id
			}
			total++
		}
		next, ok := m["next_page_token"].(string)
		if !ok {
			break
		}
		page = "&page_token=" + next
		e.do("POST /v1/sessions", "").want("201") // not on the pages that follow
	}
	if total != 7 {
		t.Errorf("%d sessions", total)
	}
	e.do("GET /v1/sessions?page_token=gone", "").want("410 page_expired")
	e.do("GET /v1/sessions?page_token="+strings.Repeat("x", 513), "").want("400 invalid_argument")
}

// TestTouches: a session of a request is renewed on its arrival.
func TestTouches(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/sessions", "", held(tokenA)).want("201")
	for i := range operations {
		op := &operations[i]
		if op.ops || op.id == "createSession" || op.id == "closeSession" || op.id == "streamNode" {
			continue
		}
		before := e.svc.touches
		e.do(op.method+" "+example(op.path), wellFormed[op.id], held(tokenA))
		if e.svc.touches != before+1 {
			t.Errorf("%s: %d touches", op.id, e.svc.touches-before)
		}
	}
	e.svc.fail = lease.ErrNoLeader
	e.do("GET /v1/cluster", "", held(tokenA)).want("503 no_leader")
}
