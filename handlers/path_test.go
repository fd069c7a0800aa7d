package handlers

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"perch/tree"
)

func TestPaths(t *testing.T) {
	e := newEdgeTest(t)
	for _, p := range []string{"a", "a/b", "a b", "a%b", "\u00e4", "a\u0308", "a,b", "a?b#c", "+", "a;b", "...", "a:b@c=&", "~", "日本"} {
		e.do("PUT /v1/nodes/"+url.PathEscape(p), p).want("201")
	}
	for sent, node := range map[string]string{
		"a": "a", "/a": "a", "//a": "a", "%2Fa": "a", "%2fa": "a", "/%2F/a": "a", "%61": "a",
		"a/b": "a/b", "a%2Fb": "a/b", "%2Fa%2Fb": "a/b", "//a/b": "a/b", "a%2fb": "a/b",
		"a%20b": "a b", "a%25b": "a%b", "a%2525b": "", "%C3%A4": "\u00e4", "a%CC%88": "a\u0308", "a,b": "a,b", "a%2Cb": "a,b",
		"a%3Fb%23c": "a?b#c", "+": "+", "%2B": "+", "a;b": "a;b", "a%3Bb": "a;b", "...": "...", "a:b@c=&": "a:b@c=&",
		"~": "~", "%7E": "~", "%E6%97%A5%E6%9C%AC": "日本",
	} {
		a := e.do("GET /v1/nodes/"+sent, "")
		if node == "" {
			a.want("404 no_node")
			continue
		}
		if a.want("200"); string(a.body) != node {
			t.Errorf("%s is %q, want %q", sent, a.body, node)
		}
		for _, prefix := range []string{"/v1/stat/", "/v1/children/"} {
			e.do("GET "+prefix+sent, "").want("200")
		}
		e.do("GET /v1/watch/"+sent+"?since=0", "").want("200")
	}
	for _, root := range []string{"", "/", "//", "%2F", "%2f%2F"} {
		e.do("GET /v1/nodes/"+root, "").want("200")
		if p := e.do("GET /v1/stat/"+root, "").want("200").json(); p["path"] != "/" {
			t.Errorf("root as %q is %v", root, p["path"])
		}
		e.do("DELETE /v1/nodes/"+root, "").want("400 invalid_argument")
		e.do("POST /v1/nodes/"+root, "").want("400 invalid_argument")
		e.do("PUT /v1/nodes/"+root, "", "If-None-Match: *").want("412 etag_mismatch")
	}
}

func TestForbiddenPaths(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/a", "").want("201")
	for name, p := range map[string]string{
		"empty segment": "a//b", "escaped empty segment": "a%2F%2Fb", "dot": "a/.", "dots": "a/..", "escaped dots": "a/%2e%2E",
		"dots first": "../a", "escaped slash dots": "a%2F..%2Fb", "trailing slash": "a/", "escaped trailing slash": "a%2F",
		"NUL": "a%00b", "control": "a%01", "newline": "a%0Ab", "escape": "a%1B%5B31m", "DEL": "a%7F", "C1": "a%C2%85",
		"private use": "a%EE%80%80", "specials": "a%EF%BF%BD", "beyond the BMP": "a%F0%9F%98%80",
		"not UTF-8": "a%FF", "overlong": "a%C0%AF", "surrogate": "a%ED%A0%80", "cut short": "a%E2%82",
		"too long": strings.Repeat("x", 1024), "too deep": strings.Repeat("x/", 64) + "x",
		"long and escaped": strings.Repeat("%C3%A4", 512),
	} {
		t.Run(name, func(t *testing.T) {
			e := &edgeTest{T: t, svc: e.svc, h: e.h, log: e.log}
			for _, line := range []string{
				"GET /v1/nodes/", "HEAD /v1/nodes/", "PUT /v1/nodes/", "POST /v1/nodes/", "DELETE /v1/nodes/",
				"GET /v1/stat/", "GET /v1/children/", "GET /v1/watch/", "GET /v1/stream/",
			} {
				e.do(line+p, "").want("400 invalid_path")
			}
		})
	}
	longest := strings.Repeat("x", 1023)
	e.do("PUT /v1/nodes/"+longest, "").want("201")
	deepest := strings.TrimSuffix(strings.Repeat("y/", 64), "/")
	e.do("PUT /v1/nodes/"+deepest+"?parents=true", "").want("201")
}

func TestSequentialPaths(t *testing.T) {
	e := newEdgeTest(t)
	e.do("POST /v1/nodes/p", "").want("201")
	for _, c := range [][2]string{
		{"p/", "/p/0000000000"}, {"p/n-", "/p/n-0000000001"}, {"%2Fp%2F", "/p/0000000002"}, {"p/.", "/p/.0000000003"},
	} {
		a := e.do("POST /v1/nodes/"+c[0]+"?sequential=true", "").want("201")
		if a.json()["path"] != c[1] || a.Header.Get("Location") != "/v1/nodes"+c[1] {
			t.Errorf("%s is %s at %s", c[0], a.body, a.Header.Get("Location"))
		}
	}
	if a := e.do("POST /v1/nodes/?sequential=true", "").want("201"); a.json()["path"] != "/0000000001" {
		t.Errorf("at the root: %s", a.body)
	}
	e.do("POST /v1/nodes/p/?sequential=false", "").want("400 invalid_path")
	e.do("POST /v1/nodes/p//?sequential=true", "").want("400 invalid_path")
	e.do("PUT /v1/nodes/p/", "").want("400 invalid_path")
}

func TestLocationIsEscaped(t *testing.T) {
	e := newEdgeTest(t)
	for _, p := range []string{"a b", "ä", "a?b#c", "100%", "a;b,c"} {
		a := e.do("PUT /v1/nodes/"+url.PathEscape(p), p).want("201")
		got := e.do("GET "+a.Header.Get("Location"), "").want("200")
		if string(got.body) != p {
			t.Errorf("%q is at %q: %q", p, a.Header.Get("Location"), got.body)
		}
	}
}

// FuzzPath: whatever is sent, the handlers get either a canonical path, which
// sent again is the same, or the request is refused; and nothing is decoded
// twice.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"a", "//a/b", "%2Fa%2Fb", "a%2525", "a%00", "..", "a/", "%zz", "", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, tail string) {
		u, err := url.ParseRequestURI("/v1/nodes/" + tail)
		if err != nil {
			t.Skip() // net/http answers these
		}
		r := &http.Request{URL: u}
		if !strings.HasPrefix(sentPath(r), "/v1/nodes/") {
			t.Skip()
		}
		want := "/" + strings.TrimLeft(strings.TrimPrefix(u.Path, "/v1/nodes/"), "/")
		if f := foldPath(nil, r); f != nil {
			t.Fatal(f)
		}
		segment := strings.TrimPrefix(r.URL.RawPath, "/v1/nodes/")
		got, err := url.PathUnescape(segment)
		if err != nil || strings.Contains(segment, "/") || got != want {
			t.Fatalf("%q becomes %q, %q, want %q: %v", tail, segment, got, want, err)
		}
		if tree.CheckPath(got, tree.PathLimits{}) != nil {
			return
		}
		again := &http.Request{URL: &url.URL{Path: "/v1/nodes" + got}}
		if foldPath(nil, again); again.URL.RawPath != r.URL.RawPath {
			t.Fatalf("%q is not canonical", got)
		}
		location, err := url.ParseRequestURI(nodeLocation(got))
		if err != nil || location.Path != "/v1/nodes"+got {
			t.Fatalf("Location of %q: %v", got, err)
		}
	})
}
