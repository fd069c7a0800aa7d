package clients

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"perch/gen/client"
)

const (
	octets = "application/octet-stream"
	goRoot = "of go/50% off/größe, ключ"
	goWait = int32(20_000)
)

// scenario is that of doc.go with the client of gen/client.
type scenario struct {
	*testing.T
	ctx     context.Context
	a, b, c *client.ClientWithResponses
}

func TestGoClient(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s := scenario{T: t, ctx: ctx}
	urls := startNodes(t, 3)
	for i, c := range []**client.ClientWithResponses{&s.a, &s.b, &s.c} {
		var err error
		if *c, err = client.NewClientWithResponses(urls[i]); err != nil {
			t.Fatal(err)
		}
	}
	s.preconditions()
	s.children()
	s.watching()
	s.locking()
}

// answer is what all answers of the generated client have.
type answer interface {
	StatusCode() int
	GetBody() []byte
}

// must has a call that has to have the status.
func must[A answer](s scenario, status int) func(A, error) A {
	s.Helper()
	return func(a A, err error) A {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
		if a.StatusCode() != status {
			s.Fatalf("status %d, want %d: %s", a.StatusCode(), status, a.GetBody())
		}
		return a
	}
}

func (s scenario) check(holds bool, what string, seen any) {
	s.Helper()
	if !holds {
		s.Fatalf("%s: %+v", what, seen)
	}
}

func (s scenario) create(c *client.ClientWithResponses, path, value string, status int) *client.CreateNodeHTTPResponse {
	s.Helper()
	parents := true
	return must[*client.CreateNodeHTTPResponse](s, status)(c.CreateNodeWithBodyWithResponse(s.ctx, path,
		&client.CreateNodeParams{Parents: &parents}, octets, strings.NewReader(value)))
}

func (s scenario) put(c *client.ClientWithResponses, status int, code, value, path string, params client.PutNodeParams) *client.PutNodeHTTPResponse {
	s.Helper()
	r := must[*client.PutNodeHTTPResponse](s, status)(c.PutNodeWithBodyWithResponse(s.ctx, path, &params, octets, strings.NewReader(value)))
	s.check(code == "" || r.ApplicationProblemJSON4XX.Code == code, "code", string(r.Body))
	return r
}

func (s scenario) read(c *client.ClientWithResponses, path string, params client.ReadNodeParams) *client.ReadNodeHTTPResponse {
	s.Helper()
	return must[*client.ReadNodeHTTPResponse](s, http.StatusOK)(c.ReadNodeWithResponse(s.ctx, path, &params))
}

func (s scenario) preconditions() {
	made := s.create(s.a, goRoot, "eins \x00\xff", http.StatusCreated)
	s.check(made.JSON201.Path == "/"+goRoot, "path", made.JSON201)
	location, err := url.PathUnescape(made.Headers201.Location)
	s.check(err == nil && location == "/v1/nodes/"+goRoot, "Location", location)
	read := s.read(s.b, goRoot, client.ReadNodeParams{})
	s.check(string(read.Body) == "eins \x00\xff", "bytes", read.Body)
	etag := read.Headers200.ETag
	s.check(etag == strconv.Quote(made.JSON201.Etag), "ETag", etag)
	twice := s.create(s.b, goRoot, "", http.StatusConflict)
	s.check(twice.ApplicationProblemJSON4XX.Code == "node_exists", "code", string(twice.Body))

	changed := s.put(s.c, http.StatusOK, "", "zwei", goRoot, client.PutNodeParams{IfMatch: &etag})
	s.check(changed.JSON200.Stat.Version == 1, "version", changed.JSON200)
	s.put(s.a, http.StatusPreconditionFailed, "etag_mismatch", "drei", goRoot, client.PutNodeParams{IfMatch: &etag})
	one := int64(1)
	s.put(s.b, http.StatusOK, "", "vier", goRoot, client.PutNodeParams{Version: &one})
	s.put(s.c, http.StatusPreconditionFailed, "version_mismatch", "five", goRoot, client.PutNodeParams{Version: &one})
}

func (s scenario) children() {
	var want []string
	for _, name := range []string{"100%", "a b", "q?x=1&y#z", "zeiß", "日本"} {
		path := goRoot + "/" + name
		s.create(s.b, path, name, http.StatusCreated)
		read := s.read(s.c, path, client.ReadNodeParams{})
		s.check(string(read.Body) == name, "bytes", string(read.Body))
		want = append(want, "/"+path+"="+name)
	}
	list := must[*client.ListChildrenHTTPResponse](s, http.StatusOK)(s.c.ListChildrenWithResponse(s.ctx, goRoot,
		&client.ListChildrenParams{Include: &client.Include{"text"}}))
	var seen []string
	for _, child := range list.JSON200.Nodes {
		seen = append(seen, child.Path+"="+*child.Text)
	}
	slices.Sort(seen)
	slices.Sort(want)
	s.check(slices.Equal(seen, want), "children", seen)
}

// later starts a call and returns what waits for its end.
func later[A any](call func() (A, error)) func() (A, error) {
	var a A
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		a, err = call()
	}()
	return func() (A, error) { <-done; return a, err }
}

func (s scenario) watching() {
	path, wait := goRoot+"/100%", goWait
	first := must[*client.WatchNodeHTTPResponse](s, http.StatusOK)(s.a.WatchNodeWithResponse(s.ctx, path, nil))
	poll := later(func() (*client.WatchNodeHTTPResponse, error) {
		return s.a.WatchNodeWithResponse(s.ctx, path, &client.WatchNodeParams{Since: &first.JSON200.Cursor, WaitMs: &wait})
	})
	etag := s.read(s.b, path, client.ReadNodeParams{}).Headers200.ETag
	longRead := later(func() (*client.ReadNodeHTTPResponse, error) {
		return s.b.ReadNodeWithResponse(s.ctx, path, &client.ReadNodeParams{IfNoneMatch: &etag, WaitMs: &wait})
	})
	put := s.put(s.c, http.StatusOK, "", "seen", path, client.PutNodeParams{})

	batch := must[*client.WatchNodeHTTPResponse](s, http.StatusOK)(poll()).JSON200
	s.check(len(batch.Events) == 1, "events", batch)
	event := batch.Events[0]
	s.check(event.Type == "changed" && event.Path == "/"+path && event.Zxid == put.JSON200.Stat.Mzxid, "event", event)
	read := must[*client.ReadNodeHTTPResponse](s, http.StatusOK)(longRead())
	s.check(string(read.Body) == "seen", "long read", string(read.Body))
}

func (s scenario) acquire(c *client.ClientWithResponses, name string, wait int32) (*client.AcquireLockHTTPResponse, error) {
	owner, ttl := "größe", time.Minute.Milliseconds()
	return c.AcquireLockWithResponse(s.ctx, name, nil, client.AcquireSpec{Owner: &owner, TTLMs: &ttl, WaitMs: &wait})
}

func (s scenario) release(c *client.ClientWithResponses, name string, token *string) {
	s.Helper()
	must[*client.ReleaseLockHTTPResponse](s, http.StatusNoContent)(c.ReleaseLockWithResponse(s.ctx, name,
		&client.ReleaseLockParams{PerchSession: token}, client.ReleaseRef{}))
}

func (s scenario) locking() {
	const name = "go:job.1"
	grant := must[*client.AcquireLockHTTPResponse](s, http.StatusOK)(s.acquire(s.a, name, 0)).JSON200
	refused := must[*client.AcquireLockHTTPResponse](s, http.StatusConflict)(s.acquire(s.b, name, 0)).ApplicationProblemJSON4XX
	s.check(refused.Code == "lock_held" && *refused.Holder.Owner == "größe", "refusal", refused)
	state := must[*client.GetLockHTTPResponse](s, http.StatusOK)(s.c.GetLockWithResponse(s.ctx, name, nil)).JSON200
	s.check(len(state.Holders) == 1 && *state.Holders[0].FencingToken == grant.FencingToken, "state", state)

	fence := client.Fence{fmt.Sprintf("%s:%d", name, grant.FencingToken)}
	s.put(s.c, http.StatusOK, "", "fenced", goRoot, client.PutNodeParams{Fence: &fence})
	waiting := later(func() (*client.AcquireLockHTTPResponse, error) { return s.acquire(s.b, name, goWait) })
	s.release(s.c, name, grant.SessionToken)
	second := must[*client.AcquireLockHTTPResponse](s, http.StatusOK)(waiting()).JSON200
	s.check(second.FencingToken > grant.FencingToken, "tokens", second)
	s.put(s.a, http.StatusPreconditionFailed, "fence_stale", "late", goRoot, client.PutNodeParams{Fence: &fence})
	s.release(s.a, name, second.SessionToken)
}
