package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Where the search engine keeps what its parts know of each other.
const (
	nodesPath  = "/search/nodes"
	masterPath = "/search/master"
)

// How long the front end waits for news of the master: with an answer of it,
// and without.
const (
	idleWait = 25 * time.Second
	askAgain = 200 * time.Millisecond
)

// role is one part of the search engine, a process of its own. What it lives
// through it tells in lines of words on out; the orchestrator reads them.
type role struct {
	name   string
	perch  *client
	ttl    time.Duration
	out    io.Writer
	listen net.Listener // where it serves
}

func (r *role) tell(format string, args ...any) { fmt.Fprintf(r.out, format+"\n", args...) }

func (r *role) addr() string { return r.listen.Addr().String() }

// server is a search server: it is listed under /search/nodes while it lives.
// Should its session be lost, it says so and registers again.
func (r *role) server(ctx context.Context) error {
	for {
		s := r.perch.newSession(r.ttl)
		ours, err := s.put(ctx, nodesPath+"/"+r.name, r.addr())
		if err == nil && !ours {
			return fmt.Errorf("there is another server %s", r.name)
		}
		if err == nil {
			r.tell("registered %s", r.name)
			err = s.keepAlive(ctx)
		}
		if !errors.Is(err, errExpired) {
			return err
		}
		r.tell("expired %s", r.name)
	}
}

// master competes for /search/master; who holds it keeps the list of servers
// current and serves it. A loser waits for the node to go: it is the spare.
func (r *role) master(ctx context.Context) error {
	list := serverList{known: make(chan struct{})}
	go func() { _ = http.Serve(r.listen, &list) }()
	for {
		s, err := r.win(ctx)
		if err != nil {
			return err
		}
		r.tell("elected %s", r.addr())
		reign, end := context.WithCancelCause(ctx)
		go func() { end(s.keepAlive(ctx)) }()
		err = r.follow(reign, &list)
		end(err)
		if cause := context.Cause(reign); !errors.Is(cause, errExpired) {
			return cause
		}
		r.tell("deposed %s", r.addr())
	}
}

// win returns once /search/master is held by the session that it returns.
func (r *role) win(ctx context.Context) (*session, error) {
	for {
		s := r.perch.newSession(r.ttl)
		ours, err := s.put(ctx, masterPath, r.addr())
		if ours {
			return s, nil
		}
		if err == nil {
			r.tell("spare %s", r.addr())
			err = r.waitGone(ctx, masterPath)
		}
		if err != nil && !errors.Is(err, errExpired) {
			return nil, err
		}
	}
}

// waitGone returns when there is no node at path: a delete ends every wait.
func (r *role) waitGone(ctx context.Context, path string) error {
	target, header := "/v1/nodes"+path, http.Header{}
	for {
		a, err := r.perch.call(ctx, http.MethodGet, target, header, "")
		if err != nil || a.status == http.StatusNotFound {
			return err
		}
		target = "/v1/nodes" + path + "?wait_ms=25000"
		header.Set("If-None-Match", a.etag)
	}
}

// follow keeps list equal to the children of /search/nodes by long polls.
func (r *role) follow(ctx context.Context, list *serverList) error {
	etag := ""
	for {
		names, next, err := r.perch.childNames(ctx, nodesPath, etag)
		if err != nil {
			return err
		}
		if names != nil {
			list.set(names)
			r.tell("list %d %s", len(names), strings.Join(names, ","))
		}
		etag = next
	}
}

// serverList is what a master serves: the names of the living servers. Being
// elected is known to others before the list is known to the master, so who
// asks in between waits for it.
type serverList struct {
	known chan struct{} // closed with the first list
	once  sync.Once
	mu    sync.Mutex
	names []string
}

func (l *serverList) set(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = names
	l.once.Do(func() { close(l.known) })
}

func (l *serverList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-l.known:
	case <-r.Context().Done():
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = json.NewEncoder(w).Encode(l.names)
}

// front is the front end: it learns of every change of master through a watch
// and asks the master for the servers, until it has had an answer.
func (r *role) front(ctx context.Context) error {
	cursor, answered := "", true
	for {
		wait := idleWait
		if !answered {
			wait = askAgain
		}
		next, changed, err := r.watchMaster(ctx, cursor, wait)
		if err != nil {
			return err
		}
		cursor = next
		if !changed && answered {
			continue
		}
		a, err := r.perch.call(ctx, http.MethodGet, "/v1/nodes"+masterPath, nil, "")
		switch {
		case err != nil:
			return err
		case a.status == http.StatusOK:
			answered = r.askMaster(ctx, string(a.body))
		default:
			answered = true
			r.tell("orphaned")
		}
	}
}

// watchMaster waits for events of /search/master after cursor and returns the
// cursor behind them. Without a cursor it begins where the cluster is now, and
// calls that a change: whoever looks at the node next misses nothing. When the
// cursor is too old it begins anew in the same way.
func (r *role) watchMaster(ctx context.Context, cursor string, wait time.Duration) (next string, changed bool, err error) {
	target := "/v1/watch" + masterPath + "?scope=node"
	if cursor != "" {
		target += fmt.Sprintf("&wait_ms=%d&since=%s", wait.Milliseconds(), cursor)
	}
	a, err := r.perch.call(ctx, http.MethodGet, target, nil, "")
	if err != nil {
		return "", false, err
	}
	if a.status == http.StatusGone {
		return "", false, nil
	}
	if a.status != http.StatusOK {
		return "", false, fmt.Errorf("watching: status %d: %s", a.status, a.body)
	}
	var batch struct {
		Events []json.RawMessage
		Cursor string
	}
	if err := json.Unmarshal(a.body, &batch); err != nil {
		return "", false, err
	}
	return batch.Cursor, cursor == "" || len(batch.Events) > 0, nil
}

// askMaster gets the list from the master at addr, and reports whether it did:
// a master may have died, or may not be listening yet.
func (r *role) askMaster(ctx context.Context, addr string) bool {
	names, err := fetchList(ctx, addr)
	if err != nil {
		r.tell("unreachable %s", addr)
		return false
	}
	r.tell("found-master %s %d", addr, len(names))
	return true
}

func fetchList(ctx context.Context, addr string) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return names, json.NewDecoder(resp.Body).Decode(&names)
}
