package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// client speaks HTTP with whichever Perch node answers. Nothing ties it to one
// of them: a request that fails is sent to the next.
type client struct {
	nodes []string      // URLs
	at    atomic.Uint32 // index of the node that answers, modulo their number
	http  *http.Client
}

func newClient(nodes []string) *client {
	return &client{nodes: nodes, http: &http.Client{}}
}

// answer is what a node said. Status is 2xx, 304 or 4xx: the others mean that
// another node, or the same a little later, must be asked.
type answer struct {
	status int
	etag   string
	body   []byte
}

const (
	answerWait = 3 * time.Second        // beyond what the request itself waits
	retryPause = 100 * time.Millisecond // after every node has failed once
)

// call sends a request until a node answers it or ctx ends. Everything that
// this example sends may be sent twice: it sets what it sets, or is refused
// the second time.
func (c *client) call(ctx context.Context, method, path string, header http.Header, body string) (answer, error) {
	for failures := 0; ; failures++ {
		a, err := c.once(ctx, method, path, header, body)
		if err == nil && a.status < 500 && a.status != http.StatusTooManyRequests {
			return a, nil
		}
		if err == nil {
			err = fmt.Errorf("status %d: %s", a.status, bytes.TrimSpace(a.body))
		}
		c.at.Add(1)
		if failures%len(c.nodes) != len(c.nodes)-1 {
			continue
		}
		select {
		case <-ctx.Done():
			return answer{}, errors.Join(ctx.Err(), err)
		case <-time.After(retryPause):
		}
	}
}

func (c *client) once(ctx context.Context, method, path string, header http.Header, body string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWait+waitOf(path))
	defer cancel()
	node := c.nodes[int(c.at.Load())%len(c.nodes)]
	req, err := http.NewRequestWithContext(ctx, method, node+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header = header.Clone()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("ETag"), text}, err
}

// waitOf is how long the node may keep the request parked.
func waitOf(path string) time.Duration {
	u, err := url.Parse(path)
	if err != nil {
		return 0
	}
	wait, _ := time.ParseDuration(u.Query().Get("wait_ms") + "ms")
	return wait
}

// session is a lease: its holder's ephemeral nodes are there while it is
// renewed. Its token is drawn here, so opening it needs no round trip.
type session struct {
	client *client
	token  string
	ttl    time.Duration
}

func (c *client) newSession(ttl time.Duration) *session {
	var raw [16]byte
	_, _ = rand.Read(raw[:])
	return &session{client: c, token: hex.EncodeToString(raw[:]), ttl: ttl}
}

func (s *session) header() http.Header { return http.Header{"Perch-Session": {s.token}} }

// put makes an ephemeral node, and the session with its first one. Sent again,
// it finds its own node; false means that the node is another session's.
func (s *session) put(ctx context.Context, path, value string) (ours bool, err error) {
	a, err := s.client.call(ctx, http.MethodPut,
		fmt.Sprintf("/v1/nodes%s?mode=ephemeral&parents=true&ttl_ms=%d", path, s.ttl.Milliseconds()), s.header(), value)
	switch {
	case err != nil:
		return false, err
	case a.status == http.StatusCreated, a.status == http.StatusOK:
		return true, nil
	case a.status == http.StatusConflict:
		return false, nil
	case a.status == http.StatusGone:
		return false, errExpired
	default:
		return false, fmt.Errorf("creating %s: status %d: %s", path, a.status, a.body)
	}
}

// keepAlive renews the session three times within its TTL, until ctx ends or
// the session is gone: then it returns errExpired.
func (s *session) keepAlive(ctx context.Context) error {
	tick := time.NewTicker(s.ttl / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		a, err := s.client.call(ctx, http.MethodPost, "/v1/sessions/self/keepalive", s.header(), "")
		if err != nil {
			return err
		}
		if a.status == http.StatusGone {
			return errExpired
		}
	}
}

var errExpired = errors.New("the session has expired")

// childNames lists the children of path. It waits for a list other than that
// of etag, and returns the old etag and no names when there was none in time.
func (c *client) childNames(ctx context.Context, path, etag string) (names []string, newTag string, err error) {
	header := http.Header{}
	target := "/v1/children" + path
	if etag != "" {
		header.Set("If-None-Match", etag)
		target += "?wait_ms=25000"
	}
	a, err := c.call(ctx, http.MethodGet, target, header, "")
	if err != nil || a.status == http.StatusNotModified {
		return nil, etag, err
	}
	if a.status == http.StatusNotFound {
		return []string{}, a.etag, nil
	}
	var page struct {
		Nodes []struct{ Path string }
	}
	if a.status != http.StatusOK {
		return nil, etag, fmt.Errorf("listing %s: status %d: %s", path, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &page); err != nil {
		return nil, etag, err
	}
	names = make([]string, 0, len(page.Nodes))
	for _, n := range page.Nodes {
		names = append(names, n.Path[strings.LastIndexByte(n.Path, '/')+1:])
	}
	return names, a.etag, nil
}
