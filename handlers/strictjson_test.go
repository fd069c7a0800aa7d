package handlers

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// everything is a shape with one field of each kind.
var everything = &jsonShape{kind: jsonObject, fields: map[string]*jsonShape{
	"ttl_ms": {kind: jsonInteger}, "wait_ms": {kind: jsonInt32}, "name": {kind: jsonString}, "on": {kind: jsonBoolean},
	"list":  {kind: jsonArray, items: &jsonShape{kind: jsonString}},
	"a/b~c": {kind: jsonObject, fields: map[string]*jsonShape{"x": {kind: jsonInteger}}},
}}

func TestStrictJSON(t *testing.T) {
	deep := &jsonShape{kind: jsonArray}
	deep.items = deep
	const ok = ""
	for _, c := range []struct {
		body, code, pointer string
	}{
		{``, ok, ""}, {" \t\r\n", ok, ""}, {`{}`, ok, ""}, {` { } `, ok, ""},
		{`{"ttl_ms":1000}`, ok, ""}, {`{"ttl_ms" : -0 , "name":"x"}`, ok, ""},
		{`{"ttl_ms":9223372036854775807,"on":true}`, ok, ""}, {`{"list":["a","\u00e9","\ud83d\ude00"]}`, ok, ""},
		{`{"list":[]}`, ok, ""}, {`{"\u006eame":"\"\\\/\b\f\n\r\t"}`, ok, ""}, {`{"a/b~c":{"x":1}}`, ok, ""},

		{`null`, "invalid_json", ""}, {`[]`, "invalid_json", ""}, {`1`, "invalid_json", ""}, {`"x"`, "invalid_json", ""},
		{`{`, "invalid_json", ""}, {`{"`, "invalid_json", ""}, {`{"name`, "invalid_json", ""}, {`{"name"`, "invalid_json", "/name"},
		{`{"name":`, "invalid_json", "/name"}, {`{"name":"x"`, "invalid_json", ""}, {`{"name":"x",}`, "invalid_json", ""},
		{`{,}`, "invalid_json", ""}, {`{}x`, "invalid_json", ""}, {`{}{}`, "invalid_json", ""}, {`{} null`, "invalid_json", ""},
		{"\xef\xbb\xbf{}", "invalid_json", ""}, {`{name:1}`, "invalid_json", ""}, {`{'name':1}`, "invalid_json", ""},
		{`{"ttl":1}`, "invalid_json", "/ttl"}, {`{"TTL_MS":1000}`, "invalid_json", "/TTL_MS"},
		{`{"ttl_ms":1,"Ttl_Ms":2}`, "invalid_json", "/Ttl_Ms"}, {`{"ttl_ms":1,"ttl_ms":1}`, "invalid_json", "/ttl_ms"},
		{`{"ttl_ms":1,"ttl\u005fms":1}`, "invalid_json", "/ttl_ms"}, {`{"ttl_\u017fms":1}`, "invalid_json", "/ttl_ſms"},
		{`{"ttl_ms":null}`, "invalid_json", "/ttl_ms"}, {`{"ttl_ms":"1000"}`, "invalid_json", "/ttl_ms"},
		{`{"ttl_ms":1.0}`, "invalid_json", "/ttl_ms"}, {`{"ttl_ms":1e3}`, "invalid_json", "/ttl_ms"},
		{`{"ttl_ms":01}`, "invalid_json", "/ttl_ms"}, {`{"ttl_ms":+1}`, "invalid_json", "/ttl_ms"},
		{`{"ttl_ms":-}`, "invalid_json", "/ttl_ms"}, {`{"ttl_ms":0x10}`, "invalid_json", "/ttl_ms"},
		{`{"ttl_ms":NaN}`, "invalid_json", "/ttl_ms"}, {`{"ttl_ms":[1]}`, "invalid_json", "/ttl_ms"},
		{`{"wait_ms":2147483647}`, ok, ""}, {`{"wait_ms":-2147483648}`, ok, ""}, {`{"wait_ms":2147483648}`, "invalid_argument", "/wait_ms"},
		{`{"wait_ms":-2147483649}`, "invalid_argument", "/wait_ms"}, {`{"wait_ms":1.0}`, "invalid_json", "/wait_ms"},
		{`{"ttl_ms":9223372036854775808}`, "invalid_argument", "/ttl_ms"},
		{`{"ttl_ms":` + strings.Repeat("9", 400) + `}`, "invalid_argument", "/ttl_ms"},
		{`{"on":1}`, "invalid_json", "/on"}, {`{"on":True}`, "invalid_json", "/on"}, {`{"on":truex}`, "invalid_json", "/on"},
		{`{"list":["a",]}`, "invalid_json", "/list/1"}, {`{"list":["a" "b"]}`, "invalid_json", "/list"},
		{`{"list":["a",2]}`, "invalid_json", "/list/1"}, {`{"list":{}}`, "invalid_json", "/list"},
		{`{"a/b~c":{"y":1}}`, "invalid_json", "/a~1b~0c/y"},
		{"{\"name\":\"\n\"}", "invalid_json", "/name"}, {"{\"name\":\"\x00\"}", "invalid_json", "/name"},
		{"{\"name\":\"\xff\"}", "invalid_json", "/name"}, {"{\"name\":\"\xed\xa0\x80\"}", "invalid_json", "/name"},
		{`{"name":"\ud800"}`, "invalid_json", "/name"}, {`{"name":"\ud800x"}`, "invalid_json", "/name"},
		{`{"name":"\udc00\ud800"}`, "invalid_json", "/name"}, {`{"name":"\ud800\u0041"}`, "invalid_json", "/name"},
		{`{"name":"\u12"}`, "invalid_json", "/name"}, {`{"name":"\u+123"}`, "invalid_json", "/name"},
		{`{"name":"\x41"}`, "invalid_json", "/name"}, {`{"name":"\`, "invalid_json", "/name"},
		{`{"name":/*c*/"x"}`, "invalid_json", "/name"}, {"{\"name\"\v:\"x\"}", "invalid_json", "/name"},
	} {
		f := checkJSON([]byte(c.body), everything)
		switch {
		case c.code == ok && f != nil:
			t.Errorf("%q is refused: %v at %q", c.body, f, f.field)
		case c.code != ok && (f == nil || f.code != c.code || f.field != c.pointer):
			t.Errorf("%q gives %v, want %s at %q", c.body, f, c.code, c.pointer)
		}
	}
	nested := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if f := checkJSON(nested(jsonDepthMax), deep); f != nil {
		t.Errorf("depth %d: %v", jsonDepthMax, f)
	}
	if f := checkJSON(nested(jsonDepthMax+1), deep); f == nil {
		t.Errorf("depth %d passes", jsonDepthMax+1)
	}
	if f := checkJSON(bytes.Repeat([]byte("["), 2<<20), deep); f == nil {
		t.Error("two million brackets pass")
	}
}

// TestStrictJSONOverHTTP sends faults through the whole edge; nothing is
// applied.
func TestStrictJSONOverHTTP(t *testing.T) {
	e := newEdgeTest(t)
	before := e.svc.view().Zxid()
	for body, want := range map[string]string{
		`{"ttl_ms":60000}{}`: "400 invalid_json", `{"label":"x"}`: "400 invalid_json", `{"TTL_MS":60000}`: "400 invalid_json",
		`{"ttl_ms":999}`: "400 invalid_argument", `{"ttl_ms":86400001}`: "400 invalid_argument",
		`{"ttl_ms":-1}`: "400 invalid_argument", `{"ttl_ms":99999999999999999999}`: "400 invalid_argument",
	} {
		p := e.do("POST /v1/sessions", body).want(want).json()
		if f, _ := p["field"].(string); f != "" && f[0] != '/' {
			t.Errorf("%s: field %q is no pointer", body, f)
		}
		e.do("POST /v1/sessions/self/keepalive", body, "Perch-Session: "+strings.Repeat("k", 22)).want(want)
	}
	if e.svc.view().Zxid() != before {
		t.Error("something was applied")
	}
}

// FuzzStrictJSON: what the checker accepts encoding/json decodes, and back to
// something that the checker accepts; what it refuses has a code and a pointer.
func FuzzStrictJSON(f *testing.F) {
	for _, s := range []string{`{"ttl_ms":1000}`, `{"name":"\ud83d\ude00"}`, `{"list":["a"],"on":false}`, `{"a/b~c":{"x":-1}}`, `[`, `{"`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fault := checkJSON(body, everything)
		if fault != nil {
			if fault.status != 400 || !utf8.ValidString(fault.field) {
				t.Fatalf("%q: %v at %q", body, fault, fault.field)
			}
			return
		}
		if len(bytes.TrimLeft(body, " \t\r\n")) == 0 {
			return
		}
		var v struct {
			TTL  int64    `json:"ttl_ms"`
			Name string   `json:"name"`
			On   bool     `json:"on"`
			List []string `json:"list"`
			Sub  struct {
				X int64 `json:"x"`
			} `json:"a/b~c"`
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%q passes, but: %v", body, err)
		}
		if strings.ContainsRune(v.Name, utf8.RuneError) && !bytes.Contains(body, []byte("�")) &&
			!bytes.Contains(bytes.ToLower(body), []byte(`\ufffd`)) {
			t.Fatalf("%q was repaired to %q", body, v.Name)
		}
		if d.More() {
			t.Fatalf("%q passes with text after it", body)
		}
	})
}
