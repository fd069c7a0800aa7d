package handlers

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"perch/lease"
	"perch/quorum"
	"perch/tree"

	"context"

	"perch/gen/commandpb"
)

// instant answers at once and always the same, so that a benchmark sees the
// edge alone.
type instant struct{ *testService }

var oneNode = tree.Node{Path: "/app/config", Data: make([]byte, 256), Stat: tree.Stat{
	Czxid: 7<<32 | 1, Mzxid: 7<<32 | 9, Pzxid: 7<<32 | 1, Ctime: 1_790_000_000_000, Mtime: 1_790_000_000_001, DataLength: 256}}

func (instant) Read(context.Context, lease.Read) (lease.Answer, error) {
	return lease.Answer{Zxid: quorum.MakeZxid(7, 12), Node: oneNode}, nil
}

func (instant) Write(context.Context, *commandpb.Command, string) (lease.Result, error) {
	return lease.Result{Zxid: quorum.MakeZxid(7, 12), Node: oneNode}, nil
}

// blank is a ResponseWriter that forgets.
type blank struct{ header http.Header }

func (b *blank) Header() http.Header         { return b.header }
func (b *blank) WriteHeader(int)             {}
func (b *blank) Write(p []byte) (int, error) { return len(p), nil }

func benchmarkEdge(b *testing.B, method, target string, body []byte) {
	h, err := New(Options{Service: instant{newTestService()}})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(method, target, nil)
	r.Host = "localhost"
	raw := r.URL.RawPath
	b.ReportAllocs()
	for b.Loop() {
		w := &blank{header: make(http.Header, 8)}
		r.URL.RawPath = raw
		if body != nil {
			r.ContentLength, r.Body = int64(len(body)), &reader{rest: body}
		}
		h.ServeHTTP(w, r)
	}
}

// reader is a body that costs nothing.
type reader struct{ rest []byte }

func (r *reader) Read(p []byte) (int, error) {
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *reader) Close() error { return nil }

func BenchmarkReadNode(b *testing.B) { benchmarkEdge(b, "GET", "/v1/nodes/app/config", nil) }

func BenchmarkReadLocal(b *testing.B) {
	benchmarkEdge(b, "GET", "/v1/nodes/app/config?consistency=local", nil)
}

func BenchmarkPutNode(b *testing.B) {
	benchmarkEdge(b, "PUT", "/v1/nodes/app/config", make([]byte, 256))
}
