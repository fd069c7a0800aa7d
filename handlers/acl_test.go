package handlers

import (
	"strings"
	"testing"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/tree"
)

// entries is the body of an ACL; each entry is "scheme id perms".
func entries(list ...string) string {
	var b []string
	for _, entry := range list {
		part := strings.Split(entry, " ")
		b = append(b, `{"scheme":"`+part[0]+`","id":"`+part[1]+`","perms":"`+part[2]+`"}`)
	}
	return `{"entries":[` + strings.Join(b, ",") + `]}`
}

// entriesOf are those of an answer, as entries takes them.
func (a *answer) entriesOf() string {
	a.t.Helper()
	var out []string
	list, _ := a.json()["entries"].([]any)
	for _, entry := range list {
		m := entry.(map[string]any)
		out = append(out, m["scheme"].(string)+" "+m["id"].(string)+" "+m["perms"].(string))
	}
	return strings.Join(out, ", ")
}

func TestPerms(t *testing.T) {
	for letters, want := range map[string]tree.Perms{
		"c": tree.PermCreate, "d": tree.PermDelete, "r": tree.PermRead, "w": tree.PermWrite, "a": tree.PermAdmin,
		"cdrwa": tree.PermAll, "awrdc": tree.PermAll, "rr": tree.PermRead,
	} {
		if got, ok := parsePerms(letters); !ok || got != want {
			t.Errorf("%s is %d", letters, got)
		}
	}
	for _, bad := range []string{"", "x", "R", "cdrwac", " r", "rwx", "é"} {
		if _, ok := parsePerms(bad); ok {
			t.Errorf("%q passes", bad)
		}
	}
	if got := formatPerms(tree.PermAll); got != "cdrwa" {
		t.Errorf("all are %s", got)
	}
}

func TestACLTags(t *testing.T) {
	for tag, ok := range map[string]bool{
		"a812-0": true, "a812-3": true, "812-3": false, "a812": false, "a812-": false, "a-1": false, "a812--1": false,
		"a0812-1": false, "a812-01": false, "aa812-1": false, "": false, "d1": false, "a812-3-4": false,
	} {
		if _, _, got := (tagMatch{tag: tag}).acl(); got != ok {
			t.Errorf("%q is one: %v", tag, got)
		}
	}
	for tag, ok := range map[string]bool{"d0": true, "d812": true, "812": false, "d": false, "d01": false, "d-1": false, "": false} {
		if _, got := (tagMatch{tag: tag}).defaultACL(); got != ok {
			t.Errorf("%q is one: %v", tag, got)
		}
	}
}

func TestACLForm(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app", "").want("201")
	before := e.svc.view().Zxid()
	many := make([]string, aclEntriesMax+1)
	for i := range many {
		many[i] = "principal p" + jsonNumber(i) + " r"
	}
	good := entries("world anyone r")
	for _, c := range []struct{ body, code, field string }{
		{``, "invalid_acl", "/entries"}, {`{}`, "invalid_acl", "/entries"}, {`{"entries":[]}`, "invalid_acl", "/entries"},
		{entries(many...), "invalid_acl", "/entries"}, {`{"entries":[{}]}`, "invalid_acl", "/entries/0/perms"},
		{entries("world anyone r", "world anyone rx"), "invalid_acl", "/entries/1/perms"},
		{entries("world anyone R"), "invalid_acl", "/entries/0/perms"},
		{entries("aschemetoolongtobe x r"), "invalid_acl", "/entries/0/scheme"},
		{entries("principal " + strings.Repeat("x", 1025) + " r"), "invalid_acl", "/entries/0/id"},
		{entries("world anyone r", "auth x r"), "invalid_acl", "/entries/1/scheme"}, {entries("kerberos x r"), "invalid_acl", "/entries/0/scheme"},
		{entries("world all r"), "invalid_acl", "/entries/0/id"}, {entries("digest bob:secret r"), "invalid_acl", "/entries/0/id"},
		{entries("world anyone r", "ip 1.2.3 r"), "invalid_acl", "/entries/1/id"}, {entries("x509 CN=x r"), "invalid_acl", "/entries/0/id"},
		{entries("principal a\\nb r"), "invalid_acl", "/entries/0/id"}, {`{"entries":[{"perms":"r"}]}`, "invalid_acl", "/entries/0/scheme"},
		{`{"entries":[{"scheme":"world","id":"anyone","perms":["r"]}]}`, "invalid_json", "/entries/0/perms"},
		{`{"entries":null}`, "invalid_json", "/entries"}, {`{"acl":[]}`, "invalid_json", "/acl"},
	} {
		for _, line := range []string{"PUT /v1/acl/app", "PUT /v1/acl-default/app"} {
			if p := e.do(line, c.body).want("400 " + c.code).json(); p["field"] != c.field && c.field != "" || p["detail"] == nil {
				t.Errorf("%s %.60s: field %v, want %s: %v", line, c.body, p["field"], c.field, p["detail"])
			}
		}
	}
	withAversion := `{"aversion":-1,` + good[1:]
	e.do("PUT /v1/acl/app", withAversion).want("400 invalid_argument")
	e.do("PUT /v1/acl/app", `{"aversion":1,`+good[1:], "If-Match: a812-2").want("400 invalid_argument")
	e.do("PUT /v1/acl-default/app", `{"aversion":0,`+good[1:]).want("400 invalid_argument")
	for _, line := range []string{"PUT /v1/acl/", "PUT /v1/acl-default/"} {
		e.do(line+"a/../b", good).want("400 invalid_path")
		e.do(line+"app", good, "If-None-Match: *").want("400 invalid_argument")
		e.do(line+"app", good, "If-Match: 1, 2").want("400 invalid_argument")
	}
	if e.svc.view().Zxid() != before {
		t.Error("something was applied")
	}
}

func TestACL(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app", "").want("201")
	e.do("PUT /v1/nodes/app/sub", "").want("201")
	a := e.do("GET /v1/acl/app", "").want("200")
	tag := a.Header.Get("Etag")
	if a.entriesOf() != "world anyone cdrwa" || a.json()["aversion"] != 0.0 || !strings.HasPrefix(tag, `"a`) {
		t.Errorf("%s with tag %s", a.body, tag)
	}
	secret := "digest bob:" + strings.Repeat("A", 27) + "= a"
	a = e.do("PUT /v1/acl/app", entries("world anyone wr", secret, "world anyone rw"), "If-Match: "+tag).want("200")
	if n := a.json(); n["path"] != "/app" || a.Header.Get("Etag") == tag || n["stat"].(map[string]any)["aversion"] != 1.0 {
		t.Errorf("%s with %v", a.body, a.Header)
	}
	next := a.Header.Get("Etag")
	a = e.do("GET /v1/acl/app", "").want("200")
	if a.entriesOf() != "world anyone rw, digest bob:x a" || a.Header.Get("Etag") != next {
		t.Errorf("%s with tag %s", a.body, a.Header.Get("Etag"))
	}
	if got := e.do("GET /v1/acl/app/sub", "").entriesOf(); got != "world anyone cdrwa" {
		t.Errorf("it is inherited: %s", got)
	}
	p := e.do("PUT /v1/acl/app", entries("world anyone cdrwa")).want("403 permission_denied").json()
	if p["zk_code"] != -102.0 {
		t.Errorf("problem %v", p)
	}
	e.do("DELETE /v1/nodes/app/sub", "").want("403 permission_denied")
	e.do("PUT /v1/acl/app/sub", entries("world anyone cdra"), "If-Match: "+tag).want("412 etag_mismatch")
	e.do("PUT /v1/acl/app/sub", entries("world anyone cdra"), `If-Match: "812"`).want("412 etag_mismatch")
	e.do("PUT /v1/acl/app/sub", `{"aversion":1,`+entries("world anyone cdra")[1:]).want("412 version_mismatch")
	e.do("PUT /v1/acl/app/sub", `{"aversion":0,`+entries("world anyone cdra")[1:], "If-Match: *").want("200")
	e.do("PUT /v1/nodes/app/sub", "x").want("403 permission_denied")
	e.do("PUT /v1/acl/none", entries("world anyone r")).want("404 no_node")
	e.do("GET /v1/acl/none", "").want("404 no_node")
	ann := &commandpb.Caller{Principal: "ann"}
	e.as(ann, "PUT /v1/acl/app/sub", entries("auth x rwa")).want("200")
	if got := e.as(ann, "GET /v1/acl/app/sub", "").entriesOf(); got != "principal ann rwa" {
		t.Errorf("auth of ann is %s", got)
	}
}

func TestDefaultACL(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app", "").want("201")
	a := e.do("GET /v1/acl-default/app", "").want("200")
	if a.entriesOf() != "" || a.Header.Get("Etag") != `"d0"` {
		t.Errorf("%s with %v", a.body, a.Header)
	}
	e.do("PUT /v1/acl-default/app", entries("world anyone r"), "If-Match: *").want("412 etag_mismatch")
	a = e.do("PUT /v1/acl-default/app", entries("world anyone cdr", "principal ci cdrwa"), `If-Match: "d0"`).want("200")
	tag := a.Header.Get("Etag")
	if a.entriesOf() != "world anyone cdr, principal ci cdrwa" || tag != `"d`+a.Header.Get("Perch-Zxid")+`"` {
		t.Errorf("%s with %v", a.body, a.Header)
	}
	e.do("PUT /v1/acl-default/app", entries("world anyone r"), `If-Match: "d0"`).want("412 etag_mismatch")
	e.do("PUT /v1/acl-default/app", entries("world anyone r"), `If-Match: "812"`).want("412 etag_mismatch")
	if got := e.do("GET /v1/acl-default/app", ""); got.entriesOf() != "world anyone cdr, principal ci cdrwa" || got.Header.Get("Etag") != tag {
		t.Errorf("%s with %v", got.body, got.Header)
	}
	e.do("POST /v1/nodes/app/x/y?parents=true", "").want("201")
	for _, path := range []string{"app/x", "app/x/y"} {
		if got := e.do("GET /v1/acl/"+path, "").entriesOf(); got != "world anyone cdr, principal ci cdrwa" {
			t.Errorf("%s has %s", path, got)
		}
	}
	e.do("PUT /v1/nodes/app/x", "").want("403 permission_denied")
	e.do("PUT /v1/nodes/app", "").want("200")
	e.do("DELETE /v1/acl-default/app", "", `If-Match: "d1"`).want("412 etag_mismatch")
	e.do("DELETE /v1/acl-default/app", "", "If-Match: "+tag).want("204")
	e.do("DELETE /v1/acl-default/app", "").want("204")
	e.do("DELETE /v1/acl-default/app", "", "If-Match: *").want("412 etag_mismatch")
	e.do("DELETE /v1/acl-default/none", "").want("404 no_node")
	e.do("PUT /v1/acl-default/none", entries("world anyone r")).want("404 no_node")
	e.do("POST /v1/nodes/app/z", "").want("201")
	if got := e.do("GET /v1/acl/app/z", "").entriesOf(); got != "world anyone cdrwa" {
		t.Errorf("z has %s", got)
	}
}

// FuzzACL: what is refused is refused in a field of the body, and an entry that
// passes can be sent again as it is shown.
func FuzzACL(f *testing.F) {
	for _, s := range [][3]string{
		{"world", "anyone", "cdrwa"}, {"principal", "spiffe://a/b", "r"}, {"ip", "10.0.0.0/8", "w"}, {"ip", "::ffff:1.2.3.4", "a"},
		{"digest", "bob:" + strings.Repeat("A", 27) + "=", "rr"}, {"x509", "spiffe://a/b", "d"}, {"auth", "", "c"}, {"", "", ""},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, scheme, id, perms string) {
		caller := &commandpb.Caller{Principal: "ann"}
		want := []api.ACLEntry{{Scheme: scheme, ID: id, Perms: perms}}
		entries, err := parseACL("/entries", want, caller)
		if err != nil {
			if f := asFailure(err); f.status != 400 || !strings.HasPrefix(f.field, "/entries/0/") {
				t.Fatalf("%v at %q", f, f.field)
			}
			return
		}
		shown := renderACL(&tree.ACL{Entries: []tree.ACLEntry{{Scheme: scheme, ID: id, Perms: tree.Perms(entries[0].Perms)}}})
		again, err := parseACL("/entries", shown, caller)
		if err != nil || again[0].Perms != entries[0].Perms || again[0].Id != id || again[0].Scheme != scheme {
			t.Fatalf("%v is shown as %v: %v", want, shown, err)
		}
	})
}
