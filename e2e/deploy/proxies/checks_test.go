package proxies

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// ask makes one request through the proxy.
func (r *running) ask(method, path, body string, headers ...string) (*http.Response, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 70*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

// want is ask with one status expected.
func (r *running) want(status int, method, path, body string, headers ...string) (*http.Response, string) {
	r.t.Helper()
	resp, text, err := r.ask(method, path, body, headers...)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	if resp.StatusCode != status {
		r.t.Fatalf("%s %s: %s, want %d\n%s", method, path, resp.Status, status, text)
	}
	return resp, text
}

// Before a node and a gateway that is not there everything works that a client
// without a proxy may rely on.
func TestBehindProxies(t *testing.T) {
	node := startNode(t)
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			r := p.run(t, node, freeAddr(t))
			eventually(t, "the proxy answers", func() error {
				_, text, err := r.ask(http.MethodGet, "/readyz", "")
				if err == nil && text != "ready\n" {
					err = fmt.Errorf("%s", text)
				}
				return err
			})
			base := "/" + strings.TrimSuffix(p.name, filepath.Ext(p.name))
			r.checkGone(base)
			r.checkPaths(base)
			r.checkTags(base)
			r.checkBodies(base)
			r.checkPoll(base)
			r.checkStream(base)
			if os.Getenv("PERCH_SOAK") != "" {
				r.checkLongestPoll(base)
			}
		})
	}
}

// checkGone: the gateway that is not there fails nothing that is read, and a
// write at most until the proxy knows.
func (r *running) checkGone(base string) {
	eventually(r.t, "the first write", func() error {
		resp, text, err := r.ask(http.MethodPut, "/v1/nodes"+base+"?parents=true", "x")
		if err == nil && resp.StatusCode/100 != 2 {
			err = fmt.Errorf("%s %s", resp.Status, text)
		}
		return err
	})
	for range 20 {
		r.want(http.StatusOK, http.MethodGet, "/v1/nodes"+base, "")
	}
}

// checkPaths: slashes, as they are and as %2F, and every other escape come
// through as they were sent.
func (r *running) checkPaths(base string) {
	const name = "/a%2525b%20c/d%252B%C3%A9" // of "a%25b c" and "d%2Bé" below it
	escaped := "/" + strings.ReplaceAll(base+name, "/", "%2F")
	r.write("/v1/nodes"+base+name+"?parents=true", "deep")
	for _, form := range []string{base + name, escaped, "/" + base + name} {
		if _, text := r.want(http.StatusOK, http.MethodGet, "/v1/nodes"+form, ""); text != "deep" {
			r.t.Errorf("%s: %q", form, text)
		}
	}
	// An empty segment inside is refused, not tidied away.
	r.want(http.StatusBadRequest, http.MethodGet, "/v1/nodes"+base+"//a", "")
}

// checkTags: a tag that the proxy has weakened because it compressed is still the
// tag of what it was given with.
func (r *running) checkTags(base string) {
	r.write("/v1/nodes"+base+"/tag?parents=true", strings.Repeat("compressible ", 100))
	resp, _ := r.want(http.StatusOK, http.MethodGet, "/v1/nodes"+base+"/tag", "", "Accept-Encoding", "gzip")
	tag := resp.Header.Get("Etag")
	if compressed := resp.Header.Get("Content-Encoding") == "gzip"; compressed != strings.HasPrefix(tag, "W/") {
		r.t.Errorf("compressed: %v, tag %s", compressed, tag)
	} else if strings.HasPrefix(base, "/nginx") && !compressed {
		r.t.Error("nginx did not compress, so nothing was tested")
	}
	r.want(http.StatusNotModified, http.MethodGet, "/v1/nodes"+base+"/tag", "", "If-None-Match", tag)
	r.want(http.StatusOK, http.MethodPut, "/v1/nodes"+base+"/tag", "new", "If-Match", tag)
	r.want(http.StatusPreconditionFailed, http.MethodPut, "/v1/nodes"+base+"/tag", "newer", "If-Match", tag)
}

// checkBodies: the largest value passes, both ways.
func (r *running) checkBodies(base string) {
	value := strings.Repeat("v", 1<<20)
	r.write("/v1/nodes"+base+"/large?parents=true", value)
	if _, text := r.want(http.StatusOK, http.MethodGet, "/v1/nodes"+base+"/large", ""); text != value {
		r.t.Errorf("%d bytes came back of %d", len(text), len(value))
	}
}

// checkPoll: a parked request is answered by the change, not by the proxy.
func (r *running) checkPoll(base string) {
	path := "/v1/nodes" + base + "/poll"
	resp, _ := r.write(path+"?parents=true", "old")
	answers := make(chan string, 1)
	go func() {
		_, text, err := r.ask(http.MethodGet, path+"?wait_ms=50000", "", "If-None-Match", resp.Header.Get("Etag"))
		answers <- fmt.Sprint(text, err)
	}()
	// The answer may be there before the poll is: then the poll needs no waiting.
	r.write(path, "new")
	select {
	case got := <-answers:
		if got != "new<nil>" {
			r.t.Errorf("the poll got %s", got)
		}
	case <-time.After(patience):
		r.t.Error("the poll was not answered")
	}
}

// checkLongestPoll: the longest wait ends with an answer of Perch.
func (r *running) checkLongestPoll(base string) {
	path := "/v1/nodes" + base + "/still"
	resp, _ := r.write(path+"?parents=true", "old")
	began := time.Now()
	r.want(http.StatusNotModified, http.MethodGet, path+"?wait_ms=55000", "", "If-None-Match", resp.Header.Get("Etag"))
	r.t.Logf("a poll of 55 s was answered after %v", time.Since(began).Round(time.Second))
}

// checkStream: each event arrives when it happens, not when the stream ends.
func (r *running) checkStream(base string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	first, _ := r.write("/v1/nodes"+base+"/stream?parents=true", "0")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		r.url+"/v1/stream"+base+"/stream?since="+first.Header.Get("Perch-Zxid"), http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		r.t.Fatalf("%s %s", resp.Status, kind)
	}
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		written, _ := r.write("/v1/nodes"+base+"/stream", fmt.Sprint(i))
		id := "id: " + written.Header.Get("Perch-Zxid")
		for lines.Scan() && lines.Text() != id {
		}
		if lines.Err() != nil || lines.Text() != id {
			r.t.Fatalf("no %q in the stream: %v", id, lines.Err())
		}
	}
}

// write puts a value.
func (r *running) write(path, value string) (*http.Response, string) {
	r.t.Helper()
	resp, text, err := r.ask(http.MethodPut, path, value)
	if err != nil {
		r.t.Fatalf("PUT %s: %v", path, err)
	}
	if resp.StatusCode/100 != 2 {
		r.t.Fatalf("PUT %s: %s\n%s", path, resp.Status, text)
	}
	return resp, text
}

// cutter is a gateway that reads each request and then ends the connection: to
// whoever asked, the outcome is unknown.
type cutter struct {
	mu   sync.Mutex
	seen map[string]int // by path
}

func startCutter(t *testing.T) (*cutter, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{seen: map[string]int{}}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		c.mu.Lock()
		c.seen[r.Method+" "+r.URL.Path]++
		c.mu.Unlock()
		panic(http.ErrAbortHandler)
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return c, l.Addr().String()
}

func (c *cutter) count(request string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[request]
}

// A change whose outcome is unknown is done once by a proxy, not twice: it is the
// client who knows whether it may be repeated.
func TestProxiesRepeatNoChange(t *testing.T) {
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			one, addrOne := startCutter(t)
			two, addrTwo := startCutter(t)
			r := p.run(t, addrOne, addrTwo)
			eventually(t, "the proxy answers", func() error {
				resp, text, err := r.ask(http.MethodGet, "/readyz", "")
				if err == nil && resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("%s %s", resp.Status, text)
				}
				return err
			})
			passed := 0
			for i := range 10 {
				for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
					path := fmt.Sprintf("/v1/nodes/%d", i)
					resp, _, err := r.ask(method, path, "x")
					if err == nil && resp.StatusCode/100 != 5 {
						t.Errorf("%s %s: %s, but nobody has answered", method, path, resp.Status)
					}
					n := one.count(method+" "+path) + two.count(method+" "+path)
					if n > 1 {
						t.Errorf("%s %s was sent %d times", method, path, n)
					}
					passed += n
				}
			}
			if passed == 0 {
				t.Error("the proxy passed nothing on, so nothing was tested")
			}
		})
	}
}
