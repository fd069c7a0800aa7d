package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// operation is one of the contract.
type operation struct {
	id, method string
	path       *regexp.Regexp
	called     bool
}

var (
	parameter = regexp.MustCompile(`\\\{[a-z_]+\\\}`)
	methods   = []string{"get", "head", "put", "post", "delete"}
)

// operations are all of the contract.
func operations(t testing.TB) (all []*operation) {
	t.Helper()
	text, err := os.ReadFile(contract)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]yaml.Node
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for path, item := range document.Paths {
		pattern := regexp.MustCompile("^" + parameter.ReplaceAllString(regexp.QuoteMeta(path), "[^/]*") + "$")
		for method, node := range item {
			var o struct {
				ID string `yaml:"operationId"`
			}
			if !slices.Contains(methods, method) {
				continue
			}
			if err := node.Decode(&o); err != nil {
				t.Fatal(err)
			}
			all = append(all, &operation{id: o.ID, method: strings.ToUpper(method), path: pattern})
		}
	}
	return all
}

// proxied is a cluster behind a proxy that compares every request and every
// answer with the contract.
type proxied struct {
	*testing.T
	url        string
	operations []*operation
}

func startProxied(t *testing.T) *proxied {
	urls := startNodes(t, 3)
	addr := freeAddrs(t, 1)[0]
	host, port, _ := strings.Cut(addr, ":")
	p := start(t, "prism", os.Environ(), "node", "node_modules/@stoplight/prism-cli/dist/index.js",
		"proxy", contract, urls[0], "--errors", "--host", host, "--port", port, "--verboseLevel", "warn")
	p.await("http://"+addr+"/readyz", http.StatusOK)
	return &proxied{T: t, url: "http://" + addr, operations: operations(t)}
}

// reply is an answer; fields are those of its JSON.
type reply struct {
	status int
	header http.Header
	body   string
	fields map[string]any
}

func (r reply) text(field string) string { return fmt.Sprint(r.fields[field]) }

// number is an integer of the answer, as it was written there.
func (r reply) number(field string) string {
	n, _ := r.fields[field].(json.Number)
	return n.String()
}

// send sends a request by the proxy; a violation fails the test, which goes on.
func (p *proxied) send(status int, method, path, body string, header ...string) reply {
	p.Helper()
	r := p.exchange(method, path, body, header...)
	switch {
	case strings.Contains(r.body, "stoplight.io/prism/errors"), r.header.Get("Sl-Violations") != "":
		p.Errorf("%s %s %s violates the contract: %s %s", method, path, body, r.body, r.header.Get("Sl-Violations"))
	case r.status != status:
		p.Errorf("%s %s %s: status %d, want %d: %s", method, path, body, r.status, status, r.body)
	}
	path, _, _ = strings.Cut(path, "?")
	for _, o := range p.operations {
		if o.method == method && o.path.MatchString(path) {
			o.called = true
		}
	}
	return r
}

func (p *proxied) exchange(method, path, body string, header ...string) (r reply) {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	if raw := strings.HasPrefix(path, "/v1/nodes/") || strings.Contains(path, "/messages") || strings.Contains(path, "/complete"); raw {
		req.Header.Set("Content-Type", octets)
	} else if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Errorf("%s %s: %v", method, path, err)
	}
	r = reply{status: resp.StatusCode, header: resp.Header, body: string(text)}
	d := json.NewDecoder(strings.NewReader(r.body))
	d.UseNumber()
	_ = d.Decode(&r.fields)
	return r
}

// shorthands for the method
func (p *proxied) get(status int, path string, header ...string) reply {
	p.Helper()
	return p.send(status, http.MethodGet, path, "", header...)
}

func (p *proxied) put(status int, path, body string, header ...string) reply {
	p.Helper()
	return p.send(status, http.MethodPut, path, body, header...)
}

func (p *proxied) post(status int, path, body string, header ...string) reply {
	p.Helper()
	return p.send(status, http.MethodPost, path, body, header...)
}

func (p *proxied) del(status int, path string, header ...string) reply {
	p.Helper()
	return p.send(status, http.MethodDelete, path, "", header...)
}

// Every operation of the contract is called through a proxy that knows nothing
// of Perch but openapi.yaml, with what it does and with its usual refusals.
func TestValidatingProxy(t *testing.T) {
	p := startProxied(t)
	for _, part := range []func(){p.nodes, p.watching, p.sessions, p.locks, p.semaphores, p.elections,
		p.once, p.barriers, p.counters, p.queues, p.access, p.cluster} {
		part()
	}
	for _, o := range p.operations {
		if !o.called {
			t.Errorf("%s was not called", o.id)
		}
	}
	if !t.Failed() {
		t.Logf("%d operations without a violation", len(p.operations))
	}
}
