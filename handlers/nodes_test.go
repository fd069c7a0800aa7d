package handlers

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"perch/lease"
)

func TestPutNode(t *testing.T) {
	e := newEdgeTest(t)
	a := e.do("PUT /v1/nodes/app", "one", "Content-Type: application/x-www-form-urlencoded").want("201")
	n := a.json()
	z := a.Header.Get("Perch-Zxid")
	if n["path"] != "/app" || n["etag"] != z || a.Header.Get("ETag") != quoted(z) || a.Header.Get("Location") != "/v1/nodes/app" {
		t.Errorf("%s with %v", a.body, a.Header)
	}
	e.do("PUT /v1/nodes/app", "two").want("200")
	e.do("PUT /v1/nodes/app", "", "If-None-Match: *").want("412 etag_mismatch")
	e.do("PUT /v1/nodes/app", "", "If-Match: "+quoted(z)).want("412 etag_mismatch")
	e.do("PUT /v1/nodes/none", "", "If-Match: *").want("412 etag_mismatch")
	e.do("PUT /v1/nodes/none", "", "If-Match: 1").want("412 etag_mismatch")
	e.do("PUT /v1/nodes/none?version=0", "").want("404 no_node")
	e.do("PUT /v1/nodes/app?version=0", "").want("412 version_mismatch")
	e.do("PUT /v1/nodes/app?version=1", "three").want("200")
	e.do("PUT /v1/nodes/app", "four", "If-Match: *").want("200")
	a = e.do("GET /v1/nodes/app", "").want("200")
	e.do("PUT /v1/nodes/app", "five", "If-Match: W/"+a.Header.Get("ETag")).want("200")
	e.do("PUT /v1/nodes/app", "", `If-Match: ""`).want("412 etag_mismatch")
	e.do("PUT /v1/nodes/app?version=1", "", "If-Match: 1").want("400 invalid_argument")
	e.do("PUT /v1/nodes/app", "", "If-Match: 1", "If-None-Match: *").want("400 invalid_argument")
	e.do("PUT /v1/nodes/app", "", "If-Match: 1, 2").want("400 invalid_argument")
	e.do("PUT /v1/nodes/app", "", "If-Match: 1", "If-Match: 2").want("400 invalid_argument")
	e.do("PUT /v1/nodes/app", "", "If-None-Match: 1").want("400 invalid_argument")
	e.do("PUT /v1/nodes/app?version=-1", "").want("400 invalid_argument")
	e.do("PUT /v1/nodes/app", "", "If-Unmodified-Since: Sat, 21 Nov 2026 00:00:00 GMT").want("400 invalid_argument")
	e.do("PUT /v1/nodes/app", "x", "Content-Range: bytes 3-3/4").want("400 invalid_argument")
	e.do("POST /v1/nodes/app", "", "If-None-Match: *").want("400 invalid_argument")
	e.do("PUT /v1/nodes/x/y", "").want("404 no_parent")
	e.do("PUT /v1/nodes/x/y?parents=true", "").want("201")
	e.do("PUT /v1/nodes/perch/locks/x?parents=true", "").want("403 reserved_path")
	e.do("POST /v1/nodes/perch", "").want("403 reserved_path")
	e.do("DELETE /v1/nodes/perch/x", "").want("403 reserved_path")
	for _, mode := range []string{"ttl", "ttl&ttl_ms=999", "container", "container&ttl_ms=5000", "persistent", "EPHEMERAL", ""} {
		e.do("PUT /v1/nodes/app?mode="+mode, "", held(tokenA)).want("400 invalid_argument")
	}
}

func TestCreateNode(t *testing.T) {
	e := newEdgeTest(t)
	a := e.do("POST /v1/nodes/app", "a=1&b=2", "Content-Type: application/x-www-form-urlencoded").want("201")
	if a.Header.Get("Location") != "/v1/nodes/app" || a.Header.Get("ETag") != quoted(a.Header.Get("Perch-Zxid")) {
		t.Errorf("headers %v", a.Header)
	}
	if got := e.do("GET /v1/nodes/app", ""); string(got.body) != "a=1&b=2" {
		t.Errorf("stored %q", got.body)
	}
	a = e.do("POST /v1/nodes/app", "").want("409 node_exists")
	if a.json()["path"] != "/app" || a.Header.Get("Perch-Zxid") == "" {
		t.Errorf("%s with %v", a.body, a.Header)
	}
	e.do("POST /v1/nodes/x/y", "").want("404 no_parent")
	e.do("POST /v1/nodes/x/y?parents=true", "").want("201")
	for _, mode := range []string{"ttl", "ttl&ttl_ms=86400001", "container&ttl_ms=5000", "Ephemeral", "sequential", ""} {
		e.do("POST /v1/nodes/m?mode="+mode, "", held(tokenA)).want("400 invalid_argument")
	}
	e.do("POST /v1/nodes/m?mode=persistent", "").want("201")
	e.do("POST /v1/nodes/m2?ttl_ms=5000", "").want("400 invalid_argument")
	e.do("POST /v1/nodes/m2?mode=persistent&ttl_ms=5000", "", held(tokenA)).want("400 invalid_argument")
}

// TestModes makes nodes that end by themselves, and sees them do it.
func TestModes(t *testing.T) {
	e := newEdgeTest(t)
	stat := func(a *answer) map[string]any { return a.json()["stat"].(map[string]any) }
	if s := stat(e.do("PUT /v1/nodes/t?mode=ttl&ttl_ms=5000", "x").want("201")); s["mode"] != "ttl" || s["ttl_ms"] != 5000.0 {
		t.Errorf("stat %v", s)
	}
	if s := stat(e.do("PUT /v1/nodes/t?mode=ttl&ttl_ms=6000", "y").want("200")); s["mode"] != "ttl" || s["ttl_ms"] != 6000.0 {
		t.Errorf("stat %v", s)
	}
	if s := stat(e.do("PUT /v1/nodes/t", "z").want("200")); s["mode"] != "ttl" || s["ttl_ms"] != 6000.0 {
		t.Errorf("stat %v", s)
	}
	e.do("PUT /v1/nodes/t?mode=ephemeral&ttl_ms=5000", "", held(tokenA)).want("409 node_exists")
	e.do("PUT /v1/nodes/p", "").want("201")
	e.do("PUT /v1/nodes/p?mode=ttl&ttl_ms=5000", "").want("409 node_exists")
	e.do("POST /v1/nodes/s-?mode=ttl&ttl_ms=5000&sequential=true", "").want("201")
	if s := stat(e.do("POST /v1/nodes/c?mode=container", "").want("201")); s["mode"] != "container" || s["ttl_ms"] != nil {
		t.Errorf("stat %v", s)
	}
	e.do("POST /v1/nodes/c/child", "").want("201")
	e.do("DELETE /v1/nodes/c/child", "").want("204")
	e.svc.reap("/t", "/c")
	e.do("GET /v1/nodes/t", "").want("404 no_node")
	events := e.do("GET /v1/watch/?since=0&scope=subtree", "").json()["events"].([]any)
	last := events[len(events)-2:]
	if a, b := last[0].(map[string]any), last[1].(map[string]any); a["path"] != "/t" || a["cause"] != "ttl" || b["path"] != "/c" || b["cause"] != "container" {
		t.Errorf("events %v", last)
	}
}

func TestDeleteNode(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/nodes/a/b/c?parents=true", "").want("201")
	e.do("DELETE /v1/nodes/a", "").want("409 not_empty")
	e.do("DELETE /v1/nodes/a/b/c?version=1", "").want("412 version_mismatch")
	e.do("DELETE /v1/nodes/a/b/c", "", "If-Match: 1").want("412 etag_mismatch")
	e.do("DELETE /v1/nodes/a/b/c", "", "If-None-Match: *").want("400 invalid_argument")
	if a := e.do("DELETE /v1/nodes/a/b/c?version=0", "").want("204"); len(a.body) != 0 {
		t.Errorf("body %q", a.body)
	}
	e.do("DELETE /v1/nodes/a?recursive=true", "").want("204")
	if a := e.do("DELETE /v1/nodes/a", "").want("404 no_node"); a.Header.Get("ETag") != `"absent"` {
		t.Errorf("headers %v", a.Header)
	}
	e.do("DELETE /v1/nodes/a", "", "If-Match: *").want("412 etag_mismatch")
}

func TestEphemerals(t *testing.T) {
	e := newEdgeTest(t)
	for _, method := range []string{"PUT", "POST"} {
		e.do(method+" /v1/nodes/e?mode=ephemeral", "").want("400 invalid_argument")
		e.do(method+" /v1/nodes/e?mode=ephemeral&ttl_ms=5000", "").want("400 invalid_argument")
		e.do(method+" /v1/nodes/e?mode=ephemeral", "", held(tokenA)).want("410 session_expired")
		for _, ttl := range []string{"0", "-1", "999", "86400001"} {
			e.do(method+" /v1/nodes/e?mode=ephemeral&ttl_ms="+ttl, "", held(tokenA)).want("400 invalid_argument")
		}
	}
	a := e.do("POST /v1/nodes/e?mode=ephemeral&ttl_ms=5000", "x", held(tokenA)).want("201")
	if a.Header.Get("Perch-Session-Remaining-Ms") != "5000" || a.json()["stat"].(map[string]any)["mode"] != "ephemeral" {
		t.Errorf("%s with %v", a.body, a.Header)
	}
	owner := a.json()["stat"].(map[string]any)["ephemeral_owner"]
	e.do("POST /v1/nodes/e/child", "").want("409 no_children_for_ephemerals")
	e.do("POST /v1/sessions", "", held(tokenB)).want("201")
	for _, line := range []string{"PUT /v1/nodes/e", "PUT /v1/nodes/e?mode=ephemeral", "POST /v1/nodes/e"} {
		p := e.do(line, "", held(tokenB)).want("409 node_exists").json()
		if h, _ := p["holder"].(map[string]any); h == nil || h["session_id"] != owner {
			t.Errorf("%s: %v", line, p)
		}
	}
	for _, headers := range [][]string{nil, {held(tokenB)}} {
		if p := e.do("PUT /v1/nodes/e?takeover=true", "", headers...).want("400 invalid_argument").json(); p["field"] != "takeover" {
			t.Errorf("a takeover of no kind is refused for %v", p["field"])
		}
	}
	a = e.do("PUT /v1/nodes/e?mode=ephemeral&takeover=true", "y", held(tokenB)).want("200")
	if got := a.json()["stat"].(map[string]any)["ephemeral_owner"]; got == owner {
		t.Errorf("the owner is still %v", got)
	}
	e.svc.expire(t, tokenA)
	e.do("GET /v1/nodes/e", "").want("200")
	e.svc.expire(t, tokenB)
	e.do("GET /v1/nodes/e", "").want("404 no_node")
}

func TestReadNode(t *testing.T) {
	e := newEdgeTest(t)
	value := bytes.Repeat([]byte{0, 0xFF, '\n', '<'}, 1<<18)
	e.do("PUT /v1/nodes/big", string(value)).want("201")
	a := e.do("GET /v1/nodes/big", "", "Accept: text/html", "Range: bytes=0-9", "Accept-Encoding: gzip").want("200")
	if !bytes.Equal(a.body, value) || a.Header.Get("Content-Type") != "application/octet-stream" || a.Header.Get("Content-Encoding") != "" {
		t.Errorf("%d bytes with %v", len(a.body), a.Header)
	}
	h := e.do("HEAD /v1/nodes/big", "").want("200")
	for _, name := range []string{"ETag", "Perch-Zxid", "Perch-Data-Version", "Content-Length", "Content-Type"} {
		if h.Header.Get(name) != a.Header.Get(name) || h.Header.Get(name) == "" {
			t.Errorf("%s is %q of HEAD, %q of GET", name, h.Header.Get(name), a.Header.Get(name))
		}
	}
	e.do("PUT /v1/nodes/empty", "").want("201")
	if a := e.do("GET /v1/nodes/empty", "").want("200"); len(a.body) != 0 {
		t.Errorf("body %q", a.body)
	}
	e.do("GET /v1/nodes/empty", "", `If-None-Match: "1", "2"`).want("400 invalid_argument")
	if a := e.do("HEAD /v1/nodes/none", "").want("404 no_node"); a.Header.Get("ETag") != `"absent"` {
		t.Errorf("headers %v", a.Header)
	}
}

func TestStatNode(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/text", "grüß").want("201")
	e.do("PUT /v1/nodes/raw", "\xff\x00").want("201")
	e.do("PUT /v1/nodes/none", "").want("201")
	for _, c := range []struct {
		target     string
		data, text any
	}{
		{"text", nil, nil}, {"text?include=stat", nil, nil}, {"text?include=text", nil, "grüß"},
		{"text?include=data", base64.StdEncoding.EncodeToString([]byte("grüß")), nil},
		{"text?include=data,text", base64.StdEncoding.EncodeToString([]byte("grüß")), "grüß"},
		{"raw?include=text", "/wA=", nil}, {"raw?include=text,data,stat", "/wA=", nil},
		{"none?include=data", "", nil}, {"none?include=text", nil, ""},
	} {
		a := e.do("GET /v1/stat/"+c.target, "").want("200")
		n := a.json()
		if n["data"] != c.data || n["text"] != c.text {
			t.Errorf("%s: %s", c.target, a.body)
		}
		stat := n["stat"].(map[string]any)
		want := formatZxid(zx(int(stat["mzxid"].(float64)))) + "-" + formatZxid(zx(int(stat["pzxid"].(float64)))) + "-0"
		if a.Header.Get("ETag") != quoted(want) || n["etag"] != formatZxid(zx(int(stat["mzxid"].(float64)))) {
			t.Errorf("tag %s, %v", a.Header.Get("ETag"), n["etag"])
		}
		if !strings.HasSuffix(stat["ctime"].(string), "Z") {
			t.Errorf("ctime %v", stat["ctime"])
		}
	}
	e.do("GET /v1/stat/text?include=all", "").want("400 invalid_argument")
	e.do("GET /v1/stat/text?include=data,,text", "").want("400 invalid_argument")
}

func TestListChildren(t *testing.T) {
	e := newEdgeTest(t)
	for _, p := range []string{"d", "a", "c", "b", "e"} {
		e.do("POST /v1/nodes/"+p, p).want("201")
	}
	zxid := formatZxid(e.svc.view().Zxid())
	names, page := "", ""
	for {
		a := e.do("GET /v1/children/?limit=2"+page, "").want("200")
		m := a.json()
		if a.Header.Get("Perch-Zxid") != zxid || m["cursor"] != zxid || a.Header.Get("ETag") != `"c`+zxid+`"` || m["etag"] != "c"+zxid {
			t.Errorf("page %s with %v", a.body, a.Header)
		}
		for _, raw := range m["nodes"].([]any) {
			n := raw.(map[string]any)
			if len(n) != 1 {
				t.Errorf("entry %v", n)
			}
			names += n["path"].(string)
		}
		next, ok := m["next_page_token"].(string)
		if !ok {
			break
		}
		page = "&page_token=" + next
		e.do("POST /v1/nodes/ba", "") // not on the pages that follow
		e.do("GET /v1/children/?limit=2"+page, "", "If-None-Match: c"+zxid).want("200")
	}
	if names != "/a/b/c/d/e" {
		t.Errorf("children %s", names)
	}
	a := e.do("GET /v1/children/?include=stat,text", "", "If-None-Match: c"+zxid).want("200")
	first := a.json()["nodes"].([]any)[0].(map[string]any)
	if a.Header.Get("ETag") != "" || a.json()["etag"] != nil || first["text"] != "a" || first["stat"] == nil || first["etag"] == nil {
		t.Errorf("%s with %v", a.body, a.Header)
	}
	e.do("GET /v1/children/none", "").want("404 no_node")
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "page_token=" + strings.Repeat("x", 513), "include=acl"} {
		e.do("GET /v1/children/?"+bad, "").want("400 invalid_argument")
	}
	e.do("GET /v1/children/?page_token=gone", "").want("410 page_expired")
}

// TestBodies: sizes known and unknown, and bodies that break off.
func TestBodies(t *testing.T) {
	e := newEdgeTest(t)
	full := strings.Repeat("x", valueBytesMax)
	for _, chunked := range []bool{false, true} {
		for _, c := range []struct{ line, body, want string }{
			{"PUT /v1/nodes/full", full, ""}, {"PUT /v1/nodes/over", full + "x", "413 too_large"},
			{"POST /v1/nodes/over", full + "x", "413 too_large"}, {"PUT /v1/nodes/over", full + full + full, "413 too_large"},
			{"POST /v1/sessions", `{"ttl_ms":1000` + strings.Repeat(" ", jsonBytesMax) + `}`, "413 too_large"},
			{"PUT /v1/nodes/small", "y", ""},
		} {
			r := request(c.line, c.body)
			if chunked {
				r.ContentLength = -1
			}
			a := e.serve(r)
			if c.want != "" {
				if a.want(c.want); a.json()["limit"] == nil {
					t.Errorf("%s: %s", c.line, a.body)
				}
			} else if a.StatusCode >= 300 {
				t.Errorf("%s, chunked %v: %d %s", c.line, chunked, a.StatusCode, a.body)
			}
		}
	}
	e.do("GET /v1/nodes/over", "").want("404 no_node")
	r := request("PUT /v1/nodes/short", "four")
	r.ContentLength = 5
	e.serve(r).want("400 invalid_argument")
	r = httptest.NewRequest("PUT", "/v1/nodes/broken", io.MultiReader(strings.NewReader("x"), brokenReader{}))
	r.Host = "localhost"
	e.serve(r).want("400 invalid_argument")
	e.do("PUT /v1/nodes/a", "x", "Content-Encoding: identity").want("201")
	e.do("PUT /v1/nodes/a", "x", "Content-Encoding: identity", "Content-Encoding: gzip").want("415 unsupported_encoding")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

// TestCommittedLimits: the value limit may have been lowered by a command.
func TestCommittedLimits(t *testing.T) {
	e := newEdgeTest(t)
	s := lease.DefaultSettings()
	s.ValueBytes, s.PathBytes = 10, 20
	e.svc.state = lease.New(s)
	e.do("PUT /v1/nodes/a", "12345678901").want("413 too_large")
	e.do("PUT /v1/nodes/a", "1234567890").want("201")
	e.do("PUT /v1/nodes/"+strings.Repeat("x", 20), "").want("400 invalid_path")
}

// TestSwitchesAreTrueOrFalse: the words of the contract and no others.
func TestSwitchesAreTrueOrFalse(t *testing.T) {
	e := newEdgeTest(t)
	for _, value := range []string{"1", "T", "TRUE", "yes", "0"} {
		e.do("DELETE /v1/nodes/a?recursive="+value, "").want("400 invalid_argument")
		e.do("PUT /v1/nodes/a?parents="+value, "").want("400 invalid_argument")
	}
	e.do("PUT /v1/nodes/a/b?parents=true", "").want("201")
	e.do("DELETE /v1/nodes/a?recursive=false", "").want("409 not_empty")
}
