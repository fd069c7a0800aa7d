package handlers

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"perch/lease"
)

// TestMain sees that no test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a handler behind a real listener.
type served struct {
	*edgeTest
	server *http.Server
	addr   string
	client *http.Client
}

func serveEdge(t *testing.T, change ...func(*Options)) *served {
	t.Helper()
	e := newEdgeTest(t, change...)
	e.log = nil // goroutines of the server write to it
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{edgeTest: e, server: NewServer(e.h), addr: l.Addr().String()}
	transport := &http.Transport{}
	s.client = &http.Client{Transport: transport}
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := s.server.Serve(l); err != http.ErrServerClosed {
			t.Errorf("the server ended: %v", err)
		}
	}()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = s.server.Close()
		<-over
	})
	return s
}

// h2 makes the client speak HTTP/2 without TLS.
func (s *served) h2() *served {
	transport := s.client.Transport.(*http.Transport)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetUnencryptedHTTP2(true)
	return s
}

func (s *served) send(line, body string, headers ...string) *answer {
	s.Helper()
	method, target, _ := strings.Cut(line, " ")
	r, err := http.NewRequestWithContext(s.Context(), method, "http://"+s.addr+target, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	res, err := s.client.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return &answer{Response: res, body: b, t: s.T}
}

// raw sends bytes and reads one answer.
func (s *served) raw(text string) *answer {
	s.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, text) }() // the server may answer before it has read all
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.Fatalf("%.60q: %v", text, err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return &answer{Response: res, body: b, t: s.T}
}

func TestBothProtocols(t *testing.T) {
	for major, s := range map[int]*served{1: serveEdge(t), 2: serveEdge(t).h2()} {
		a := s.send("PUT /v1/nodes/a", "x").want("201")
		if a.ProtoMajor != major {
			t.Errorf("spoke HTTP/%d", a.ProtoMajor)
		}
		a = s.send("GET /v1/nodes/%2Fa", "").want("200")
		h := s.send("HEAD /v1/nodes/a", "").want("200")
		if string(a.body) != "x" || h.ContentLength != 1 || len(h.body) != 0 {
			t.Errorf("GET %q, HEAD %d", a.body, h.ContentLength)
		}
		for _, target := range []string{"/v1/stat/a", "/v1/cluster", "/readyz", "/openapi.yaml", "/v1/nodes/none"} {
			if h := s.send("HEAD "+target, ""); len(h.body) != 0 {
				t.Errorf("HEAD %s: %q", target, h.body)
			}
		}
		s.send("PUT /v1/nodes/big", strings.Repeat("x", valueBytesMax)).want("201")
		s.send("PUT /v1/nodes/big", strings.Repeat("x", valueBytesMax+1)).want("413 too_large")
		if a := s.send("GET /v1/nodes/big", ""); len(a.body) != valueBytesMax {
			t.Errorf("%d bytes", len(a.body))
		}
		s.send("GET /v1/nodes/a", "", "X-Long: "+strings.Repeat("x", headerBytesMax)).want("431 headers_too_large")
		s.send("GET /v1/nodes/a?x="+strings.Repeat("x", uriBytesMax), "").want("414 uri_too_long")
		s.send("GET /v1/nodes/a", "", "Perch-Session: "+strings.Repeat("x", 200)).want("410 session_expired")
	}
}

// TestStreamsOverTheWire reads events as they happen, over both protocols.
func TestStreamsOverTheWire(t *testing.T) {
	for _, s := range []*served{serveEdge(t), serveEdge(t).h2()} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.addr+"/v1/stream/a", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(res.Body)
		next := func() string {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return line
		}
		if first, second := next(), next(); first != "id: 0\n" || second != "\n" {
			t.Errorf("it begins with %q %q", first, second)
		}
		for i := range 3 {
			s.send("PUT /v1/nodes/a", fmt.Sprint(i))
			if id, data, end := next(), next(), next(); !strings.HasPrefix(id, "id: ") || !strings.HasPrefix(data, "data: {") || end != "\n" {
				t.Errorf("event %q %q %q", id, data, end)
			}
		}
		cancel()
		_ = res.Body.Close()
	}
}

// TestShutdown answers what waits and lets nobody wait for it.
func TestShutdown(t *testing.T) {
	for _, s := range []*served{serveEdge(t), serveEdge(t).h2()} {
		const each = 20
		s.svc.awaits = make(chan lease.Interest, 3*each)
		var group sync.WaitGroup
		for range each {
			group.Go(func() { s.send("GET /v1/nodes/a?wait_ms=50000", "").want("404 no_node") })
			group.Go(func() { s.send("GET /v1/watch/a?wait_ms=50000", "").want("200") })
			group.Go(func() { s.send("GET /v1/stream/a", "").want("200") })
		}
		for range 3 * each {
			<-s.svc.awaits
		}
		if err := s.server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		group.Wait()
	}
}

// TestRawRequests are those that no client library sends.
func TestRawRequests(t *testing.T) {
	s := serveEdge(t)
	head := " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
	for _, c := range [][2]string{
		{"GET /v1/nodes//a" + head + "\r\n", "404 no_node"},
		{"GET /v1/nodes/../a" + head + "\r\n", "400 invalid_path"},
		{"GET /v1/nodes/a%00" + head + "\r\n", "400 invalid_path"},
		{"GET http://localhost/v1/nodes/a" + head + "\r\n", "404 no_node"},
		{"GET /v1/nodes/%zz" + head + "\r\n", "400"}, // net/http's own, in plain text
		{"GET /v1/nodes/a" + head + "X: " + strings.Repeat("x", 17<<10) + "\r\n\r\n", "431 headers_too_large"},
		{"GET /v1/nodes/a" + head + strings.Repeat("X: y\r\n", 3000) + "\r\n", "431 headers_too_large"},
		{"GET /v1/nodes/a" + head + "X: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", "431"},
		{"PUT /v1/nodes/a" + head + "Content-Length: 9999999999\r\n\r\n", "413 too_large"},
		{"PUT /v1/nodes/a" + head + "Content-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n", "413 too_large"},
		{"PUT /v1/nodes/a" + head + "Content-Length: x\r\n\r\n", "400"},
		{"PUT /v1/nodes/a" + head + "Transfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n", "400 invalid_argument"},
		{"PUT /v1/nodes/a" + head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 1<<16)+"\r\n", 17), "413 too_large"},
		{"PUT /v1/nodes/c" + head + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "201"},
		{"PUT /v1/nodes/c" + head + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "200"},
		{"GET /v1/nodes/a HTTP/1.1\r\nConnection: close\r\n\r\n", "400"},
		{"GET /v1/nodes/a HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "421 misdirected_request"},
		{"OPTIONS /v1/nodes/a" + head + "\r\n", "405 method_not_allowed"},
	} {
		s.raw(c[0]).want(c[1])
	}
	if got := s.send("GET /v1/nodes/c", ""); string(got.body) != "hi" {
		t.Errorf("chunks became %q", got.body)
	}
	s.send("GET /v1/nodes/a", "").want("404 no_node")
}

// TestHalfClosed: a client that stops sending is told so, or looks like one that
// is gone. Then it gets no answer, but never a 200 that nobody gave.
func TestHalfClosed(t *testing.T) {
	s := serveEdge(t)
	s.send("PUT /v1/nodes/a", "x").want("201")
	for request, want := range map[string]string{
		"PUT /v1/nodes/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf":               "HTTP/1.1 400 ",
		"PUT /v1/nodes/b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf": "HTTP/1.1 400 ",
		"GET /v1/nodes/b?wait_ms=9000 HTTP/1.1\r\nHost: localhost\r\n\r\n":                           "",
		"GET /v1/watch/a?wait_ms=9000 HTTP/1.1\r\nHost: localhost\r\n\r\n":                           "",
	} {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(conn) // a reset is as good as an end
		if !bytes.HasPrefix(got, []byte(want)) || want == "" && len(got) > 0 {
			t.Errorf("%q is answered with %q", request, got)
		}
		_ = conn.Close()
	}
	s.send("GET /v1/nodes/b", "").want("404 no_node")
}

func TestHosts(t *testing.T) {
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	for host, served := range map[string]bool{
		"localhost": true, "localhost:7070": true, "LOCALHOST": true, "localhost.": true, "a.localhost:1": true,
		"127.0.0.1": true, "127.0.0.1:7070": true, "127.9.9.9": true, "[::1]": true, "[::1]:7070": true, "::1": false,
		"[::ffff:127.0.0.1]:1": true, "": false, "evil.example": false, "evil.example:7070": false, "localhost.evil.example": false,
		"notlocalhost": false, "10.0.0.1": false, "127.0.0.1.evil.example": false, "0.0.0.0": false, "[fe80::1]": false, "1": false,
	} {
		for _, any := range []bool{false, true} {
			e := newEdgeTest(t, func(o *Options) { o.AnyHost = any })
			r := request("GET /livez", "")
			r.Host = host
			want := "200"
			if !served && !any {
				want = "421 misdirected_request"
			}
			ctx := context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(loopback))
			e.serve(r.WithContext(ctx)).want(want)
			elsewhere := context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}))
			e.serve(r.WithContext(elsewhere)).want("200")
		}
	}
}

// TestOtherOrigins: a page of another origin writes nothing and gets no CORS.
func TestOtherOrigins(t *testing.T) {
	e := newEdgeTest(t)
	for _, headers := range [][]string{
		{"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}, {"Origin: http://evil.example"}, {"Origin: null"},
	} {
		for _, line := range []string{"PUT /v1/nodes/a", "POST /v1/nodes/a", "DELETE /v1/nodes/a", "POST /v1/sessions"} {
			e.do(line, "x", headers...).want("403 permission_denied")
		}
		a := e.do("GET /v1/nodes/a", "", headers...).want("404 no_node")
		for name := range a.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s is sent", name)
			}
		}
	}
	e.do("PUT /v1/nodes/a", "x", "Sec-Fetch-Site: same-origin").want("201")
	e.do("PUT /v1/nodes/a", "x", "Origin: http://localhost").want("200")
}

// slow is a body whose deadline passes.
type slow struct{ tap }

func (s *slow) SetReadDeadline(t time.Time) error {
	s.limits = append(s.limits, t)
	return nil
}

func TestBodyDeadlines(t *testing.T) {
	e := newEdgeTest(t)
	for _, c := range []struct {
		length   int64
		patience time.Duration
	}{{1, bodyPatience}, {1 << 20, bodyPatience + 16*time.Second}, {-1, bodyPatience + 16*time.Second}} {
		r := request("PUT /v1/nodes/a", "x")
		ctx, cancel := context.WithCancel(t.Context())
		r = r.WithContext(ctx)
		r.Body, r.ContentLength = io.NopCloser(deadReader{cancel}), c.length
		w := &slow{tap{header: http.Header{}}}
		began := time.Now()
		e.h.ServeHTTP(w, r)
		if w.status != http.StatusRequestTimeout || !bytes.Contains([]byte(w.pending.String()), []byte("request_timeout")) {
			t.Errorf("length %d: %d %s", c.length, w.status, w.pending.String())
		}
		if len(w.limits) != 1 || w.limits[0].Before(began.Add(c.patience)) || w.limits[0].After(time.Now().Add(c.patience)) {
			t.Errorf("length %d: deadlines %v after %v", c.length, w.limits, began)
		}
	}
	w := &slow{tap{header: http.Header{}}}
	e.h.ServeHTTP(w, request("GET /v1/nodes/a", ""))
	if len(w.limits) != 0 {
		t.Errorf("a request without a body has deadlines %v", w.limits)
	}
}

// deadReader ends the context of its request, as a read of net/http that fails.
type deadReader struct{ cancel context.CancelFunc }

func (d deadReader) Read([]byte) (int, error) {
	d.cancel()
	return 0, os.ErrDeadlineExceeded
}

func TestServerBounds(t *testing.T) {
	h, err := New(Options{Service: newTestService(), WaitMax: 100 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(h)
	if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes != 64<<10 || s.HTTP2.MaxConcurrentStreams > 250 {
		t.Errorf("server %+v", s)
	}
	if s.WriteTimeout <= 100*time.Second || s.ReadTimeout != 0 {
		t.Errorf("a wait does not fit: %v, %v", s.WriteTimeout, s.ReadTimeout)
	}
}

var _ lease.Service = panics{}
