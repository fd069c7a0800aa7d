package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const specmatic = "node_modules/specmatic/specmatic.jar"

// masking are parameters whose values Specmatic can only guess: they would
// have every request refused before what was made wrong in it is looked at.
var masking = []string{"SessionToken", "IdempotencyKey", "Fence", "IfMatch", "IfNoneMatch", "Version", "MinZxid",
	"Since", "PageToken", "Prefer", "LastEventId"}

// unfit are paths that are not tried: a stream does not end, and the last two
// are about the cluster itself.
var unfit = []string{"/v1/stream/{path}", "/v1/cluster/transfer", "/v1/cluster/members/{id}"}

// refusals stand for 4XX, which Specmatic does not know.
var refusals = []string{"400", "403", "404", "405", "409", "410", "412", "413", "415", "422", "429"}

// object is one of the document.
type object = map[string]any

// fitted is the contract as Specmatic takes it: without ranges of statuses, and
// without what needs knowledge of the state.
func fitted(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(contract)
	if err != nil {
		t.Fatal(err)
	}
	var document object
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	delete(document, "security")
	delete(document["components"].(object), "securitySchemes")
	paths := document["paths"].(object)
	for _, path := range unfit {
		delete(paths, path)
	}
	for _, item := range paths {
		delete(item.(object), "parameters") // Perch-Session
		for _, operation := range item.(object) {
			fit(operation.(object))
		}
	}
	if text, err = json.Marshal(document); err != nil {
		t.Fatal(err)
	}
	return text
}

func fit(operation object) {
	responses := operation["responses"].(object)
	for _, status := range refusals {
		responses[status] = responses["4XX"]
	}
	delete(responses, "4XX")
	delete(responses, "5XX")
	if parameters, ok := operation["parameters"].([]any); ok {
		operation["parameters"] = slices.DeleteFunc(parameters, func(p any) bool {
			ref, _ := p.(object)["$ref"].(string)
			return slices.Contains(masking, ref[strings.LastIndex(ref, "/")+1:])
		})
	}
}

// record is a proxy that keeps what must not be: a request that Specmatic made
// wrong and that is obeyed, and any answer of the 5xx.
type record struct {
	t            *testing.T
	mu           sync.Mutex
	total, wrong int
}

func (r *record) proxy(node string) *httptest.Server {
	target, err := url.Parse(node)
	if err != nil {
		r.t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(target)
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		body = withoutWait(body)
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		req.URL.RawQuery = string(withoutWait([]byte(req.URL.RawQuery)))
		wanted := req.Header.Get("Specmatic-Response-Code")
		line := req.Method + " " + req.URL.String() + " " + string(body[:min(len(body), 512)])
		answer := &statusWriter{ResponseWriter: w}
		forward.ServeHTTP(answer, req)
		r.note(wanted, line, answer.status)
	}))
}

// waits are those of a query and of a body.
var waits = regexp.MustCompile(`(\bwait_ms=|"wait_ms" *: *)([0-9]+)\b`)

// withoutWait has a wait that is allowed end at once: nobody comes to end it.
func withoutWait(text []byte) []byte {
	return waits.ReplaceAllFunc(text, func(wait []byte) []byte {
		part := waits.FindSubmatch(wait)
		if n, err := strconv.Atoi(string(part[2])); err != nil || n > 300_000 {
			return wait
		}
		return slices.Concat(part[1], []byte{'0'})
	})
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (r *record) note(wanted, line string, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	refused := strings.HasPrefix(wanted, "4")
	if refused {
		r.wrong++
	}
	switch {
	case status >= 500:
		r.t.Errorf("status %d: %s", status, line)
	case refused && status < 300:
		r.t.Errorf("status %d of a wrong request: %s", status, line)
	}
}

// Requests that Specmatic derives from the contract, right ones and wrong ones:
// no wrong one is obeyed, and none at all makes a node fail.
func TestNegativeRequests(t *testing.T) {
	document := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(document, fitted(t), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &record{t: t}
	proxy := r.proxy(startNodes(t, 1)[0])
	defer proxy.Close()
	combinations, limit := "2", 5*time.Minute
	if soak {
		combinations, limit = "16", time.Hour
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	jar, err := filepath.Abs(specmatic)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "java", append(slices.Clone(quick), "-jar", jar, "test", document, "--testBaseURL="+proxy.URL)...)
	cmd.Dir = t.TempDir() // it leaves reports behind
	cmd.Env = append(os.Environ(), "SPECMATIC_GENERATIVE_TESTS=true", "MAX_TEST_REQUEST_COMBINATIONS="+combinations)
	// It fails wherever a right request is refused for its state, so that its own verdict says little.
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil || r.wrong < 100 {
		t.Fatalf("%d requests, %d of them wrong: %v\n%s", r.total, r.wrong, err, output[max(0, len(output)-4096):])
	}
	if !t.Failed() {
		t.Logf("%d requests, %d of them wrong, which were refused", r.total, r.wrong)
	}
}
