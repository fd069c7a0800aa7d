package handlers

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perch/lease"
	"perch/tree"
)

// pending is a request that is being served inside a synctest bubble.
type pending struct {
	e    *edgeTest
	done chan *answer
	took time.Duration
}

// start serves a request beside the test and returns once it is parked or over.
func (e *edgeTest) start(line string, headers ...string) *pending {
	p := &pending{e: e, done: make(chan *answer, 1)}
	began := time.Now()
	go func() {
		a := e.do(line, "", headers...)
		p.took = time.Since(began)
		p.done <- a
	}()
	synctest.Wait()
	return p
}

// parked checks that the request waits.
func (p *pending) parked() *pending {
	p.e.Helper()
	select {
	case a := <-p.done:
		p.e.Errorf("the request did not wait: %d %s", a.StatusCode, a.body)
	default:
	}
	return p
}

// now is the answer of a request that must be over without time passing.
func (p *pending) now() *answer {
	p.e.Helper()
	synctest.Wait()
	select {
	case a := <-p.done:
		return a
	default:
		p.e.Fatal("the request still waits")
		return nil
	}
}

// after is the answer of a request whose time must pass first, within a
// sixteenth of wait.
func (p *pending) after(wait time.Duration) *answer {
	p.e.Helper()
	a := <-p.done
	if p.took > wait || p.took < wait-wait/16-time.Millisecond {
		p.e.Errorf("it took %v of %v", p.took, wait)
	}
	return a
}

func bubble(t *testing.T, f func(e *edgeTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newEdgeTest(t)) })
}

// TestWaitForChange: 200 as soon as the tag differs, else 304; a delete ends the
// wait with 404, whose tag waits for the node to appear (API.md rule 7).
func TestWaitForChange(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "one").want("201")
		tag := e.do("GET /v1/nodes/a", "").Header.Get("ETag")
		e.do("GET /v1/nodes/a", "", "If-None-Match: "+tag).want("304")
		e.do("GET /v1/nodes/a", "", "If-None-Match: W/"+tag).want("304")
		e.do("GET /v1/nodes/a", "", "If-None-Match: *").want("304")
		e.start("GET /v1/nodes/a?wait_ms=25000", "If-None-Match: 1").now().want("200")
		e.start("GET /v1/nodes/a?wait_ms=25000").now().want("200")
		e.start(`GET /v1/nodes/a?wait_ms=25000`, `If-None-Match: ""`).now().want("200")

		get := e.start("GET /v1/nodes/a?wait_ms=25000", "If-None-Match: "+tag).parked()
		head := e.start("HEAD /v1/nodes/a", "If-None-Match: "+tag, "Prefer: respond-async, wait=25").parked()
		e.do("PUT /v1/nodes/b", "other").want("201")
		get.parked()
		e.do("PUT /v1/nodes/a", "two").want("200")
		a := get.now().want("200")
		if string(a.body) != "two" || a.Header.Get("ETag") == tag || a.Header.Get("Perch-Data-Version") != "1" {
			t.Errorf("%s %v", a.body, a.Header)
		}
		h := head.now().want("200")
		if h.Header.Get("ETag") != a.Header.Get("ETag") || h.Header.Get("Content-Length") != "3" {
			t.Errorf("HEAD says %v", h.Header)
		}

		tag = a.Header.Get("ETag")
		e.start("GET /v1/nodes/a?wait_ms=8000", "If-None-Match: "+tag).parked().after(8 * time.Second).want("304")
		get = e.start("GET /v1/nodes/a?wait_ms=8000", "If-None-Match: "+tag).parked()
		e.do("DELETE /v1/nodes/a", "").want("204")
		a = get.now().want("404 no_node")
		if a.Header.Get("ETag") != `"absent"` || a.Header.Get("Perch-Zxid") == "" {
			t.Errorf("404 with %v", a.Header)
		}
		get = e.start("GET /v1/nodes/a?wait_ms=8000", `If-None-Match: "absent"`).parked()
		e.do("PUT /v1/nodes/a", "three").want("201")
		get.now().want("200")
	})
}

func TestWaitForAbsent(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		a := e.start("GET /v1/nodes/a?wait_ms=8000", "If-None-Match: absent").parked().after(8 * time.Second).want("304")
		if a.Header.Get("ETag") != `"absent"` {
			t.Errorf("304 with %v", a.Header)
		}
		e.do("GET /v1/nodes/a", "", "If-None-Match: absent").want("304")
		e.do("GET /v1/nodes/a", "", "If-None-Match: *").want("404 no_node")
		e.start("GET /v1/nodes/a?wait_ms=8000", "If-None-Match: 1").now().want("410 history_lost")
		e.start("GET /v1/nodes/a?wait_ms=8000", "If-None-Match: *").now().want("404 no_node")
		e.start("GET /v1/nodes/a?wait_ms=8000").parked().after(8 * time.Second).want("404 no_node")
		get := e.start("GET /v1/nodes/a?wait_ms=8000").parked()
		e.do("PUT /v1/nodes/a", "x").want("201")
		get.now().want("200")
	})
}

// TestWaitForStat: the tag of /v1/stat moves with data and children.
func TestWaitForStat(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "one").want("201")
		for _, change := range []string{"PUT /v1/nodes/a", "POST /v1/nodes/a/b", "DELETE /v1/nodes/a/b"} {
			tag := e.do("GET /v1/stat/a", "").Header.Get("ETag")
			stat := e.start("GET /v1/stat/a?wait_ms=8000", "If-None-Match: "+tag).parked()
			e.do(change, "")
			if a := stat.now().want("200"); a.Header.Get("ETag") == tag {
				t.Errorf("%s: the tag is still %s", change, tag)
			}
		}
		e.do("POST /v1/nodes/a/b", "").want("201")
		tag := e.do("GET /v1/stat/a", "").Header.Get("ETag")
		stat := e.start("GET /v1/stat/a?wait_ms=8000", "If-None-Match: "+tag).parked()
		e.do("PUT /v1/nodes/a/b", "below").want("200")
		stat.parked().after(8 * time.Second).want("304")
		absent := e.start("GET /v1/stat/x?wait_ms=8000", "If-None-Match: absent").parked()
		e.do("PUT /v1/nodes/x", "").want("201")
		absent.now().want("200")
	})
}

// TestWaitWithoutPermission: what a caller may not read ends his waiting all the
// same, and a stat moves with the ACL too.
func TestWaitWithoutPermission(t *testing.T) {
	const closed = `{"entries":[{"scheme":"world","id":"anyone","perms":"cdwa"}]}`
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "one").want("201")
		tag := e.do("GET /v1/stat/a", "").Header.Get("ETag")
		stat := e.start("GET /v1/stat/a?wait_ms=8000", "If-None-Match: "+tag).parked()
		node := e.start("GET /v1/nodes/a?wait_ms=8000", "If-None-Match: "+e.do("GET /v1/nodes/a", "").Header.Get("ETag")).parked()
		e.do("PUT /v1/acl/a", closed).want("200")
		stat.now().want("200")
		node.now().want("403 permission_denied")
		tag = e.do("GET /v1/stat/a", "").Header.Get("ETag")
		stat = e.start("GET /v1/stat/a?wait_ms=8000", "If-None-Match: "+tag).parked()
		e.do("PUT /v1/nodes/a", "two").want("200")
		tag = stat.now().want("200").Header.Get("ETag")
		stat = e.start("GET /v1/stat/a?wait_ms=8000", "If-None-Match: "+tag).parked()
		e.do("DELETE /v1/nodes/a", "").want("204")
		stat.now().want("404 no_node")
		absent := e.start("GET /v1/nodes/a?wait_ms=8000", "If-None-Match: absent").parked()
		e.do("POST /v1/multi", `{"ops":[{"op":"create","path":"/a","acl":[{"scheme":"world","id":"anyone","perms":"w"}]}]}`).want("200")
		absent.now().want("403 permission_denied")
	})
}

// TestWaitForChildren: the tag of /v1/children moves with the list only.
func TestWaitForChildren(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "").want("201")
		a := e.do("GET /v1/children/a", "").want("200")
		tag := a.Header.Get("ETag")
		if tag != `"c`+a.Header.Get("Perch-Zxid")+`"` || a.json()["cursor"] != a.Header.Get("Perch-Zxid") {
			t.Errorf("%s with %v", a.body, a.Header)
		}
		list := e.start("GET /v1/children/a?wait_ms=8000", "If-None-Match: "+tag).parked()
		e.do("PUT /v1/nodes/a", "data").want("200")
		list.parked()
		e.do("POST /v1/nodes/a/b", "").want("201")
		tag = list.now().want("200").Header.Get("ETag")
		list = e.start("GET /v1/children/a?wait_ms=8000", "If-None-Match: "+tag).parked()
		e.do("POST /v1/nodes/a/b/c", "").want("201")
		list.parked().after(8 * time.Second).want("304")
		list = e.start("GET /v1/children/a?wait_ms=8000", "If-None-Match: "+tag).parked()
		e.do("DELETE /v1/nodes/a?recursive=true", "").want("204")
		list.now().want("404 no_node")
		list = e.start("GET /v1/children/a?wait_ms=8000", "If-None-Match: absent").parked()
		e.do("PUT /v1/nodes/a", "").want("201")
		list.now().want("200")
		e.do("GET /v1/children/a?wait_ms=1&include=stat", "").want("400 invalid_argument")
		e.do("GET /v1/children/a?wait_ms=1&page_token=x", "").want("400 invalid_argument")
	})
}

func TestWaitBounds(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		for _, bad := range []string{"-1", "300001", "2147483647"} {
			e.do("GET /v1/nodes/a?wait_ms="+bad, "").want("400 invalid_argument")
		}
		for _, bad := range []string{"wait=-1", "wait=301", "wait=x", "wait=", "wait", "WAIT = 1.5"} {
			e.do("GET /v1/nodes/a", "", "Prefer: "+bad).want("400 invalid_argument")
		}
		e.do("GET /v1/nodes/a", "", "Prefer: respond-async").want("404 no_node")
		e.start("GET /v1/nodes/a?wait_ms=300000").parked().after(55 * time.Second).want("404 no_node")
		e.start("GET /v1/nodes/a", `Prefer: x=y; wait=9, Wait="4"; z`).parked().after(4 * time.Second).want("404 no_node")
		e.start("GET /v1/nodes/a?wait_ms=2000", "Prefer: wait=50").parked().after(2 * time.Second).want("404 no_node")
		e.do("GET /v1/nodes/a?wait_ms=0", "", "Prefer: wait=50").want("404 no_node")
	})
}

// TestWaitReadsOnce is linearizable once; what follows only has to be later.
func TestWaitReadsOnce(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "").want("201")
		z := e.svc.view().Zxid()
		get := e.start("GET /v1/nodes/a?wait_ms=8000", "If-None-Match: "+formatZxid(z)).parked()
		e.do("PUT /v1/nodes/a", "").want("200")
		get.now().want("200")
		first, second := e.svc.reads[0].At, e.svc.reads[1].At
		if !first.Linearizable || first.Floor != z || second.Linearizable || second.Floor != z {
			t.Errorf("reads at %+v, then %+v", first, second)
		}
	})
}

// TestFloors: a position that this node has not reached is waited for (R24).
func TestFloors(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "").want("201")
		z := e.svc.view().Zxid()
		e.svc.ahead = z + 2
		next, beyond := formatZxid(z+1), formatZxid(z+3)
		for _, line := range []string{"GET /v1/nodes/a?", "GET /v1/stat/a?", "GET /v1/children/a?", "GET /v1/sessions?"} {
			for _, level := range []string{"local", "linearizable"} {
				e.start(line + "consistency=" + level + "&min_zxid=" + next).parked().after(2 * time.Second).want("503 not_caught_up")
				e.start(line + "consistency=" + level + "&min_zxid=" + beyond).now().want("410 history_lost")
			}
			e.do(line+"min_zxid=-1", "").want("400 invalid_argument")
			e.do(line+"consistency=eventual", "").want("400 invalid_argument")
			e.do(line+"min_zxid="+formatZxid(z), "").want("200")
		}
		read := e.start("GET /v1/nodes/a?min_zxid=" + next).parked()
		e.do("PUT /v1/nodes/b", "").want("201")
		read.now().want("200")

		// A tag that is newer than this node counts as min_zxid.
		tag := formatZxid(z + 2)
		e.start("GET /v1/nodes/a", "If-None-Match: "+tag).parked().after(2 * time.Second).want("503 not_caught_up")
		a := e.start("GET /v1/nodes/a?wait_ms=20000", "If-None-Match: "+tag).parked().after(20 * time.Second).want("304")
		if a.Header.Get("ETag") != quoted(tag) || a.Header.Get("Perch-Zxid") != tag {
			t.Errorf("304 with %v", a.Header)
		}
		e.start("GET /v1/nodes/a?wait_ms=20000", "If-None-Match: "+beyond).now().want("410 history_lost")
		read = e.start("GET /v1/nodes/a?wait_ms=20000", "If-None-Match: "+tag).parked()
		e.do("PUT /v1/nodes/a", "").want("200") // is what the client has seen elsewhere
		read.parked()
		e.do("PUT /v1/nodes/a", "").want("200")
		read.now().want("200")
	})
}

func TestTooManyWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdgeTest(t, func(o *Options) { o.Waiters = 2 })
		one := e.start("GET /v1/nodes/a?wait_ms=8000").parked()
		two := e.start("GET /v1/watch/a?wait_ms=8000").parked()
		for _, line := range []string{"GET /v1/nodes/a?wait_ms=8000", "GET /v1/watch/a?wait_ms=8000", "GET /v1/stream/a"} {
			a := e.start(line).now().want("429 too_many_waiters")
			if p := a.json(); p["limit"] != float64(2) || p["outcome"] != "not_applied" {
				t.Errorf("%s: %s", line, a.body)
			}
		}
		e.do("GET /v1/nodes/a", "").want("404 no_node")
		one.after(8 * time.Second).want("404 no_node")
		<-two.done
		if n := e.h.edge.parked.Load(); n != 0 {
			t.Errorf("%d are still counted", n)
		}
	})
}

// TestDrain ends what waits with the answer of a time-out and refuses writes.
func TestDrain(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "").want("201")
		z := formatZxid(e.svc.view().Zxid())
		waiting := map[string]*pending{
			"304":         e.start("GET /v1/nodes/a?wait_ms=50000", "If-None-Match: "+z).parked(),
			"404 no_node": e.start("GET /v1/nodes/b?wait_ms=50000").parked(),
			"200":         e.start("GET /v1/watch/a?wait_ms=50000&since=" + z).parked(),
		}
		stream := e.start("GET /v1/stream/a?since=" + z).parked()
		e.h.Drain()
		for want, p := range waiting {
			a := p.now().want(want)
			if want == "200" && a.json()["cursor"] != z {
				t.Errorf("cursor of %s", a.body)
			}
		}
		if a := stream.now().want("200"); string(a.body) != "id: "+z+"\n\n" {
			t.Errorf("the stream is %q", a.body)
		}
		for _, line := range []string{"PUT /v1/nodes/a", "POST /v1/nodes/c", "DELETE /v1/nodes/a", "POST /v1/sessions", "GET /readyz", "GET /v1/stream/a"} {
			a := e.do(line, "").want("503 shutting_down")
			if a.json()["outcome"] != "not_applied" {
				t.Errorf("%s: %s", line, a.body)
			}
		}
		e.do("GET /v1/nodes/a", "").want("200")
		e.do("GET /livez", "").want("200")
		e.start("GET /v1/nodes/b?wait_ms=50000").now().want("404 no_node")
		e.start("GET /v1/watch/b?wait_ms=50000").now().want("200")
	})
}

// TestNodeDrains: the node may go down before the gateway does.
func TestNodeDrains(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "").want("201")
		z := formatZxid(e.svc.view().Zxid())
		get := e.start("GET /v1/nodes/a?wait_ms=50000", "If-None-Match: "+z).parked()
		watch := e.start("GET /v1/watch/a?wait_ms=50000&since=" + z).parked()
		e.svc.mu.Lock()
		e.svc.fail = lease.ErrShuttingDown
		close(e.svc.applied)
		e.svc.applied = make(chan struct{})
		e.svc.mu.Unlock()
		get.now().want("304")
		if a := watch.now().want("200"); a.json()["cursor"] != z {
			t.Errorf("watch answers %s", a.body)
		}
	})
}

// TestWaitersLeave: a client that goes away frees its place.
func TestWaitersLeave(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		for _, line := range []string{"GET /v1/nodes/a?wait_ms=50000", "GET /v1/watch/a?wait_ms=50000", "GET /v1/stream/a", "GET /v1/stat/a?wait_ms=9000"} {
			ctx, cancel := context.WithCancel(e.Context())
			over := make(chan struct{})
			go func() {
				defer close(over)
				if r := request(line, "").WithContext(ctx); strings.Contains(line, "stream") {
					e.h.ServeHTTP(httptest.NewRecorder(), r) // its answer has begun
				} else {
					e.abandoned(httptest.NewRecorder(), r)
				}
			}()
			synctest.Wait()
			if n := e.h.edge.parked.Load(); n != 1 {
				t.Errorf("%s: %d parked", line, n)
			}
			cancel()
			<-over
			if n := e.h.edge.parked.Load(); n != 0 {
				t.Errorf("%s: %d still parked", line, n)
			}
		}
		if strings.Contains(e.log.String(), `"level":"ERROR"`) {
			t.Errorf("log %s", e.log)
		}
	})
}

// forgetful answers Await as a node whose history was trimmed meanwhile.
type forgetful struct {
	*testService
	times int
}

func (f *forgetful) Await(ctx context.Context, i lease.Interest) error {
	if f.times++; f.times > 3 {
		<-ctx.Done()
		return ctx.Err()
	}
	return tree.ErrCursorExpired
}

func TestTrimmedHistoryWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &forgetful{testService: newTestService()}
		e := newEdgeTest(t, func(o *Options) { o.Service = f })
		e.start("GET /v1/nodes/a?wait_ms=3000").parked().after(3 * time.Second).want("404 no_node")
		if len(f.reads) != 4 {
			t.Errorf("%d reads", len(f.reads))
		}
	})
}

func TestJitterIsSubtracted(t *testing.T) {
	e := newEdgeTest(t)
	ms := int32(16_000)
	least, most := time.Hour, time.Duration(0)
	for range 2000 {
		d, err := e.h.edge.patience("wait_ms", &ms, nil)
		if err != nil {
			t.Fatal(err)
		}
		least, most = min(least, d), max(most, d)
	}
	if least < 15*time.Second || most > 16*time.Second || most-least < 500*time.Millisecond {
		t.Errorf("waits from %v to %v", least, most)
	}
}
