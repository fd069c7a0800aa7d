package bench

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answerWith listens on a free port and answers every connection with the
// pieces of text, one write each, whatever was asked, once per text.
func answerWith(t *testing.T, texts ...[]string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for _, pieces := range texts {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					for _, piece := range pieces {
						_, _ = io.WriteString(c, piece)
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// Answers are parsed in whatever pieces they arrive, and the connection is at
// the beginning of the next answer afterwards.
func TestClientParsesAnswers(t *testing.T) {
	const next = "HTTP/1.1 299 Next\r\ncontent-length: 0\r\n\r\n"
	for name, c := range map[string]struct {
		text   string
		status int
	}{
		"length":         {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200},
		"empty":          {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200},
		"no content":     {"HTTP/1.1 204 No Content\r\n\r\n", 204},
		"not modified":   {"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304},
		"chunks":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", 200},
		"trailers":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n0\r\nTrailer: 1\r\n\r\n", 200},
		"interim":        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", 503},
		"other case":     {"HTTP/1.1 404 Not Found\r\ncOnTeNt-LeNgTh:  3 \r\n\r\nno.", 404},
		"beyond buffer":  {"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("v", 20000), 200},
		"nearly 8 KiB":   {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("v", 8000) + "\r\nContent-Length: 5\r\n\r\nhello", 200},
		"looks like end": {"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n\r\n\r\n\r\n\r\n", 200},
	} {
		for _, width := range []int{1, 3, 1000, len(c.text)} {
			t.Run(name, func(t *testing.T) {
				var pieces []string
				for rest := c.text; rest != ""; {
					n := min(width, len(rest))
					pieces, rest = append(pieces, rest[:n]), rest[n:]
				}
				conn := newConn(answerWith(t, pieces, []string{next}))
				defer conn.close()
				request := []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				if status, err := conn.do(request, time.Now()); status != c.status || err != nil {
					t.Fatalf("got %d, %v, want %d", status, err, c.status)
				}
				if status, err := conn.do(request, time.Now()); status != 299 || err != nil {
					t.Fatalf("next answer: got %d, %v", status, err)
				}
			})
		}
	}
}

func TestClientRefusesNonsense(t *testing.T) {
	for name, text := range map[string]string{
		"no HTTP":         "220 mail.example ESMTP\r\n\r\n",
		"no length":       "HTTP/1.1 200 OK\r\n\r\n",
		"cut short":       "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
		"negative length": "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
		"bad chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"huge head":       "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("v", 9000) + "\r\n\r\n",
		"no colon":        "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
		"closed":          "",
	} {
		t.Run(name, func(t *testing.T) {
			conn := newConn(answerWith(t, []string{text}))
			defer conn.close()
			if status, err := conn.do([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), time.Now()); err == nil {
				t.Fatalf("accepted with status %d", status)
			}
		})
	}
}

// A connection that the server closes is dialled again and counts no error.
func TestClientDialsAgain(t *testing.T) {
	addr := answerWith(t, []string{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"})
	conn := newConn(addr)
	for range 3 {
		if status, err := conn.do([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), time.Now()); status != 200 || err != nil {
			t.Fatalf("got %d, %v", status, err)
		}
	}
}

func TestMatrixCountsOnlySuccess(t *testing.T) {
	bare := httptest.NewServer(Bare(64))
	defer bare.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer refusing.Close()
	addr := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	m := Matrix{
		Addrs: []string{addr(refusing)}, Bare: addr(bare), Modes: []Mode{Write, Read}, Conns: []int{2}, Rounds: 1,
		Load: Load{Duration: 50 * time.Millisecond, Value: 64},
	}
	cells := map[Mode]Cell{}
	if err := m.Run(context.Background(), func(c Cell) { cells[c.Mode] = c }); err != nil {
		t.Fatal(err)
	}
	if c := cells[Write]; c.Perch.Requests == 0 || c.Perch.Errors != 0 || c.Bare.Requests == 0 {
		t.Errorf("writes: %+v", c)
	}
	if c := cells[Read]; c.Perch.Requests != 0 || c.Perch.Errors == 0 || c.Perch.Error != "status 503" {
		t.Errorf("refused reads: %+v", c)
	}
	var out strings.Builder
	Head(&out, true)
	cells[Write].Line(&out)
	for line := range strings.Lines(out.String()) {
		if n := strings.Count(line, "|"); n != 10 {
			t.Errorf("line has %d bars: %s", n, line)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	bare := httptest.NewServer(Bare(1))
	defer bare.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Load{Addrs: []string{bare.Listener.Addr().String()}, Mode: Local, Conns: 1, Duration: time.Hour}.Run(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 200\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		a, err := parseHead(head)
		if err == nil && (a.status < 100 || a.status > 999 || a.length < -1) {
			t.Fatalf("%q gave %+v", head, a)
		}
	})
}
