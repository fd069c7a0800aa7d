package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"perch"
	"perch/gen/commandpb"
)

// document is openapi.yaml, by which every answer of every test is checked.
var document = sync.OnceValue(func() *openapi3.T {
	doc, err := openapi3.NewLoader().LoadFromData(perch.OpenAPI)
	if err != nil {
		panic(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		panic(err)
	}
	openapi3filter.RegisterBodyDecoder("application/yaml", openapi3filter.FileBodyDecoder)
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.FileBodyDecoder)
	return doc
})

// edgeTest is a handler over a testService.
type edgeTest struct {
	*testing.T
	svc *testService
	h   *Handler
	log *bytes.Buffer
}

func newEdgeTest(t *testing.T, change ...func(*Options)) *edgeTest {
	t.Helper()
	log := new(bytes.Buffer)
	o := Options{
		Service: newTestService(), Version: "test",
		Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&o)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	svc, _ := o.Service.(*testService)
	return &edgeTest{T: t, svc: svc, h: h, log: log}
}

// request makes a request from "METHOD target", a body and "Name: value" lines.
func request(line, body string, headers ...string) *http.Request {
	method, target, _ := strings.Cut(line, " ")
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, in)
	r.Host = "localhost"
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// do serves one request and checks the answer against the document.
func (e *edgeTest) do(line, body string, headers ...string) *answer {
	e.Helper()
	return e.serve(request(line, body, headers...))
}

func (e *edgeTest) serve(r *http.Request) *answer {
	e.Helper()
	w := httptest.NewRecorder()
	e.h.ServeHTTP(w, r)
	return e.read(w, r)
}

// as serves one request of somebody.
func (e *edgeTest) as(caller *commandpb.Caller, line, body string, headers ...string) *answer {
	e.Helper()
	w, r := httptest.NewRecorder(), request(line, body, headers...)
	x := e.h.edge.begin(w, r)
	x.caller = caller
	e.h.route(x, r.WithContext(x))
	e.h.edge.runTail(x)
	return e.read(w, r)
}

// read checks an answer against the document.
func (e *edgeTest) read(w *httptest.ResponseRecorder, r *http.Request) *answer {
	e.Helper()
	method, res := r.Method, w.Result()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		e.Fatal(err)
	}
	a := &answer{Response: res, body: body, t: e.T}
	a.conform(r, method)
	return a
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body []byte
	t    *testing.T
}

// conform checks the answer against the document, and against what the contract
// says of every answer.
func (a *answer) conform(r *http.Request, method string) {
	a.t.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store, no-transform", "X-Content-Type-Options": "nosniff", "Perch-Cluster": testClusterHex,
	} {
		if got := a.Header.Get(name); got != want {
			a.t.Errorf("%s %s: %s is %q, want %q", method, r.URL, name, got, want)
		}
	}
	if method == http.MethodHead {
		a.body = nil // net/http leaves it out; a test with a real server sees that
	}
	if a.StatusCode >= 400 {
		a.conformProblem(r, method)
	}
	if strings.HasPrefix(r.URL.Path, "/v1") && a.StatusCode < 400 && a.Header.Get("Perch-Zxid") == "" {
		a.t.Errorf("%s %s: no Perch-Zxid", method, r.URL)
	}
	path := ""
	for i := range operations {
		if matchesPattern(operations[i].path, sentPath(r)) {
			path = operations[i].path
		}
	}
	if path == "" {
		return
	}
	item := document().Paths.Find(path)
	op := item.Operations()[method]
	if op == nil && method == http.MethodHead {
		op = item.Get
	}
	if op == nil {
		return // 405
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r, Route: &routers.Route{Spec: document(), Path: path, PathItem: item, Method: method, Operation: op}},
		Status: a.StatusCode, Header: a.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: method == http.MethodHead},
	}
	in.SetBodyBytes(a.body)
	if err := openapi3filter.ValidateResponse(context.Background(), in); err != nil {
		a.t.Errorf("%s %s: the answer is not that of openapi.yaml: %v\n%s", method, r.URL, err, a.body)
	}
}

func (a *answer) conformProblem(r *http.Request, method string) {
	a.t.Helper()
	code := a.Header.Get("Perch-Code")
	spec := specs[code]
	if spec == nil || spec.status != a.StatusCode || a.Header.Get("Content-Type") != "application/problem+json" {
		a.t.Errorf("%s %s: %d with code %q and type %q", method, r.URL, a.StatusCode, code, a.Header.Get("Content-Type"))
		return
	}
	if method == http.MethodHead {
		return
	}
	p := a.json()
	if p["code"] != code || p["status"] != float64(a.StatusCode) || p["title"] != spec.title || p["request_id"] == nil {
		a.t.Errorf("%s %s: problem %s", method, r.URL, a.body)
	}
	if needs := a.StatusCode >= 500 || a.StatusCode == 429; needs != (p["outcome"] != nil) {
		a.t.Errorf("%s %s: outcome of %s", method, r.URL, a.body)
	}
	if needs := a.StatusCode == 503 || a.StatusCode == 429 || a.StatusCode == 409 && spec.retryable; needs != (a.Header.Get("Retry-After") != "") {
		a.t.Errorf("%s %s: Retry-After of %d is %q", method, r.URL, a.StatusCode, a.Header.Get("Retry-After"))
	}
}

// json decodes the body as an object.
func (a *answer) json() map[string]any {
	a.t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		a.t.Errorf("body %q: %v", a.body, err)
	}
	return m
}

// want checks status and, for errors, the code: "200", "404 no_node".
func (a *answer) want(status string) *answer {
	a.t.Helper()
	got := strings.TrimSpace(jsonNumber(a.StatusCode) + " " + a.Header.Get("Perch-Code"))
	if got != status {
		a.t.Errorf("answer is %q, want %q\n%s", got, status, a.body)
	}
	return a
}

func jsonNumber(n int) string { b, _ := json.Marshal(n); return string(b) }

// testClusterHex is testCluster as Perch-Cluster shows it.
const testClusterHex = "c1050000000000000000000000000000"
