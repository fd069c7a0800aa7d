package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// keyed is one mutation that is sent three times under one key.
type keyed struct {
	method, path, body string
}

// keyedMutations are of kinds that would show if they were done twice.
func keyedMutations(worker, n int) []keyed {
	own := fmt.Sprintf("/v1/nodes/keyed/w%d-%d", worker, n)
	return []keyed{
		{"POST", "/v1/counters/hits/add", `{"add":1}`},
		{"POST", "/v1/nodes/numbers/n-?sequential=true&parents=true", "x"},
		{"POST", "/v1/queues/jobs/messages", "job"},
		{"PUT", own + "?parents=true", "one"},
		{"DELETE", own, ""},
		{"POST", own + "?parents=true", "again"},
		{"POST", "/v1/multi", fmt.Sprintf(`{"ops":[{"op":"create","path":"/multi-%d-%d","mode":"persistent","text":"x"}]}`, worker, n)},
	}
}

// sentAnswer is what must be the same in every answer under one key.
type sentAnswer struct {
	status               int
	body, etag, location string
	zxid                 string
}

// Every mutation is sent three times through different nodes while the leader is
// killed again and again. Each is done once, and its three answers are one.
func TestEveryMutationOnceUnderLeaderKills(t *testing.T) {
	c := startThree(t)
	var rounds, replayed atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				for _, m := range keyedMutations(w, n) {
					replayed.Add(int64(thrice(t, c, m, w+n)))
				}
				rounds.Add(1)
			}
		})
	}
	c.killLeaders(&rounds, 20)
	stop()
	workers.Wait()
	c.waitReady()
	c.sameState()
	verifyOnce(t, c.nodes[0], rounds.Load())
	t.Logf("%d mutations, each sent three times, %d answers were replayed", rounds.Load()*7, replayed.Load())
}

// killLeaders kills the leader a few times, each time after done has risen by
// step, and starts it again.
func (c *cluster) killLeaders(done *atomic.Int64, step int64) {
	c.t.Helper()
	for kill := range scaled(3, 20) {
		goal := done.Load() + step
		eventually(c.t, patience, fmt.Sprintf("progress before kill %d", kill+1), func() error {
			if got := done.Load(); got < goal {
				return fmt.Errorf("%d of %d", got, goal)
			}
			return nil
		})
		leader := c.leader()
		leader.kill()
		leader.spawn()
		leader.waitReady()
	}
}

// thrice sends a mutation until it has three answers, and compares them.
func thrice(t testing.TB, c *cluster, m keyed, from int) (replayed int) {
	key := rand.Text()
	var first sentAnswer
	for i := range 3 {
		a, again := settled(t, c, m, key, from+i)
		if again {
			replayed++
		}
		if i > 0 && a != first {
			t.Errorf("%s %s: answer %d is %+v, the first was %+v", m.method, m.path, i+1, a, first)
		}
		if first = a; a.status/100 != 2 {
			t.Errorf("%s %s: %+v", m.method, m.path, a)
		}
	}
	return replayed
}

// settled sends a mutation to one node after the other until one says what became
// of it.
func settled(t testing.TB, c *cluster, m keyed, key string, at int) (a sentAnswer, replayed bool) {
	for end := time.Now().Add(patience); ; at++ {
		r, err := send(context.Background(), m.method, c.nodes[at%3].url()+m.path, m.body, "Idempotency-Key", key)
		if err == nil && r.status < 500 && r.status != http.StatusTooManyRequests {
			return sentAnswer{r.status, r.body, r.header.Get("ETag"), r.header.Get("Location"), r.header.Get("Perch-Zxid")},
				r.header.Get("Idempotent-Replayed") == "true"
		}
		if time.Now().After(end) {
			t.Errorf("%s %s has no outcome: %v %v", m.method, m.path, r, err)
			return a, false
		}
		sleep(context.Background(), 20*time.Millisecond)
	}
}

// verifyOnce counts what the rounds have left.
func verifyOnce(t testing.TB, n *node, rounds int64) {
	t.Helper()
	var counter struct{ Value int64 }
	decode(t, n.must(200, "GET", "/v1/counters/hits", ""), &counter)
	var queue struct{ Ready int64 }
	decode(t, n.must(200, "GET", "/v1/queues/jobs", ""), &queue)
	var stat struct {
		Stat struct {
			NumChildren int64 `json:"num_children"`
		}
	}
	decode(t, n.must(200, "GET", "/v1/stat/numbers", ""), &stat)
	if counter.Value != rounds || queue.Ready != rounds || stat.Stat.NumChildren != rounds {
		t.Errorf("%d rounds: the counter is %d, the queue holds %d messages, there are %d numbers",
			rounds, counter.Value, queue.Ready, stat.Stat.NumChildren)
	}
}

func decode(t testing.TB, r reply, v any) {
	t.Helper()
	if err := json.NewDecoder(strings.NewReader(r.body)).Decode(v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
}
