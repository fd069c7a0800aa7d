package handlers

import (
	"strings"
	"testing"

	"perch/gen/commandpb"
)

const admin = `{"grants":[{"prefix":"/","perms":["cluster"]}]}`

func TestPrincipalForm(t *testing.T) {
	e := newEdgeTest(t)
	before := e.svc.view().Zxid()
	grant := func(prefix, perms string) string {
		return `{"grants":[{"prefix":"` + prefix + `","perms":` + perms + `}]}`
	}
	for _, c := range []struct{ body, code, field string }{
		{`{"name":"other","grants":[]}`, "invalid_argument", "/name"}, {`{"root":"a/","grants":[]}`, "invalid_path", "/root"},
		{grant("a//b", `["read"]`), "invalid_path", "/grants/0/prefix"}, {grant("a", `[]`), "invalid_argument", "/grants/0/perms"},
		{grant("a", `["Read"]`), "invalid_argument", "/grants/0/perms/0"}, {grant("a", `["read","fly"]`), "invalid_argument", "/grants/0/perms/1"},
		{grant("a", `["cluster"]`), "invalid_argument", "/grants/0/perms"},
		{`{"root":"/t",` + admin[1:], "invalid_argument", "/grants/0/perms"},
		{grant("a", `["read"`+strings.Repeat(`,"read"`, permsMax)+`]`), "invalid_argument", "/grants/0/perms"},
		{`{"grants":[` + strings.Repeat(`{"prefix":"a","perms":["read"]},`, grantsMax) + `{"prefix":"a","perms":["read"]}]}`, "invalid_argument", "/grants"},
		{``, "invalid_argument", "/grants"}, {`{}`, "invalid_argument", "/grants"}, {`{"disabled":true}`, "invalid_argument", "/grants"},
		{`{"grants":[{}]}`, "invalid_argument", "/grants/0/prefix"}, {`{"grants":[{"perms":["read"]}]}`, "invalid_argument", "/grants/0/prefix"},
		{grant("", `["read"]`), "invalid_argument", "/grants/0/prefix"}, {`{"grants":[{"prefix":"a"}]}`, "invalid_argument", "/grants/0/perms"},
		{`{"grants":[],"etag":"1"}`, "invalid_json", "/etag"}, {`{"grants":{}}`, "invalid_json", "/grants"},
		{grant("a", `"read"`), "invalid_json", "/grants/0/perms"},
	} {
		if p := e.do("PUT /v1/principals/ci", c.body).want("400 " + c.code).json(); p["field"] != c.field {
			t.Errorf("%.80s: field %v, want %s", c.body, p["field"], c.field)
		}
	}
	for _, name := range []string{strings.Repeat("x", 256), "a%0Ab", "a%00", "%FF", "a%C2%85"} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			e.do(method+" /v1/principals/"+name, "").want("400 invalid_argument")
		}
	}
	e.do("GET /v1/principals/a/b", "").want("404 no_such_endpoint")
	e.do("PUT /v1/principals/ci", admin, "If-Match: 1", "If-None-Match: *").want("400 invalid_argument")
	e.do("PUT /v1/principals/ci", admin, "If-None-Match: 1").want("400 invalid_argument")
	e.do("DELETE /v1/principals/ci", "", "If-None-Match: *").want("400 invalid_argument")
	if e.svc.view().Zxid() != before {
		t.Error("something was applied")
	}
}

func TestPrincipals(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/principals/root", admin).want("200")
	body := `{"name":"ci","root":"//teams/a","disabled":true,"grants":[{"prefix":"app","perms":["write","read","write"]}]}`
	a := e.do("PUT /v1/principals/ci", body, "If-None-Match: *").want("200")
	p := a.json()
	tag := a.Header.Get("Etag")
	grants, _ := p["grants"].([]any)
	if p["name"] != "ci" || p["root"] != "/teams/a" || p["disabled"] != true || quoted(p["etag"].(string)) != tag || len(grants) != 1 {
		t.Fatalf("%s with %v", a.body, a.Header)
	}
	if g := grants[0].(map[string]any); g["prefix"] != "/app" || len(g["perms"].([]any)) != 2 || g["perms"].([]any)[0] != "read" {
		t.Errorf("grant %v", g)
	}
	if got := e.do("GET /v1/principals/ci", "").want("200"); got.Header.Get("Etag") != tag || string(got.body) != string(a.body) {
		t.Errorf("%s is read as %s", a.body, got.body)
	}
	e.do("GET /v1/nodes/teams/a", "").want("200")
	e.do("PUT /v1/principals/ci", body, "If-None-Match: *").want("412 etag_mismatch")
	e.do("PUT /v1/principals/ci", body, `If-Match: "1"`).want("412 etag_mismatch")
	e.do("PUT /v1/principals/ci", `{"grants":[]}`, "If-Match: "+tag).want("200")
	e.do("DELETE /v1/principals/ci", "", "If-Match: "+tag).want("412 etag_mismatch")
	e.do("PUT /v1/principals/spiffe:%2F%2Fexample.org%2Fjob", `{"grants":[]}`).want("400 invalid_argument")
	if p := e.do("PUT /v1/principals/example.org:job", `{"grants":[]}`).want("200").json(); p["name"] != "example.org:job" {
		t.Errorf("principal %v", p)
	}
	var names []string
	list := e.do("GET /v1/principals?limit=2", "").want("200").json()
	for _, p := range list["principals"].([]any) {
		names = append(names, p.(map[string]any)["name"].(string))
	}
	next := e.do("GET /v1/principals?page_token="+list["next_page_token"].(string), "").want("200").json()
	if strings.Join(names, " ") != "ci example.org:job" || len(next["principals"].([]any)) != 1 || next["next_page_token"] != nil {
		t.Errorf("%v and %v", list, next)
	}
	e.do("DELETE /v1/principals/ci", "").want("204")
	e.do("DELETE /v1/principals/ci", "").want("404 no_such_principal")
	e.do("GET /v1/principals/ci", "").want("404 no_such_principal")
	e.do("PUT /v1/principals/ci", body, "If-Match: *").want("412 etag_mismatch")
}

func TestWhoami(t *testing.T) {
	e := newEdgeTest(t)
	a := e.do("GET /v1/whoami", "").want("200")
	if m := a.json(); m["principal"] != "" || len(m["grants"].([]any)) != 1 || m["root"] != nil || m["roles"] != nil {
		t.Errorf("nobody, who may do everything, is %s", a.body)
	}
	e.do("PUT /v1/principals/ci", `{"grants":[{"prefix":"app","perms":["read","use"]}]}`).want("200")
	e.do("PUT /v1/principals/dev", `{"grants":[{"prefix":"dev","perms":["admin"]}]}`).want("200")
	if turned, err := e.svc.EnableAuth(t.Context(), "root", [32]byte{1}); !turned || err != nil {
		t.Fatal(turned, err)
	}
	a = e.do("GET /v1/whoami", "").want("401 unauthenticated")
	if a.Header.Get("Www-Authenticate") != "Bearer" || a.json()["zk_code"] != -115.0 {
		t.Errorf("%s with %v", a.body, a.Header)
	}
	ci := &commandpb.Caller{Principal: "ci", Roles: []string{"dev"}, Address: "192.0.2.1", Certificate: "spiffe://a/b"}
	m := e.as(ci, "GET /v1/whoami", "").want("200").json()
	if m["principal"] != "ci" || m["address"] != "192.0.2.1" || m["certificate"] != "spiffe://a/b" || len(m["roles"].([]any)) != 1 || len(m["grants"].([]any)) != 2 {
		t.Errorf("ci is %v", m)
	}
}
