package handlers

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"perch/lease"
	"perch/quorum"
)

// fuzzedHeaders are those that an operation reads.
var fuzzedHeaders = [...]string{
	ifMatch, ifNoneMatch, "Perch-Session", "Prefer", "Last-Event-ID", "Authorization", "Content-Encoding", "Origin", "X-Request-Id",
	headerIdempotencyKey,
}

// FuzzRequest: whatever is asked of whatever operation is answered by what
// openapi.yaml says, and never by a fault of ours.
func FuzzRequest(f *testing.F) {
	for i := range operations {
		op := &operations[i]
		f.Add(byte(i), "app", "", byte(0), "", []byte(wellFormed[op.id]))
		for _, name := range op.query {
			f.Add(byte(i), "%2Fapp", name+"=1", byte(i), `"812"`, []byte(wellFormed[op.id]))
		}
	}
	f.Add(byte(9), "app", "scope=subtree&since=12884901897&wait_ms=1", byte(3), "wait=1", []byte(nil))
	f.Add(byte(6), "", "page_token=page-A&include=stat,text&limit=2", byte(1), "c0", []byte(nil))
	f.Add(byte(2), "a/b", "mode=ephemeral&ttl_ms=5000&parents=true", byte(2), strings.Repeat("t", 22), []byte("x"))
	var h *Handler
	var svc *testService
	f.Fuzz(func(t *testing.T, which byte, tail, query string, header byte, value string, body []byte) {
		op := &operations[int(which)%len(operations)]
		target := strings.NewReplacer("{path}", tail, "{id}", tail, "{name}", tail).Replace(op.path)
		u, err := url.ParseRequestURI(target)
		if err != nil || op.id == "streamNode" {
			return // net/http answers these; a stream does not end
		}
		u.RawQuery = query
		e := &edgeTest{T: t, svc: svc, h: h}
		if h == nil {
			e = newEdgeTest(t, func(o *Options) { o.WaitMax = time.Millisecond })
			h, svc, e.log = e.h, e.svc, nil
		}
		svc.state, svc.pages, svc.outcomes = lease.New(lease.DefaultSettings()), map[string]*pinned{}, map[ticket]lease.Outcome{}
		r := httptest.NewRequest(op.method, "/", bytes.NewReader(body))
		r.Host, r.URL, r.RequestURI = "localhost", u, u.RequestURI()
		r.Header[http.CanonicalHeaderKey(fuzzedHeaders[int(header)%len(fuzzedHeaders)])] = []string{value}
		if a := e.serve(r); a.StatusCode >= 500 {
			t.Fatalf("%s %s: %d %s", op.method, u, a.StatusCode, a.body)
		}
	})
}

// FuzzCursor: a cursor that is taken is a position, and is given back as such.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{"0", "12884901897", "00", "-1", "+1", "9223372036854775807", "9223372036854775808", "1e3", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		z, now, err := parseCursor("since", &text)
		if err != nil {
			return
		}
		again := formatZxid(z)
		same, _, err := parseCursor("since", &again)
		if now || z > quorum.Zxid(1<<63-1) || err != nil || same != z || strings.Trim(text, "0123456789") != "" {
			t.Fatalf("%q is %d, and %q is %d: %v", text, z, again, same, err)
		}
	})
}

// FuzzPerms: permissions that are taken have one spelling of their own, which
// means the same.
func FuzzPerms(f *testing.F) {
	for _, s := range []string{"cdrwa", "r", "rr", "", "cdrwac", "R", "x", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, letters string) {
		perms, ok := parsePerms(letters)
		if !ok {
			return
		}
		again, ok := parsePerms(formatPerms(perms))
		if !ok || again != perms || perms == 0 || strings.Trim(letters, "cdrwa") != "" {
			t.Fatalf("%q is %d, its own form %d", letters, perms, again)
		}
	})
}
