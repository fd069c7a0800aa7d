package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/gen/commandpb"
	"perch/handlers/audit"
	"perch/handlers/identity"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// guarded is a testService in a cluster where authentication is on, with one
// administrator and one principal that may do nothing.
type guarded struct {
	*testService
	off    bool
	writes []*commandpb.Command
}

var (
	adminToken  = identity.TokenText("t0", strings.Repeat("a", 43))
	nobodyToken = identity.TokenText("t1", strings.Repeat("n", 43))
)

func (g *guarded) Auth() bool { return !g.off }

func (g *guarded) Authenticate(_ context.Context, secret [32]byte) (lease.Identity, error) {
	switch secret {
	case identity.SecretHash(strings.Repeat("a", 43)):
		return lease.Identity{Principal: "admin", Token: "t0"}, nil
	case identity.SecretHash(strings.Repeat("n", 43)):
		return lease.Identity{Principal: "nobody", Token: "t1"}, nil
	}
	return lease.Identity{}, tree.ErrUnauthenticated
}

func (g *guarded) Write(ctx context.Context, cmd *commandpb.Command, token string) (lease.Result, error) {
	g.mu.Lock()
	g.writes = append(g.writes, cmd)
	g.mu.Unlock()
	return g.testService.Write(ctx, cmd, token)
}

func (g *guarded) Read(ctx context.Context, q lease.Read) (lease.Answer, error) {
	if q.Kind != lease.ReadWhoami {
		return g.testService.Read(ctx, q)
	}
	p := lease.Principal{Name: q.Caller.GetPrincipal()}
	if p.Name == "admin" {
		p.Grants = []lease.Grant{{Prefix: tree.Root, Perms: lease.PermCluster}}
	}
	return lease.Answer{Zxid: g.view().Zxid(), Principals: []lease.Principal{p}, Governs: p.Name == "admin"}, nil
}

func newGuarded(t *testing.T, change ...func(*Options)) (*edgeTest, *guarded) {
	t.Helper()
	g := &guarded{testService: newTestService()}
	e := newEdgeTest(t, append(change, func(o *Options) { o.Service = g })...)
	e.svc = g.testService
	return e, g
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// routed is a request line of an operation, whatever its path holds.
func routed(op *operation) string {
	return op.method + " " + strings.NewReplacer("{path}", "a", "{id}", "1", "{name}", "n").Replace(op.path)
}

// A gateway that has heard of no node does not say that a proof is missing.
func TestNobodyKnowsYetWhoMayAsk(t *testing.T) {
	e, g := newGuarded(t)
	g.status = func(s *lease.Status) { s.Cluster, s.Soft = quorum.ClusterID{}, quorum.Soft{} }
	w := httptest.NewRecorder()
	e.h.ServeHTTP(w, request("GET /v1/nodes/a", "")) // not e.do: no answer names a cluster yet
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "no_leader") || w.Header().Get("Retry-After") != "1" {
		t.Errorf("status %d, headers %v: %s", w.Code, w.Header(), w.Body)
	}
}

// TestEveryRouteAsksWho: of all operations only what is open to everybody is
// answered without credentials that hold, and nothing else has an effect.
// What was wrong with them makes no difference to the answer.
func TestEveryRouteAsksWho(t *testing.T) {
	e, g := newGuarded(t, func(o *Options) { o.Rates.Failures = 100_000 })
	bad := map[string]string{
		"none": "", "garbage": "garbage", "empty": "Bearer", "unknown": "Bearer " + identity.TokenText("t0", strings.Repeat("x", 43)),
		"another's id": "Bearer " + identity.TokenText("t1", strings.Repeat("a", 43)),
		"alg none":     "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
		"Basic alone":  "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:admin")),
	}
	for i := range operations {
		op := &operations[i]
		seen := ""
		for name, value := range bad {
			r := request(routed(op), "")
			if value != "" {
				r.Header.Set("Authorization", value)
			}
			a := e.serve(r)
			if op.open {
				a.want("200")
				continue
			}
			a.want("401 unauthenticated")
			if got := a.Header["Www-Authenticate"]; len(got) != 1 || got[0] != "Bearer" {
				t.Errorf("%s, %s: WWW-Authenticate %q", op.id, name, got)
			}
			text, _, _ := strings.Cut(string(a.body), `"request_id"`)
			if seen == "" {
				seen = text
			}
			if text != seen {
				t.Errorf("%s, %s: %s, others %s", op.id, name, text, seen)
			}
		}
	}
	if len(g.writes) > 0 || len(g.reads) > 0 || len(g.changes) > 0 || len(g.transfers) > 0 || g.touches > 0 {
		t.Errorf("the service was asked: %v %v", g.writes, g.reads)
	}
}

// The caller of commands and reads is who the credentials prove, at the address
// of the connection and not one that a header tells.
func TestCallersReachTheService(t *testing.T) {
	e, g := newGuarded(t)
	headers := []string{bearer(adminToken), "X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "X-Real-Ip: 203.0.113.9"}
	e.do("PUT /v1/nodes/a", "x", headers...).want("201")
	e.do("GET /v1/nodes/a", "", headers...).want("200")
	for name, c := range map[string]*commandpb.Caller{"write": g.writes[0].GetCaller(), "read": g.reads[0].Caller} {
		if c.GetPrincipal() != "admin" || c.GetToken() != "t0" || c.GetAddress() != "192.0.2.1" {
			t.Errorf("%s as %v", name, c)
		}
	}
}

// Without authentication nobody has to be somebody, but credentials that do not
// hold are refused all the same.
func TestAuthenticationOff(t *testing.T) {
	e, g := newGuarded(t)
	g.off = true
	e.do("PUT /v1/nodes/a", "x").want("201")
	e.do("GET /v1/nodes/a", "", bearer("perch_t0_wrong")).want("401 unauthenticated")
	e.do("GET /v1/nodes/a", "", bearer("e30.e30.")).want("401 unauthenticated")
	e.do("GET /v1/nodes/a", "", bearer(adminToken)).want("200")
	e.do("GET /metrics", "").want("200")
}

// A node that is to have authentication serves nobody before it has.
func TestAuthenticationIsComing(t *testing.T) {
	e, g := newGuarded(t, func(o *Options) { o.Auth = true })
	g.off = true
	e.do("PUT /v1/nodes/a", "x").want("503 not_caught_up")
	e.do("PUT /v1/nodes/a", "x", bearer(adminToken)).want("503 not_caught_up")
	e.do("GET /readyz", "").want("503 not_caught_up")
	e.do("GET /livez", "").want("200")
	g.off = false
	e.do("GET /readyz", "").want("200")
	e.do("PUT /v1/nodes/a", "x", bearer(adminToken)).want("201")
}

func TestMetricsNeedThePermission(t *testing.T) {
	e, _ := newGuarded(t)
	e.do("GET /metrics", "", bearer(nobodyToken)).want("403 permission_denied")
	e.do("GET /metrics", "", bearer(adminToken)).want("200")
}

// Who does not run the cluster is not told where its nodes reach each other, nor
// the digest of what all keep there.
func TestClusterShowsTenantsLess(t *testing.T) {
	e, g := newGuarded(t)
	secrets := []string{"digest", "127.0.0.1:750"}
	check := func(shown bool, headers ...string) {
		t.Helper()
		a := e.do("GET /v1/cluster", "", headers...).want("200")
		for _, s := range secrets {
			if strings.Contains(string(a.body), s) != shown {
				t.Errorf("%s is shown: %v, in %s", s, !shown, a.body)
			}
		}
		if m := member(t, a, 0); m["role"] != "leader" || m["healthy"] != true {
			t.Errorf("member %v", m)
		}
	}
	check(true, bearer(adminToken))
	check(false, bearer(nobodyToken))
	g.off = true
	check(true)
}

// A cluster that cannot tell whose token it is says so, and does not call the
// token wrong.
func TestNobodyCanTellWhoseToken(t *testing.T) {
	e, g := newGuarded(t)
	broken := &unable{g}
	e.h.edge.identity = identity.NewResolver(broken, nil)
	for range 2 * defaultFailures {
		e.do("GET /v1/nodes/a", "", bearer(adminToken)).want("503 no_leader")
	}
}

type unable struct{ *guarded }

func (*unable) Authenticate(context.Context, [32]byte) (lease.Identity, error) {
	return lease.Identity{}, lease.ErrNoLeader
}

func TestRates(t *testing.T) {
	from := func(address string, headers ...string) *http.Request {
		r := request("GET /v1/nodes/a", "", headers...)
		r.RemoteAddr = address
		return r
	}
	t.Run("principal", func(t *testing.T) {
		e, _ := newGuarded(t, func(o *Options) { o.Rates.Principal = 1 })
		e.serve(from("192.0.2.1:1", bearer(adminToken))).want("404 no_node")
		e.serve(from("192.0.2.2:1", bearer(adminToken))).want("429 rate_limited")
		e.serve(from("192.0.2.1:1", bearer(nobodyToken))).want("404 no_node")
	})
	t.Run("address", func(t *testing.T) {
		e, g := newGuarded(t, func(o *Options) { o.Rates.Address = 1 })
		e.serve(from("[2001:db8::1]:1", bearer(adminToken))).want("404 no_node")
		e.serve(from("[2001:db8::2]:1", bearer(nobodyToken), "X-Forwarded-For: 203.0.113.9")).want("429 rate_limited")
		e.serve(from("192.0.2.1:1", bearer(adminToken))).want("404 no_node")
		e.do("GET /readyz", "").want("200")
		e.do("GET /readyz", "").want("200")
		if n := len(g.reads); n != 2 {
			t.Errorf("%d reads", n)
		}
	})
	t.Run("failures", func(t *testing.T) {
		e, _ := newGuarded(t, func(o *Options) { o.Rates.Failures = 3 })
		for range 3 {
			e.serve(from("192.0.2.1:1", bearer("perch_t0_wrong"))).want("401 unauthenticated")
		}
		e.serve(from("192.0.2.1:1", bearer(adminToken))).want("429 rate_limited")
		e.serve(from("192.0.2.2:1", bearer(adminToken))).want("404 no_node")
	})
}

// One principal takes at most its part of the room for parked requests.
func TestParkedRequestsOfOnePrincipal(t *testing.T) {
	e, g := newGuarded(t, func(o *Options) { o.PrincipalWaiters = 1 })
	g.awaits = make(chan lease.Interest, 2)
	const line = "GET /v1/watch/a?wait_ms=60000"
	done := make(chan struct{})
	park := func(token string) {
		go func() {
			e.do(line, "", bearer(token))
			done <- struct{}{}
		}()
		if i := <-g.awaits; i.Caller.GetPrincipal() == "" {
			t.Error("an interest of nobody")
		}
	}
	park(adminToken)
	a := e.do(line, "", bearer(adminToken)).want("429 too_many_waiters")
	if a.json()["limit"] != 1.0 {
		t.Errorf("%s", a.body)
	}
	park(nobodyToken)
	e.h.Drain()
	<-done
	<-done
	if len(e.h.edge.crowd.of) != 0 {
		t.Errorf("%v", e.h.edge.crowd.of)
	}
}

func withAudit(t *testing.T, path string, required bool) func(*Options) {
	t.Helper()
	log, err := audit.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return func(o *Options) { o.Audit, o.AuditRequired = log, required }
}

func auditLines(t *testing.T, path string) (entries []audit.Entry, text string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var e audit.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		entries = append(entries, e)
	}
	return entries, string(content)
}

// The audit log has a line for every change and every denial, and no secret.
func TestAuditLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	e, _ := newGuarded(t, withAudit(t, path, false))
	session := "session-" + strings.Repeat("s", 22)
	basic := base64.StdEncoding.EncodeToString([]byte("user:password"))
	wrong := identity.TokenText("t0", strings.Repeat("w", 43))
	e.do("PUT /v1/nodes/a", "a-value", bearer(adminToken), "X-Request-Id: r1").want("201")
	e.do("PUT /v1/nodes/e?mode=ephemeral&ttl_ms=5000", "a-value", bearer(adminToken), "Perch-Session: "+session).want("201")
	e.do("POST /v1/nodes/a/n-?sequential=true", "a-value", bearer(adminToken)).want("201")
	e.do("GET /v1/nodes/a", "", bearer(adminToken)).want("200")
	e.do("DELETE /v1/nodes/none", "", bearer(adminToken)).want("404 no_node")
	e.do("GET /v1/nodes/a", "", bearer(wrong)).want("401 unauthenticated")
	e.do("GET /v1/nodes/a", "", "Authorization: Basic "+basic).want("401 unauthenticated")
	e.do("GET /metrics", "", bearer(nobodyToken)).want("403 permission_denied")
	e.do("PUT /v1/nodes/a", "a-value", bearer(adminToken), "Sec-Fetch-Site: cross-site").want("403 permission_denied")
	entries, text := auditLines(t, path)
	want := []string{
		"PUT /v1/nodes/a 201", "PUT /v1/nodes/e 201", "POST /v1/nodes/a/n- 201", "DELETE /v1/nodes/none 404 no_node",
		"GET /v1/nodes/a 401 unauthenticated", "GET /v1/nodes/a 401 unauthenticated", "GET /metrics 403 permission_denied",
		"PUT /v1/nodes/a 403 permission_denied",
	}
	if len(entries) != len(want) {
		t.Fatalf("%d lines:\n%s", len(entries), text)
	}
	for i, w := range want {
		got := entries[i]
		if line := strings.TrimSpace(got.Method + " " + got.Path + " " + jsonNumber(got.Status) + " " + got.Code); line != w {
			t.Errorf("line %d is %q, want %q", i, line, w)
		}
		if got.Address != "192.0.2.1" || got.RequestID == "" || got.Time.IsZero() || got.Event != audit.End {
			t.Errorf("line %d: %+v", i, got)
		}
	}
	first := entries[0]
	if first.Principal != "admin" || first.Token != "t0" || first.RequestID != "r1" || first.Zxid == "" || first.Route != "/v1/nodes/{path}" {
		t.Errorf("%+v", first)
	}
	if entries[2].Location != "/v1/nodes/a/n-0000000000" || entries[4].Reason == "" || entries[4].Principal != "" {
		t.Errorf("%+v %+v", entries[2], entries[4])
	}
	for _, secret := range []string{"a-value", session, basic, "password", strings.Repeat("w", 43), strings.Repeat("a", 43), "ttl_ms"} {
		if strings.Contains(text, secret) || strings.Contains(e.log.String(), secret) {
			t.Errorf("%s stands in a log", secret)
		}
	}
}

// Where the audit log is required nothing changes that it cannot be told of.
func TestRequiredAuditLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	e, _ := newGuarded(t, withAudit(t, path, true))
	e.do("PUT /v1/nodes/a", "x", bearer(adminToken)).want("201")
	entries, text := auditLines(t, path)
	if len(entries) != 2 || entries[0].Event != audit.Begin || entries[1].Event != audit.End || entries[0].RequestID != entries[1].RequestID {
		t.Fatalf("%s", text)
	}
}

// A change that cannot be told of is refused, and the loss counted.
func TestRequiredAuditLogThatIsFull(t *testing.T) {
	e, g := newGuarded(t, withAudit(t, "/dev/full", true))
	digest := g.view().Digest()
	a := e.do("PUT /v1/nodes/a", "y", bearer(adminToken)).want("503 overloaded")
	if a.json()["outcome"] != "not_applied" || len(g.writes) > 0 || g.view().Digest() != digest {
		t.Errorf("%s", a.body)
	}
	e.do("GET /v1/nodes/a", "", bearer(adminToken)).want("404 no_node")
	if m := e.do("GET /metrics", "", bearer(adminToken)); !strings.Contains(string(m.body), "perch_audit_lines_lost_total 2") {
		t.Error("the loss is not counted")
	}
}
