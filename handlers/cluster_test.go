package handlers

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

func member(t *testing.T, a *answer, i int) map[string]any {
	t.Helper()
	return a.json()["members"].([]any)[i].(map[string]any)
}

func TestCluster(t *testing.T) {
	e := newEdgeTest(t)
	a := e.do("GET /v1/cluster", "").want("200")
	c := a.json()
	if c["cluster_id"] != testClusterHex || c["leader"] != "1" || c["node"] != "1" || c["version"] != "test" ||
		c["epoch"] != float64(testEpoch) || c["limits"].(map[string]any)["wait_ms"] != 55_000.0 || len(c["features"].([]any)) == 0 {
		t.Errorf("cluster %s", a.body)
	}
	if m := member(t, a, 0); m["role"] != "leader" || m["healthy"] != true || len(m["digest"].(string)) != 16 {
		t.Errorf("itself %v", m)
	}
	if m := member(t, a, 1); m["role"] != "follower" || m["healthy"] != true || m["address"] != "127.0.0.1:7502" {
		t.Errorf("another %v", m)
	}
	if m := member(t, a, 2); m["role"] != "observer" || m["healthy"] != false {
		t.Errorf("observer %v", m)
	}
	e.svc.status = func(s *lease.Status) { s.Soft.Leader, s.Node, s.Members[2].Known = 2, 1, false }
	if m := member(t, e.do("GET /v1/cluster", ""), 2); m["healthy"] != nil {
		t.Errorf("a follower knows %v", m)
	}
	e.svc.status = func(s *lease.Status) { s.Soft = quorum.Soft{} }
	a = e.do("GET /v1/cluster", "").want("200")
	if a.json()["leader"] != nil || member(t, a, 0)["role"] != "looking" {
		t.Errorf("without a leader: %s", a.body)
	}
}

// TestClusterAtNight: what an operator asks is answered by any node.
func TestClusterAtNight(t *testing.T) {
	e := newEdgeTest(t)
	e.svc.status = func(s *lease.Status) {
		s.Ready, s.NotReady, s.LeaderFor, s.Full, s.Events, s.OldestEvent, s.Holds = false, "catching up", time.Minute, true, 7, time.Second, 4
		s.Members[1].Facts = lease.MemberFacts{
			Known: true, Version: "v2", Level: 3, Applied: 9, Snapshot: 5, SnapshotAge: time.Hour, LogBytes: 11,
			DiskFree: 1 << 40, DiskSize: 1 << 41, DiskLow: true, Uptime: time.Second, Reported: time.Millisecond, NotReady: "no leader",
		}
	}
	a := e.do("GET /v1/cluster", "").want("200")
	c := a.json()
	for field, want := range map[string]any{
		"quorum": true, "ready": false, "not_ready": "catching up", "leader_for_ms": 60_000.0, "storage_full": true,
		"feature_level": float64(e.svc.view().Level()), "oldest_event_ms": 1000.0,
	} {
		if c[field] != want {
			t.Errorf("%s is %v, want %v", field, c[field], want)
		}
	}
	if counts := c["counts"].(map[string]any); counts["holds"] != 4.0 || counts["events"] != 7.0 || counts["nodes"] != float64(e.svc.view().Nodes()) {
		t.Errorf("counts %v", counts)
	}
	m := member(t, a, 1)
	for field, want := range map[string]any{
		"lag": 3.0, "connected": true, "version": "v2", "feature_level": 3.0, "applied_zxid": 9.0, "snapshot_zxid": 5.0,
		"snapshot_age_ms": 3_600_000.0, "log_bytes": 11.0, "disk_free_bytes": float64(1 << 40), "disk_size_bytes": float64(1 << 41),
		"disk_low": true, "uptime_ms": 1000.0, "reported_ms": 1.0, "not_ready": "no leader",
	} {
		if m[field] != want {
			t.Errorf("%s of a member is %v, want %v", field, m[field], want)
		}
	}
	if m := member(t, a, 2); m["version"] != nil || m["disk_low"] != nil || m["lag"] != 0.0 {
		t.Errorf("of one that has told nothing: %v", m)
	}
}

func TestReadyz(t *testing.T) {
	e := newEdgeTest(t)
	e.do("GET /readyz", "").want("200")
	e.do("HEAD /readyz", "").want("200")
	for want, soft := range map[string]quorum.Soft{
		"503 no_leader": {}, "503 no_quorum": {Leader: 1}, "503 not_caught_up": {Leader: 2},
	} {
		e.svc.status = func(s *lease.Status) { s.Ready, s.NotReady, s.Soft = false, "because", soft }
		if p := e.do("GET /readyz", "").want(want).json(); p["detail"] != "because" {
			t.Errorf("%s: %v", want, p)
		}
	}
}

// TestForming: before the cluster has an id no answer claims one.
func TestForming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t)
		e.svc.status = func(s *lease.Status) { s.Cluster, s.Soft = quorum.ClusterID{}, quorum.Soft{} }
		r := request("GET /livez", "")
		if h := e.h.edge.clusterHeader(); h != nil {
			t.Errorf("Perch-Cluster is %v", h)
		}
		e.svc.status = nil // formed, a moment after it was looked at
		e.serve(r).want("200")
	})
}

func TestMetrics(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/hidden", "").want("201")
	e.do("GET /v1/nodes/hidden-too", "").want("404 no_node")
	e.do("GET /nowhere", "")
	a := e.do("GET /metrics", "", "Accept: application/openmetrics-text", "Accept-Encoding: gzip").want("200")
	text := string(a.body)
	for _, line := range []string{
		`perch_http_requests_total{operation="putNode",status="201"} 1`,
		`perch_http_requests_total{operation="readNode",status="404"} 1`,
		`perch_http_requests_total{operation="none",status="404"} 1`,
		`perch_http_request_duration_seconds_count{operation="putNode"} 1`, `perch_http_parked_requests 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(text, "hidden") || strings.Contains(text, "nowhere") {
		t.Error("a path became a label")
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no service": {}, "negative wait": {Service: newTestService(), WaitMax: -1},
		"long wait": {Service: newTestService(), WaitMax: time.Hour}, "negative waiters": {Service: newTestService(), Waiters: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	e := newEdgeTest(t)
	if _, err := New(Options{Service: e.svc, Registry: e.h.edge.registry}); err == nil {
		t.Error("two edges in one registry")
	}
}

func TestTransfer(t *testing.T) {
	e := newEdgeTest(t)
	e.svc.status = func(s *lease.Status) { s.Soft.Leader = 2 }
	if c := e.do("POST /v1/cluster/transfer", `{"to":"2"}`).want("200").json(); c["leader"] != "2" {
		t.Errorf("answered %v", c)
	}
	e.do("POST /v1/cluster/transfer", "").want("200")
	e.do("POST /v1/cluster/transfer", "{}").want("200")
	if got := e.svc.transfers; !slices.Equal(got, []quorum.NodeID{2, 0, 0}) {
		t.Errorf("asked to transfer to %v", got)
	}
	for _, body := range []string{`{"to":"0"}`, `{"to":"02"}`, `{"to":"-1"}`, `{"to":"65536"}`, `{"to":""}`, `{"to":"x"}`} {
		if p := e.do("POST /v1/cluster/transfer", body).want("404 no_such_member").json(); p["pointer"] != "/to" && p["parameter"] != "/to" && p["field"] != "/to" {
			t.Errorf("%s: %v", body, p)
		}
	}
	e.do("POST /v1/cluster/transfer", `{"to":2}`).want("400 invalid_json")
	e.do("POST /v1/cluster/transfer", "", "Perch-Session: "+strings.Repeat("x", 40)).want("410 session_expired")
	if len(e.svc.transfers) != 3 {
		t.Errorf("a refused request was passed on: %v", e.svc.transfers)
	}
	for want, err := range map[string]error{
		"404 no_such_member": lease.ErrNoMember, "400 invalid_argument": tree.ErrInvalidArgument,
		"503 not_caught_up": lease.ErrNotCaughtUp, "503 no_leader": lease.ErrNoLeader, "503 shutting_down": lease.ErrShuttingDown,
	} {
		e.svc.fail = err
		e.do("POST /v1/cluster/transfer", `{"to":"2"}`).want(want)
	}
}

// TestFeatures tells of what is there once every member knows it.
func TestFeatures(t *testing.T) {
	e := newEdgeTest(t)
	has := func() bool {
		return slices.Contains(e.do("GET /v1/cluster", "").json()["features"].([]any), any("multi"))
	}
	before := has()
	e.do("POST /v1/multi", ops(`{"op":"put","path":"a"}`)).want("200")
	if before || !has() {
		t.Error("features do not follow the level")
	}
}
