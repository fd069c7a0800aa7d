package handlers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/tree"
)

// ops is the body of a multi.
func ops(op ...string) string { return `{"ops":[` + strings.Join(op, ",") + `]}` }

// results are the outcomes of a multi.
func (a *answer) results() []map[string]any {
	a.t.Helper()
	var out []map[string]any
	list, _ := a.json()["results"].([]any)
	for _, r := range list {
		out = append(out, r.(map[string]any))
	}
	return out
}

// TestMultiForm refuses at the edge what no state could make right, and says
// which operation and which field.
func TestMultiForm(t *testing.T) {
	e := newEdgeTest(t)
	before := e.svc.view().Zxid()
	many := strings.Repeat(`{"op":"get","path":"a"},`, multiOpsMax)
	for _, c := range []struct {
		body, code, field string
	}{
		{``, "invalid_argument", "/ops"}, {`{}`, "invalid_argument", "/ops"}, {`{"ops":[]}`, "invalid_argument", "/ops"},
		{ops(many + `{"op":"get","path":"a"}`), "invalid_argument", "/ops"},
		{`[]`, "invalid_json", ""}, {`{"ops":{}}`, "invalid_json", "/ops"}, {`{"ops":[1]}`, "invalid_json", "/ops/0"},
		{ops(`{"op":"get","path":"a","watch":true}`), "invalid_json", "/ops/0/watch"},
		{ops(`{"op":"create","path":"a","data":"?"}`), "invalid_json", "/ops/0/data"},
		{ops(`{"op":"create","path":"a","data":"YQ"}`), "invalid_json", "/ops/0/data"},
		{ops(`{"op":"create","path":"a","version":1.5}`), "invalid_json", "/ops/0/version"},
		{ops(`{"op":"create","path":"a","acl":[{"scheme":1}]}`), "invalid_json", "/ops/0/acl/0/scheme"},

		{ops(`{"path":"a"}`), "invalid_argument", "/ops/0/op"}, {ops(`{"op":"Get","path":"a"}`), "invalid_argument", "/ops/0/op"},
		{ops(`{"op":"check_lock","path":"a"}`), "invalid_argument", "/ops/0/path"},
		{ops(`{"op":"get"}`), "invalid_argument", "/ops/0/path"},
		{ops(`{"op":"get","path":"a"}`, `{"op":"get","path":"a/"}`), "invalid_path", "/ops/1/path"},
		{ops(`{"op":"get","path":"a/../b"}`), "invalid_path", "/ops/0/path"},
		{ops(`{"op":"create","path":"a/"}`), "invalid_path", "/ops/0/path"},
		{ops(`{"op":"create","path":""}`), "invalid_argument", "/ops/0/path"},
		{ops(`{"op":"delete","path":"//"}`), "invalid_argument", "/ops/0/path"},

		{ops(`{"op":"get","path":"a","version":0}`), "invalid_argument", "/ops/0/version"},
		{ops(`{"op":"check_absent","path":"a","etag":"1"}`), "invalid_argument", "/ops/0/etag"},
		{ops(`{"op":"create","path":"a","version":0}`), "invalid_argument", "/ops/0/version"},
		{ops(`{"op":"set","path":"a","parents":false}`), "invalid_argument", "/ops/0/parents"},
		{ops(`{"op":"set","path":"a","mode":"ttl","ttl_ms":5000}`), "invalid_argument", "/ops/0/mode"},
		{ops(`{"op":"put","path":"a","sequential":true}`), "invalid_argument", "/ops/0/sequential"},
		{ops(`{"op":"put","path":"a","acl":[]}`), "invalid_argument", "/ops/0/acl"},
		{ops(`{"op":"put","path":"a","recursive":true}`), "invalid_argument", "/ops/0/recursive"},
		{ops(`{"op":"delete","path":"a","text":""}`), "invalid_argument", "/ops/0/text"},

		{ops(`{"op":"create","path":"a","data":"","text":""}`), "invalid_argument", "/ops/0/text"},
		{ops(`{"op":"create","path":"a","mode":"sequential"}`), "invalid_argument", "/ops/0/mode"},
		{ops(`{"op":"put","path":"a","mode":"persistent"}`), "invalid_argument", "/ops/0/mode"},
		{ops(`{"op":"put","path":"a","mode":"container"}`), "invalid_argument", "/ops/0/mode"},
		{ops(`{"op":"put","path":"a","mode":"ephemeral"}`), "invalid_argument", "/ops/0/mode"},
		{ops(`{"op":"create","path":"a","mode":"ephemeral","ttl_ms":5000}`), "invalid_argument", "/ops/0/ttl_ms"},
		{ops(`{"op":"create","path":"a","ttl_ms":5000}`), "invalid_argument", "/ops/0/ttl_ms"},
		{ops(`{"op":"create","path":"a","mode":"ttl"}`), "invalid_argument", "/ops/0/ttl_ms"},
		{ops(`{"op":"create","path":"a","mode":"ttl","ttl_ms":999}`), "invalid_argument", "/ops/0/ttl_ms"},
		{ops(`{"op":"set","path":"a","version":-1}`), "invalid_argument", "/ops/0/version"},
		{ops(`{"op":"set","path":"a","etag":""}`), "invalid_argument", "/ops/0/etag"},
		{ops(`{"op":"set","path":"a","etag":"*"}`), "invalid_argument", "/ops/0/etag"},
		{ops(`{"op":"set","path":"a","etag":"1, 2"}`), "invalid_argument", "/ops/0/etag"},
		{ops(`{"op":"create","path":"a","acl":[]}`), "invalid_acl", "/ops/0/acl"},
		{ops(`{"op":"create","path":"a","acl":[{"scheme":"world","id":"anyone","perms":"x"}]}`), "invalid_acl", "/ops/0/acl/0/perms"},
		{ops(`{"op":"check","path":"none"}`, `{"op":"create","path":"a","acl":[{"scheme":"world","id":"all","perms":"r"}]}`), "invalid_acl", "/ops/1/acl/0/id"},
		{ops(`{"op":"create","path":"a","acl":[{"scheme":"auth","id":"","perms":"r"}]}`), "invalid_acl", "/ops/0/acl/0/scheme"},
	} {
		p := e.do("POST /v1/multi", c.body).want("400 " + c.code).json()
		if field, _ := p["field"].(string); field != c.field {
			t.Errorf("%.80s: field %q, want %q", c.body, field, c.field)
		}
		index, ok := p["failed_index"].(float64)
		if want := c.code != "invalid_json" && strings.Count(c.field, "/") > 1; ok != want || want && index != float64(c.field[len("/ops/")]-'0') {
			t.Errorf("%.80s: failed_index %v", c.body, p["failed_index"])
		}
	}
	if e.svc.view().Zxid() != before {
		t.Error("something was applied")
	}
}

// TestMultiSize: values count together, whatever their number.
func TestMultiSize(t *testing.T) {
	e := newEdgeTest(t)
	half := `","data":"` + base64.StdEncoding.EncodeToString(make([]byte, multiBytesMax/2)) + `"}`
	p := e.do("POST /v1/multi", ops(`{"op":"put","path":"a`+half, `{"op":"put","path":"b`+half, `{"op":"put","path":"c","text":"x"}`)).
		want("413 too_large").json()
	if p["failed_index"] != 2.0 || p["limit"] != float64(multiBytesMax) || p["field"] != "/ops/2/text" {
		t.Errorf("problem %v", p)
	}
	e.do("POST /v1/multi", ops(`{"op":"put","path":"a`+half, `{"op":"put","path":"b`+half)).want("200")
	e.do("POST /v1/multi", ops(`{"op":"put","path":"a","text":"`+strings.Repeat("x", jsonBytesMax)+`"}`)).want("413 too_large")
	e.do("POST /v1/multi", ops(strings.Repeat(`{"op":"check","path":"a"},`, multiOpsMax-1)+`{"op":"check","path":"a"}`)).want("200")
}

// TestMulti applies all at one zxid, later operations seeing earlier ones.
func TestMulti(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app", "old").want("201")
	old := e.do("GET /v1/nodes/app", "").Header.Get("Etag")
	a := e.do("POST /v1/multi", ops(
		`{"op":"check","path":"/app","version":0,"etag":`+quoted(strings.Trim(old, `"`))+`}`,
		`{"op":"get","path":"app"}`,
		`{"op":"set","path":"app","text":"new","version":0}`,
		`{"op":"get","path":"//app"}`,
		`{"op":"create","path":"app/s-","sequential":true,"data":"AP8="}`,
		`{"op":"create","path":"app/x/y","parents":true,"mode":"persistent"}`,
		`{"op":"put","path":"app/p"}`,
		`{"op":"put","path":"app/p","text":"ü"}`,
		`{"op":"delete","path":"app/x","recursive":true}`,
		`{"op":"check_absent","path":"app/x"}`,
	)).want("200")
	z := a.Header.Get("Perch-Zxid")
	r := a.results()
	if len(r) != 10 || formatZxid(zx(int(a.json()["zxid"].(float64)))) != z {
		t.Fatalf("answer %s", a.body)
	}
	for i, want := range []map[string]any{
		{"op": "check", "path": "/app"}, {"op": "get", "data": "b2xk"}, {"op": "set", "path": "/app"},
		{"op": "get", "data": "bmV3", "etag": z, "path": "/app"}, {"op": "create", "path": "/app/s-0000000000", "etag": z},
		{"op": "create", "path": "/app/x/y"}, {"op": "put", "created": true, "etag": nil},
		{"op": "put", "created": false, "etag": z}, {"op": "delete", "path": "/app/x", "stat": nil},
		{"op": "check_absent", "path": "/app/x", "stat": nil, "code": nil},
	} {
		for name, v := range want {
			if r[i][name] != v {
				t.Errorf("result %d: %s is %v, want %v", i, name, r[i][name], v)
			}
		}
	}
	if stat := r[2]["stat"].(map[string]any); stat["version"] != 1.0 || formatZxid(zx(int(stat["mzxid"].(float64)))) != z {
		t.Errorf("stat %v", stat)
	}
	if got := e.do("GET /v1/nodes/app/s-0000000000", ""); string(got.body) != "\x00\xff" {
		t.Errorf("stored %q", got.body)
	}
	a = e.do("POST /v1/multi?include=text", ops(`{"op":"get","path":"app/p"}`, `{"op":"get","path":"app/s-0000000000"}`)).want("200")
	if r := a.results(); r[0]["text"] != "ü" || r[0]["data"] != nil || r[1]["text"] != nil || r[1]["data"] != "AP8=" {
		t.Errorf("texts %s", a.body)
	}
}

// TestMultiFails answers as the operation that failed, and applies nothing.
func TestMultiFails(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app/child?parents=true", "").want("201")
	e.do("PUT /v1/nodes/e?mode=ephemeral&ttl_ms=5000", "", held(tokenA)).want("201")
	put := `{"op":"put","path":"new","text":"x"}`
	for op, want := range map[string]string{
		`{"op":"create","path":"app"}`: "409 node_exists -110", `{"op":"create","path":"none/x"}`: "404 no_parent",
		`{"op":"create","path":"e/x"}`: "409 no_children_for_ephemerals -108", `{"op":"set","path":"none"}`: "404 no_node -101",
		`{"op":"put","path":"e","mode":"ttl","ttl_ms":5000}`: "409 node_exists -110",
		`{"op":"set","path":"app","version":1}`:              "412 version_mismatch -103", `{"op":"set","path":"app","etag":"1"}`: "412 etag_mismatch",
		`{"op":"set","path":"app","etag":"\"\""}`: "412 etag_mismatch", `{"op":"put","path":"none","version":0}`: "404 no_node -101",
		`{"op":"delete","path":"app"}`: "409 not_empty -111", `{"op":"delete","path":"none"}`: "404 no_node -101",
		`{"op":"check","path":"app","version":1}`: "412 version_mismatch -103", `{"op":"check","path":"none"}`: "404 no_node -101",
		`{"op":"check_absent","path":"app"}`: "412 etag_mismatch", `{"op":"get","path":"none"}`: "404 no_node -101",
		`{"op":"put","path":"perch/x"}`: "403 reserved_path", `{"op":"check_absent","path":"new"}`: "412 etag_mismatch",
	} {
		status, zk, _ := cutLast(want)
		a := e.do("POST /v1/multi", ops(put, op, `{"op":"delete","path":"nowhere"}`)).want(status)
		p := a.json()
		if p["failed_index"] != 1.0 || p["path"] == nil || a.Header.Get("Perch-Zxid") == "" {
			t.Errorf("%s: %s", op, a.body)
		}
		if got, _ := p["zk_code"].(float64); jsonNumber(int(got)) != zk {
			t.Errorf("%s: zk_code %v", op, p["zk_code"])
		}
	}
	e.do("GET /v1/nodes/new", "").want("404 no_node")
	e.do("POST /v1/multi", ops(put), held(tokenB)).want("410 session_expired")
	e.do("POST /v1/multi", ops(`{"op":"get","path":"app"}`), held(tokenB)).want("410 session_expired")
	if p := e.do("POST /v1/multi", ops(put), held(tokenB)).json(); p["failed_index"] != nil {
		t.Errorf("a dead session is the fault of operation %v", p["failed_index"])
	}
}

// cutLast splits "409 node_exists -110"; "0" stands for no number.
func cutLast(want string) (status, zk string, ok bool) {
	parts := strings.Fields(want)
	if len(parts) == 3 {
		return parts[0] + " " + parts[1], parts[2], true
	}
	return want, "0", false
}

// TestReadOnlyMulti is answered from one state and leaves no trace in the log.
func TestReadOnlyMulti(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app", "x").want("201")
	before := e.svc.view().Zxid()
	a := e.do("POST /v1/multi", ops(
		`{"op":"check","path":"app","version":0}`, `{"op":"get","path":"none"}`, `{"op":"check_absent","path":"none"}`,
		`{"op":"get","path":"app"}`, `{"op":"get","path":"/"}`)).want("200")
	r := a.results()
	if len(r) != 5 || r[1]["code"] != "no_node" || r[1]["path"] != "/none" || r[1]["stat"] != nil || r[1]["data"] != nil ||
		r[3]["data"] != "eA==" || r[3]["etag"] != formatZxid(before) || r[3]["code"] != nil || r[4]["data"] != "" {
		t.Errorf("answer %s", a.body)
	}
	for op, want := range map[string]string{
		`{"op":"check","path":"none"}`: "404 no_node", `{"op":"check","path":"app","version":1}`: "412 version_mismatch",
		`{"op":"check_absent","path":"app"}`: "412 etag_mismatch",
	} {
		a := e.do("POST /v1/multi", ops(`{"op":"get","path":"none"}`, op)).want(want)
		if p := a.json(); p["failed_index"] != 1.0 || a.Header.Get("Perch-Zxid") != formatZxid(before) {
			t.Errorf("%s: %s", op, a.body)
		}
	}
	if e.svc.view().Zxid() != before {
		t.Error("it was applied")
	}
}

// TestMultiOfASession makes ephemerals of a session that lives; it opens none.
func TestMultiOfASession(t *testing.T) {
	e := newEdgeTest(t)
	make := ops(`{"op":"create","path":"e","mode":"ephemeral"}`, `{"op":"put","path":"f","mode":"ephemeral"}`)
	e.do("POST /v1/multi", make, held(tokenA)).want("410 session_expired")
	e.do("POST /v1/sessions", "", held(tokenA)).want("201")
	for _, r := range e.do("POST /v1/multi", make, held(tokenA)).want("200").results() {
		if stat := r["stat"].(map[string]any); stat["mode"] != "ephemeral" || stat["ephemeral_owner"] == 0.0 {
			t.Errorf("result %v", r)
		}
	}
	s := e.do("GET /v1/sessions/self", "", held(tokenA)).want("200").json()
	if paths := s["ephemerals"].([]any); len(paths) != 2 || paths[0] != "/e" || paths[1] != "/f" {
		t.Errorf("session %v", s)
	}
}

// FuzzMulti: a body that the checker accepts is a refusal with a code of the
// contract and the operation at fault, or a command that can be written down.
func FuzzMulti(f *testing.F) {
	for _, body := range wellFormed {
		f.Add([]byte(body))
	}
	for _, s := range []string{
		`{"op":"create","path":"a","mode":"ttl","ttl_ms":1000,"data":"AA==","acl":[{"scheme":"ip","id":"::1","perms":"r"}]}`,
		`{"op":"put","path":"/","text":"\ud83d\ude00","version":0,"etag":"\"1\""}`, `{"op":"check_absent","path":"a//b"}`,
		`{"op":"create","path":"a/","sequential":true,"parents":true}`, `{"op":"delete","path":"a","recursive":true}`,
		`{"op":"check_lock","lock":"once/a/k","fencing_token":1}`, `{"op":"add","counter":"c","add":-1}`,
		`{"op":"enqueue","queue":"q","text":"x"}`, `{"op":"ack","queue":"q","receipt":"1-1"}`,
	} {
		f.Add([]byte(ops(s)))
	}
	e := &edge{svc: newTestService()}
	f.Fuzz(func(t *testing.T, body []byte) {
		var q api.TxnRequest
		if checkJSON(body, multiBody) != nil || len(bytes.TrimSpace(body)) == 0 {
			return
		}
		if err := json.Unmarshal(body, &q); err != nil {
			t.Fatalf("%q passes, but: %v", body, err)
		}
		m := &multi{edge: e, asked: q.Ops, owned: true}
		if err := m.parse(); err != nil {
			if f := asFailure(err); f.status >= 500 || f.field == "" || f.failed == nil && f.field != "/ops" {
				t.Fatalf("%q: %v at %q", body, f, f.field)
			}
			return
		}
		if _, err := proto.Marshal(&commandpb.Multi{Ops: m.ops}); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		for i := range m.asked {
			if path := pathOf(&m.asked[i]); m.asked[i].Op != api.Create && !pathless(m.asked[i].Op) && tree.CheckPath(path, tree.PathLimits{}) != nil {
				t.Fatalf("%q: path %q", body, path)
			}
		}
	})
}
