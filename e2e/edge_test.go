package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What the command line asks for and is not safe, or does not exist, is
// refused with a remedy and exit code 2.
func TestRefusedConfigurations(t *testing.T) {
	for name, c := range map[string]struct {
		env  []string
		args []string
		want []string
	}{
		"reachable from outside": {nil, []string{"--http", "0.0.0.0:0"}, []string{"--http 0.0.0.0:0", "--tls-cert", "--auth", "--insecure"}},
		"not built":              {nil, []string{"--console"}, []string{"unknown flag: --console"}},
		"not built, environment": {[]string{"PERCH_CONSOLE=x"}, nil, []string{"PERCH_CONSOLE"}},
		"all faults at once":     {nil, []string{"--id", "0", "--http", "x", "--peers", "y"}, []string{"--id", "--http", "--peers"}},
		"remote peers":           {nil, []string{"--peers", "1=192.0.2.1:7501,2=192.0.2.2:7501,3=192.0.2.3:7501"}, []string{"--secret-file"}},
		"an argument too many":   {nil, []string{"now"}, []string{"unknown command"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"serve", "--data", t.TempDir()}, c.args...)
			code, out := runToEnd(t, c.env, args...)
			if code != 2 {
				t.Errorf("exit code %d", code)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
		})
	}
}

// Malformed and hostile requests get a status of the 4xx kind or a closed
// connection, change nothing, and the node serves on.
func TestMalformedRequests(t *testing.T) {
	n := startOne(t)
	n.put("/safe", "safe")
	before := n.must(http.StatusOK, http.MethodGet, "/v1/nodes/safe", "").header.Get("ETag")
	host := "Host: " + n.addr + "\r\n"
	big := strings.Repeat("x", 17<<10)
	for name, c := range map[string]struct {
		request string
		want    string // status; several by |
		code    string // Perch-Code
	}{
		"no HTTP":               {"hello\r\n\r\n", "400", ""},
		"no host":               {"GET /v1/cluster HTTP/1.1\r\n\r\n", "400", ""},
		"foreign host":          {"GET /v1/cluster HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421", "misdirected_request"},
		"two hosts":             {"GET /v1/cluster HTTP/1.1\r\n" + host + host + "\r\n", "400", ""},
		"HTTP/9":                {"GET / HTTP/9.1\r\n" + host + "\r\n", "400|505", ""},
		"bad escape":            {"GET /v1/nodes/%zz HTTP/1.1\r\n" + host + "\r\n", "400", ""},
		"blank in header name":  {"GET /v1/cluster HTTP/1.1\r\n" + host + "X y: z\r\n\r\n", "400", ""},
		"headers over 16 KiB":   {"GET /v1/cluster HTTP/1.1\r\n" + host + "X: " + big + "\r\n\r\n", "431", "headers_too_large"},
		"headers over 64 KiB":   {"GET /v1/cluster HTTP/1.1\r\n" + host + "X: " + strings.Repeat(big, 8) + "\r\n\r\n", "431", ""},
		"path over 1 KiB":       {"GET /v1/nodes/" + big[:1100] + " HTTP/1.1\r\n" + host + "\r\n", "400", "invalid_path"},
		"dots":                  {"GET /v1/nodes/a/../b HTTP/1.1\r\n" + host + "\r\n", "400", "invalid_path"},
		"escaped dots":          {"GET /v1/nodes/a/%2e%2e/b HTTP/1.1\r\n" + host + "\r\n", "400", "invalid_path"},
		"NUL in path":           {"GET /v1/nodes/a%00b HTTP/1.1\r\n" + host + "\r\n", "400", "invalid_path"},
		"overlong UTF-8":        {"GET /v1/nodes/%c0%af HTTP/1.1\r\n" + host + "\r\n", "400", "invalid_path"},
		"empty segment":         {"GET /v1/nodes/a//b HTTP/1.1\r\n" + host + "\r\n", "400", "invalid_path"},
		"no such endpoint":      {"GET /v2/nodes/a HTTP/1.1\r\n" + host + "\r\n", "404", "no_such_endpoint"},
		"not built":             {"POST /v1/snapshots HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n", "404", "no_such_endpoint"},
		"no such method":        {"BREW /v1/nodes/safe HTTP/1.1\r\n" + host + "\r\n", "405", "method_not_allowed"},
		"unknown parameter":     {"GET /v1/nodes/safe?fence=a HTTP/1.1\r\n" + host + "\r\n", "400", "unknown_parameter"},
		"parameter twice":       {"GET /v1/nodes/safe?wait_ms=1&wait_ms=2 HTTP/1.1\r\n" + host + "\r\n", "400", "invalid_argument"},
		"negative wait":         {"GET /v1/nodes/safe?wait_ms=-1 HTTP/1.1\r\n" + host + "\r\n", "400", "invalid_argument"},
		"lengths differ":        {"PUT /v1/nodes/safe HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", "400", ""},
		"negative length":       {"PUT /v1/nodes/safe HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", "400", ""},
		"value over 1 MiB":      {"PUT /v1/nodes/safe HTTP/1.1\r\n" + host + "Content-Length: 1048577\r\n\r\n", "413", "too_large"},
		"unknown coding":        {"PUT /v1/nodes/safe HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n", "400|501", ""},
		"compressed":            {"PUT /v1/nodes/safe HTTP/1.1\r\n" + host + "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "415", "unsupported_encoding"},
		"bad chunk":             {"PUT /v1/nodes/safe HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400", "invalid_argument"},
		"endless chunks":        {"PUT /v1/nodes/safe HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 20), "413", "too_large"},
		"reserved path":         {"PUT /v1/nodes/perch/x HTTP/1.1\r\n" + host + "Content-Length: 1\r\n\r\nx", "403", "reserved_path"},
		"bad JSON":              {"POST /v1/sessions HTTP/1.1\r\n" + host + "Content-Length: 8\r\n\r\n{\"ttl\":}", "400", "invalid_json"},
		"field in another case": {"POST /v1/sessions HTTP/1.1\r\n" + host + "Content-Length: 16\r\n\r\n{\"TTL_MS\": 9000}", "400", "invalid_json"},
		"foreign session":       {"GET /v1/nodes/safe HTTP/1.1\r\n" + host + "Perch-Session: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n", "410", "session_expired"},
		"delete of the root":    {"DELETE /v1/nodes/ HTTP/1.1\r\n" + host + "\r\n", "400", "invalid_argument"},
	} {
		t.Run(name, func(t *testing.T) { rawRequest(t, n, c.request, c.want, c.code) })
	}
	after := n.must(http.StatusOK, http.MethodGet, "/v1/nodes/safe", "")
	if after.body != "safe" || after.header.Get("ETag") != before {
		t.Errorf("it was written: %q with tag %s, before %s", after.body, after.header.Get("ETag"), before)
	}
}

// rawRequest sends the bytes and checks the first answer.
func rawRequest(t *testing.T, n *node, request, want, code string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", n.addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	// The node may answer and close before it has read everything.
	go func() { _, _ = io.WriteString(conn, request) }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	for status := range strings.SplitSeq(want, "|") {
		if fmt.Sprint(resp.StatusCode) == status && resp.Header.Get("Perch-Code") == code {
			return
		}
	}
	t.Errorf("status %d, code %q, want %s, %q: %s", resp.StatusCode, resp.Header.Get("Perch-Code"), want, code, body)
}

// A body that is shorter than its length, because the client went away, has no
// effect.
func TestCutBodyHasNoEffect(t *testing.T) {
	n := startOne(t)
	n.put("/safe", "safe")
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT /v1/nodes/safe HTTP/1.1\r\nHost: %s\r\nContent-Length: 100\r\n\r\nhalf", n.addr)
	_ = conn.Close()
	n.put("/later", "x") // a later write is ordered after whatever the cut one did
	if got := n.must(http.StatusOK, http.MethodGet, "/v1/nodes/safe", "").body; got != "safe" {
		t.Errorf("got %q", got)
	}
}

// Length and chunks in one request count as chunks: one request, one body.
func TestLengthBesideChunks(t *testing.T) {
	n := startOne(t)
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "PUT /v1/nodes/both HTTP/1.1\r\nHost: %s\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", n.addr)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		if got := n.must(http.StatusOK, http.MethodGet, "/v1/nodes/both", "").body; got != "hello" {
			t.Errorf("got %q", got)
		}
	} else if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// A connection that dribbles its header is closed, and others are served
// meanwhile.
func TestSlowHeadersAreCut(t *testing.T) {
	n := startOne(t)
	var slow []net.Conn
	for range 200 {
		conn, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET /v1/cluster HTTP/1.1\r\nX: ")
		slow = append(slow, conn)
	}
	n.put("/meanwhile", "served")
	for _, conn := range slow {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatal("the connection is still open")
		}
	}
}

// HTTP/2 without TLS works beside HTTP/1.1 on the same port.
func TestHTTP2WithoutTLS(t *testing.T) {
	n := startOne(t)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2c := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: patience}
	defer h2c.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodPut, n.url()+"/v1/nodes/h2?parents=true", strings.NewReader("two"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h2c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusCreated {
		t.Errorf("%s, status %d", resp.Proto, resp.StatusCode)
	}
	if got := n.must(http.StatusOK, http.MethodGet, "/v1/nodes/h2", "").body; got != "two" {
		t.Errorf("got %q", got)
	}
}
