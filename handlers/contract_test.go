package handlers

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"
)

// TestOperationsAreTheDocument compares the table with openapi.yaml, both ways.
func TestOperationsAreTheDocument(t *testing.T) {
	seen := 0
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			seen++
			have := operationOf[routeKey{method, path}]
			if have == nil || have.id != op.OperationID {
				t.Errorf("%s %s (%s) is not in the table", method, path, op.OperationID)
				continue
			}
			compareParameters(t, have, append(op.Parameters, item.Parameters...))
			compareBody(t, have, op.RequestBody)
			if have.ops == strings.HasPrefix(path, "/v1/") {
				t.Errorf("%s: ops is %v", have.id, have.ops)
			}
		}
	}
	if seen != len(operations) {
		t.Errorf("the table has %d operations, the document %d", len(operations), seen)
	}
}

func compareParameters(t *testing.T, have *operation, parameters openapi3.Parameters) {
	t.Helper()
	var query, ifs []string
	session, keyed, fenced := false, false, false
	for _, ref := range parameters {
		p := ref.Value
		switch {
		case p.In == "query":
			query = append(query, p.Name)
			fenced = fenced || p.Name == queryFence
		case p.Name == ifMatch, p.Name == ifNoneMatch:
			ifs = append(ifs, p.Name)
		case p.Name == "Perch-Session":
			session = true
		case p.Name == headerIdempotencyKey:
			keyed = true
		case p.In == "header" && p.Name != "Prefer" && p.Name != "Last-Event-ID":
			t.Errorf("%s: header %s is not known to this test", have.id, p.Name)
		}
	}
	if !sameSet(query, have.query) {
		t.Errorf("%s: query %v, in the document %v", have.id, have.query, query)
	}
	if !sameSet(ifs, have.ifs) {
		t.Errorf("%s: conditions %v, in the document %v", have.id, have.ifs, ifs)
	}
	if keyed != have.keyed || fenced != have.fenced {
		t.Errorf("%s: a key %v and a fence %v, in the document %v and %v", have.id, have.keyed, have.fenced, keyed, fenced)
	}
	if session == have.ops {
		t.Errorf("%s: Perch-Session is declared: %v", have.id, session)
	}
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

func compareBody(t *testing.T, have *operation, ref *openapi3.RequestBodyRef) {
	t.Helper()
	var content openapi3.Content
	if ref != nil {
		content = ref.Value.Content
	}
	if (content["application/octet-stream"] != nil) != have.raw {
		t.Errorf("%s: raw is %v", have.id, have.raw)
	}
	if (content["application/json"] != nil) != (have.json != nil) {
		t.Errorf("%s: a JSON body is %v", have.id, have.json)
	}
	if have.json != nil {
		compareShape(t, have.id, have.json, content["application/json"].Schema.Value)
	}
}

func compareShape(t *testing.T, at string, have *jsonShape, schema *openapi3.Schema) {
	t.Helper()
	kinds := map[jsonKind]string{
		jsonInteger: "integer", jsonString: "string", jsonBoolean: "boolean", jsonObject: "object", jsonArray: "array",
		jsonBytes: "string", jsonTime: "string", jsonInt32: "integer"}
	formats := map[string]jsonKind{"byte": jsonBytes, "date-time": jsonTime, "int32": jsonInt32}
	if kind := formats[schema.Format]; kind != 0 && kind != have.kind || have.kind == jsonInt32 && kind == 0 {
		t.Errorf("%s: format %s", at, schema.Format)
	}
	if !schema.Type.Is(kinds[have.kind]) || len(schema.Properties) != len(have.fields) {
		t.Errorf("%s: %v and %v differ", at, have, schema.Type)
	}
	for name, property := range schema.Properties {
		if have.fields[name] == nil {
			t.Errorf("%s/%s is not in the table", at, name)
			continue
		}
		compareShape(t, at+"/"+name, have.fields[name], property.Value)
	}
	if have.items != nil {
		compareShape(t, at+"/items", have.items, schema.Items.Value)
	}
}

// TestRoutesAreTheDocument finds routes that the router has beyond the table.
func TestRoutesAreTheDocument(t *testing.T) {
	e := newEdgeTest(t)
	n := 0
	err := chi.Walk(e.h.router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		n++
		if operationOf[routeKey{method, route}] == nil {
			t.Errorf("the router has %s %s", method, route)
		}
		return nil
	})
	if err != nil || n != len(operations) {
		t.Errorf("the router has %d routes, the document %d: %v", n, len(operations), err)
	}
}

// TestCodesAreTheDocument compares the table of codes with the document.
func TestCodesAreTheDocument(t *testing.T) {
	raw := document().Components.Schemas["Problem"].Value.Properties["code"].Value.Extensions["x-codes"]
	b, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	var documented map[string]int
	if err := json.Unmarshal(b, &documented); err != nil {
		t.Fatal(err)
	}
	for code, spec := range specs {
		if documented[code] != spec.status {
			t.Errorf("%s is %d, in the document %d", code, spec.status, documented[code])
		}
	}
	if len(documented) != len(specs) {
		t.Errorf("%d codes, in the document %d", len(specs), len(documented))
	}
}

// example is a path of the pattern.
func example(pattern string) string {
	return strings.NewReplacer("{path}", "app", "{id}", "self", "{name}", "ci").Replace(pattern)
}

// wellFormed are bodies for the operations that cannot do without.
var wellFormed = map[string]string{
	"multi":         `{"ops":[{"op":"put","path":"/app","text":"x"}]}`,
	"setAcl":        `{"entries":[{"scheme":"world","id":"anyone","perms":"cdrwa"}]}`,
	"setDefaultAcl": `{"entries":[{"scheme":"world","id":"anyone","perms":"cdrwa"}]}`,
	"setQuota":      `{"max_nodes":1000}`,
	"createToken":   `{"principal":"ci"}`,
	"putPrincipal":  `{"grants":[{"prefix":"/","perms":["read"]}]}`,

	"acquireLock": `{"ttl_ms":30000}`, "acquireSemaphore": `{"limit":3,"ttl_ms":30000}`, "campaign": `{"ttl_ms":30000,"value":"here"}`,
	"acquireLockSet": `{"locks":[{"name":"ci"}],"ttl_ms":30000}`, "beginOnce": `{"key":"k","ttl_ms":30000}`,
	"releaseLockSet": `{"names":["ci"]}`, "proclaim": `{"value":"there"}`, "enterBarrier": `{"count":2,"ttl_ms":30000}`,
	"addCounter": `{"add":1}`, "setCounter": `{"value":1}`, "configureQueue": `{"max_attempts":3}`,
	"ackMessages": `{"receipts":["1-1"]}`, "nackMessages": `{"receipts":["1-1"]}`, "extendMessages": `{"receipts":["1-1"],"ttl_ms":30000}`,
	"redriveMessages": `{"to":"other"}`,
}

// TestEveryRoute sends to every operation what it must refuse, and to every
// path the methods that it does not have.
func TestEveryRoute(t *testing.T) {
	e := newEdgeTest(t)
	e.do("PUT /v1/nodes/app", "x").want("201")
	for i := range operations {
		op := &operations[i]
		target := op.method + " " + example(op.path)
		t.Run(op.id, func(t *testing.T) {
			e := &edgeTest{T: t, svc: e.svc, h: e.h, log: e.log}
			fence := "400 unknown_parameter"
			if op.fenced {
				fence = "400 invalid_argument"
			}
			e.do(target+"?fence=nightly:x", "").want(fence)
			e.do(target+"?%66ence=no%20name", "").want(fence)
			e.do(target+"?a;b", "").want("400 invalid_argument")
			e.do(target+"?a=%zz", "").want("400 unknown_parameter")
			e.do(target+"?%zz=1", "").want("400 invalid_argument")
			e.do(target, "", "Content-Encoding: gzip").want("415 unsupported_encoding")
			for _, name := range op.query {
				if name == queryFence {
					continue // it may be given more than once
				}
				e.do(target+"?"+name+"=1&"+name+"=1", "").want("400 invalid_argument")
				e.do(target+"?"+name, "").want("400 invalid_argument")
				e.do(target+"?"+strings.ToUpper(name)+"=1", "").want("400 unknown_parameter")
			}
			if op.ops {
				return
			}
			if op.keyed {
				e.do(target, wellFormed[op.id], "Idempotency-Key: a b").want("400 invalid_argument")
			} else {
				e.do(target, wellFormed[op.id], "Idempotency-Key: k").want("400 invalid_argument")
			}
			for _, token := range []string{"", "short", strings.Repeat("a", 21), strings.Repeat("a", 129), strings.Repeat("a", 21) + "!"} {
				e.do(target, wellFormed[op.id], "Perch-Session: "+token).want("410 session_expired")
			}
			a := strings.Repeat("a", 22)
			e.do(target, wellFormed[op.id], "Perch-Session: "+a, "Perch-Session: "+a).want("400 invalid_argument")
		})
	}
	for path := range document().Paths.Map() {
		allowed := methodsOf(path)
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"} {
			if !slices.Contains(allowed, method) {
				a := e.do(method+" "+example(path), "").want("405 method_not_allowed")
				if got := a.Header.Get("Allow"); got != strings.Join(allowed, ", ") {
					t.Errorf("%s %s: Allow is %q", method, path, got)
				}
			}
		}
	}
}

// TestNoSuchEndpoint asks for what is not there, and not there yet.
func TestNoSuchEndpoint(t *testing.T) {
	e := newEdgeTest(t)
	for _, target := range []string{
		"GET /", "GET /v1", "GET /v1/", "GET /v1/nodes", "GET /v1/sessions/", "POST /v1/multi/", "GET /v1/locks/",
		"POST /v1/locks/nightly/seize", "GET /v1/tree", "GET /v2/nodes/app", "GET /V1/nodes/app",
		"GET /v1%2Fnodes/app", "GET /livez/", "GET /v1/cluster/member", "FOO /nowhere", "GET /v1/sessions/1/2",
		"GET //v1/nodes/app", "GET /v1/nodes%2Fapp",
	} {
		e.do(target, "").want("404 no_such_endpoint")
	}
}
