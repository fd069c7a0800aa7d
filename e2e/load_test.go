package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// record is what writers know of one node that they created.
type record struct {
	path string
	zxid uint64 // 0: no answer, so that nobody knows whether it is there
}

// load is a number of writers that create nodes, each its own, as long as they
// are let; every answer is recorded.
type load struct {
	root    string
	nodes   []*node // that the writers use, each one until it fails
	writers int
	pause   time.Duration // between two writes of one writer
	limit   int           // of writes; 0: none

	stop   context.CancelFunc
	done   sync.WaitGroup
	issued atomic.Int64
	acked  atomic.Int64

	mu      sync.Mutex
	records []record
	last    time.Time     // of the last acknowledgement of any writer
	longest time.Duration // between two of them
}

// start makes the writers write.
func (l *load) start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.stop, l.last = cancel, time.Now()
	for w := range l.writers {
		l.done.Go(func() { l.write(ctx, w) })
	}
}

// finish stops the writers and waits for their last answers.
func (l *load) finish() {
	l.stop()
	l.done.Wait()
}

func (l *load) write(ctx context.Context, w int) {
	for n, at := 0, w; ctx.Err() == nil; n++ {
		if l.limit > 0 && l.issued.Add(1) > int64(l.limit) {
			return
		}
		r := record{path: fmt.Sprintf("%s/w%02d/n%07d", l.root, w, n)}
		target := l.nodes[at%len(l.nodes)].url() + "/v1/nodes" + r.path + "?parents=true"
		// Not ctx: what has begun is waited for, so that its outcome is known.
		a, err := send(context.Background(), http.MethodPost, target, r.path)
		if err == nil && a.status == http.StatusCreated {
			r.zxid = a.zxid()
		} else {
			at++ // the next node may do better
		}
		l.note(r, err == nil && a.status == http.StatusServiceUnavailable)
		if r.zxid == 0 || l.pause > 0 {
			sleep(ctx, max(l.pause, 10*time.Millisecond))
		}
	}
}

// note keeps a record. What the service says it has not applied never was.
func (l *load) note(r record, notApplied bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.zxid != 0 {
		now := time.Now()
		l.longest = max(l.longest, now.Sub(l.last))
		l.last = now
		l.acked.Add(1)
	}
	if !notApplied {
		l.records = append(l.records, r)
	}
}

// takeLongest is the longest pause between two acknowledgements since the last
// call.
func (l *load) takeLongest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.longest
	l.longest = 0
	return d
}

// sleep paces a writer; nothing depends on it.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// waitAcked waits until n more writes have been acknowledged than now.
func (l *load) waitAcked(t testing.TB, n int64) {
	t.Helper()
	goal := l.acked.Load() + n
	eventually(t, patience, "writes are acknowledged", func() error {
		if have := l.acked.Load(); have < goal {
			return fmt.Errorf("%d of %d", have, goal)
		}
		return nil
	})
}

// verify checks that every acknowledged write is there on n, made by the
// transaction that was acknowledged, and nothing that nobody wrote.
func (l *load) verify(n *node) {
	n.t.Helper()
	found := map[string]uint64{}
	for w := range l.writers {
		n.list(fmt.Sprintf("%s/w%02d", l.root, w), found)
	}
	lost, wrong := 0, 0
	for _, r := range l.records {
		czxid, there := found[r.path]
		delete(found, r.path)
		switch {
		case r.zxid == 0: // unknown: either is right
		case !there:
			if lost++; lost <= 5 {
				n.t.Errorf("node %d: %s was acknowledged at %d and is lost", n.id, r.path, r.zxid)
			}
		case czxid != r.zxid:
			if wrong++; wrong <= 5 {
				n.t.Errorf("node %d: %s was acknowledged at %d and is of %d", n.id, r.path, r.zxid, czxid)
			}
		}
	}
	if lost+wrong > 0 {
		n.t.Errorf("node %d: of %d acknowledged writes %d are lost and %d are others", n.id, l.acked.Load(), lost, wrong)
	}
	for path := range found {
		n.t.Errorf("node %d: %s is there, but its writer was told that it was not applied", n.id, path)
	}
}

// list adds the children of path to found, with the zxids that created them.
func (n *node) list(path string, found map[string]uint64) {
	n.t.Helper()
	for token := ""; ; {
		target := "/v1/children" + path + "?include=stat&limit=1000"
		if token != "" {
			target += "&page_token=" + url.QueryEscape(token)
		} else {
			target += "&consistency=local"
		}
		a, err := n.get(target)
		if err != nil {
			n.t.Fatal(err)
		}
		if a.status == http.StatusNotFound {
			return // this writer never had a success
		}
		var page struct {
			Nodes []struct {
				Path string
				Stat struct{ Czxid uint64 }
			}
			Next string `json:"next_page_token"`
		}
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != http.StatusOK {
			n.t.Fatalf("%s: status %d, %v: %s", target, a.status, err, a.body)
		}
		for _, child := range page.Nodes {
			found[child.Path] = child.Stat.Czxid
		}
		if token = page.Next; token == "" {
			return
		}
	}
}
