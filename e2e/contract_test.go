package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// With PERCH_PRISM, Prism's entry file, every request of this package that goes
// by web passes through Prism, which holds requests and answers against
// openapi.yaml. `make contract` sets it. One Prism serves all nodes: it passes
// everything to a router in this process, which sends it on to the node that
// upstreamHeader names.

const (
	upstreamHeader   = "X-E2e-Upstream"
	unreachedHeader  = "X-E2e-Unreached" // the router had no answer of a node
	violationsHeader = "Sl-Violations"
)

func TestMain(m *testing.M) {
	prism := os.Getenv("PERCH_PRISM")
	if prism == "" {
		os.Exit(m.Run())
	}
	v, err := startValidator(prism)
	if err != nil {
		fmt.Fprintln(os.Stderr, "PERCH_PRISM:", err)
		os.Exit(1)
	}
	web.Transport = v
	code := m.Run()
	v.stop()
	os.Exit(max(code, v.report()))
}

// validator sends requests through Prism and keeps what that complains of.
type validator struct {
	direct http.RoundTripper
	prism  *exec.Cmd
	addr   string
	router *httptest.Server

	mu         sync.Mutex
	passed     int
	violations map[string]string // one example of each kind
}

// startValidator starts Prism and waits until it answers.
func startValidator(file string) (*validator, error) {
	v := &validator{direct: web.Transport, violations: map[string]string{}}
	v.router = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Header.Get(upstreamHeader)
			r.Out.Host = r.Out.URL.Host
			r.Out.Header.Del(upstreamHeader)
		},
		Transport:     v.direct,
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.Header().Set(unreachedHeader, err.Error())
			w.WriteHeader(http.StatusBadGateway)
		},
	})
	addrs, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	v.addr = addrs[0]
	host, port, _ := strings.Cut(v.addr, ":")
	v.prism = exec.Command("node", file, "proxy", "../openapi.yaml", v.router.URL,
		"--host", host, "--port", port, "--verboseLevel", "fatal")
	v.prism.Stdout, v.prism.Stderr = os.Stderr, os.Stderr
	if err := v.prism.Start(); err != nil {
		return nil, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		resp, err := http.Get("http://" + v.addr + "/healthz")
		if err == nil {
			resp.Body.Close()
			return v, nil
		}
	}
	v.stop()
	return nil, errors.New("prism does not answer")
}

func (v *validator) stop() {
	_ = v.prism.Process.Kill()
	_ = v.prism.Wait()
	v.router.Close()
}

// RoundTrip implements http.RoundTripper.
func (v *validator) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.Header.Set(upstreamHeader, r.URL.Host)
	out.URL.Host, out.Host = v.addr, ""
	oneSegment(out.URL)
	if out.Header.Get("Content-Type") == "" {
		out.Header.Set("Content-Type", contentType(r)) // the contract names one; a node does not look
	}
	resp, err := v.direct.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	if why := resp.Header.Get(unreachedHeader); why != "" {
		resp.Body.Close()
		return nil, errors.New(why)
	}
	v.note(r, resp)
	return resp, nil
}

// treePath is the part of a URL before a node's path.
var treePath = regexp.MustCompile(`^/v1/(?:nodes|stat|children|tree|acl|acl-default|quota|watch|stream)/`)

// oneSegment writes a node's path as a generated client does: to OpenAPI a
// parameter is one segment, and never empty.
func oneSegment(u *url.URL) {
	head := treePath.FindString(u.Path)
	if head == "" {
		return
	}
	tail := u.EscapedPath()[len(head):]
	if tail == "" {
		u.Path, tail = head+"/", "/" // the root
	}
	u.RawPath = head + strings.ReplaceAll(tail, "/", "%2F")
}

// contentType is what a generated client would send.
func contentType(r *http.Request) string {
	for _, part := range []string{"/v1/nodes/", "/messages", "/complete"} {
		if strings.Contains(r.URL.Path, part) {
			return "application/octet-stream"
		}
	}
	return "application/json"
}

// note keeps the violations. A request that the node refuses may violate the
// contract; no answer may, and no request that it grants.
func (v *validator) note(r *http.Request, resp *http.Response) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.passed++
	found := resp.Header.Get(violationsHeader)
	if found == "" || resp.StatusCode >= 400 && !strings.Contains(found, `"response"`) {
		return
	}
	kind := r.Method + " " + treePath.FindString(r.URL.Path)
	if !strings.HasSuffix(kind, "/") {
		kind += r.URL.Path
	}
	v.violations[fmt.Sprintf("%s: %d: %s", kind, resp.StatusCode, found)] = r.URL.RequestURI()
}

// report tells what was found; the exit code is 1 if anything was, or nothing
// passed.
func (v *validator) report() int {
	for kind, example := range v.violations {
		fmt.Printf("violation: %s, as of %s\n", kind, example)
	}
	fmt.Printf("contract: %d requests through Prism, %d kinds of violation\n", v.passed, len(v.violations))
	if len(v.violations) > 0 || v.passed == 0 {
		return 1
	}
	return 0
}
