package handlers

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
)

func zx(n int) quorum.Zxid { return quorum.Zxid(n) }

func putCommand(path string) *commandpb.Command {
	return &commandpb.Command{Op: &commandpb.Command_Put{Put: &commandpb.Put{Path: path}}}
}

// tap is a ResponseWriter from which a test takes what was flushed.
type tap struct {
	mu      sync.Mutex
	header  http.Header
	status  int
	pending strings.Builder
	flushed strings.Builder
	broken  error
	limits  []time.Time // deadlines set; zero ones lift them
}

func newTap() *tap { return &tap{header: http.Header{}} }

func (w *tap) Header() http.Header { return w.header }

func (w *tap) WriteHeader(status int) { w.status = status }

func (w *tap) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return 0, w.broken
	}
	return w.pending.Write(p)
}

func (w *tap) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushed.WriteString(w.pending.String())
	w.pending.Reset()
	return w.broken
}

func (w *tap) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limits = append(w.limits, t)
	return nil
}

// take is what was flushed since the last call.
func (w *tap) take() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.flushed.String()
	w.flushed.Reset()
	return s
}

// stream opens a stream inside a bubble.
func (e *edgeTest) stream(line string, headers ...string) (w *tap, over chan struct{}) {
	w, over = newTap(), make(chan struct{})
	r := request(line, "", headers...).WithContext(e.Context())
	go func() {
		defer close(over)
		e.h.ServeHTTP(w, r)
	}()
	return w, over
}

func TestStream(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "").want("201")
		z := e.svc.view().Zxid()
		w, over := e.stream("GET /v1/stream/a?scope=subtree")
		if got := w.take(); got != "id: "+formatZxid(z)+"\n\n" {
			e.Fatalf("it begins with %q", got)
		}
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Perch-Zxid": formatZxid(z),
			"Cache-Control": "no-store, no-transform",
		} {
			if got := w.header.Get(name); got != want {
				e.Errorf("%s is %q", name, got)
			}
		}
		e.do("PUT /v1/nodes/a", "").want("200")
		got := w.take()
		if !strings.HasPrefix(got, "id: "+formatZxid(z+1)+"\ndata: {") || !strings.HasSuffix(got, "}\n\n") ||
			strings.Count(got, "\n") != 3 || !strings.Contains(got, `"type":"changed"`) {
			e.Errorf("event %q", got)
		}
		// One transaction, several events: only the last can be resumed from.
		e.do("POST /v1/nodes/a/b/c/d?parents=true", "").want("201")
		got = w.take()
		blocks := strings.Split(strings.TrimSuffix(got, "\n\n"), "\n\n")
		if len(blocks) != 3 || strings.Count(got, "id: ") != 1 || !strings.HasPrefix(blocks[2], "id: "+formatZxid(z+2)+"\n") {
			e.Errorf("events %q", got)
		}
		// Quiet: a heartbeat every 15 s, with the cursor as far as it came.
		e.do("PUT /v1/nodes/other", "").want("201")
		if got := w.take(); got != "" {
			e.Errorf("another node's event %q", got)
		}
		time.Sleep(heartbeat)
		if got := w.take(); got != "id: "+formatZxid(z+3)+"\n\n" {
			e.Errorf("heartbeat %q", got)
		}
		time.Sleep(2 * heartbeat)
		if got := w.take(); got != strings.Repeat("id: "+formatZxid(z+3)+"\n\n", 2) {
			e.Errorf("heartbeats %q", got)
		}
		e.h.Drain()
		<-over
		if n := len(w.limits); n < 2 || !w.limits[n-1].IsZero() || w.limits[n-2].IsZero() {
			e.Errorf("write deadlines %v", w.limits)
		}
	})
}

// TestStreamResumes: Last-Event-ID beats since; what was missed comes first.
func TestStreamResumes(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		for range 5 {
			e.do("PUT /v1/nodes/a", "")
		}
		z := e.svc.view().Zxid()
		w, _ := e.stream("GET /v1/stream/a?since="+formatZxid(z), "Last-Event-ID: "+formatZxid(z-2))
		got := w.take()
		if !strings.HasPrefix(got, "id: "+formatZxid(z-2)+"\n\n") || strings.Count(got, "data: ") != 2 ||
			!strings.Contains(got, "id: "+formatZxid(z)+"\n") {
			e.Errorf("resumed with %q", got)
		}
		v, _ := e.stream("GET /v1/stream/a?since="+formatZxid(z-1), "Last-Event-ID: ")
		if got := v.take(); strings.Count(got, "data: ") != 1 {
			e.Errorf("since alone: %q", got)
		}
		e.start("GET /v1/stream/a", "Last-Event-ID: x").now().want("400 invalid_argument")
		e.h.Drain()
	})
}

// TestStreamOfMany gathers more events than one batch holds.
func TestStreamOfMany(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		const n = limitMax + 500
		for range n {
			if _, err := e.svc.Write(e.Context(), putCommand("/a"), ""); err != nil {
				e.Fatal(err)
			}
		}
		w, _ := e.stream("GET /v1/stream/a?since=0")
		if got := w.take(); strings.Count(got, "data: ") != n || strings.Count(got, "id: ") != n+1 {
			e.Errorf("%d events, %d ids", strings.Count(got, "data: "), strings.Count(got, "id: "))
		}
		e.h.Drain()
	})
}

// TestStreamFallsBehind: the history may be trimmed under a stream.
func TestStreamFallsBehind(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "").want("201")
		w, over := e.stream("GET /v1/stream/a")
		w.take()
		s := lease.DefaultSettings()
		s.EventAgeMs, s.EventBytes = 1000, 1<<20
		e.svc.mu.Lock()
		zxid := e.svc.state.View().Zxid()
		e.svc.state = lease.New(s)
		for e.svc.state.View().Oldest() <= zxid {
			e.svc.age += 500
			e.svc.apply(putCommand("/b"))
		}
		e.svc.mu.Unlock()
		got := w.take()
		<-over
		if !strings.HasPrefix(got, "event: gone\ndata: {") || !strings.Contains(got, `"code":"cursor_expired"`) ||
			!strings.Contains(got, `"oldest_zxid":`) || !strings.HasSuffix(got, "}\n\n") {
			e.Errorf("the end is %q", got)
		}
	})
}

// TestStreamBreaks: an error that is no 410 ends the stream without a word, and
// a client that does not read is given up.
func TestStreamBreaks(t *testing.T) {
	bubble(t, func(e *edgeTest) {
		e.do("PUT /v1/nodes/a", "").want("201")
		w, over := e.stream("GET /v1/stream/a")
		w.take()
		e.svc.mu.Lock()
		e.svc.fail = lease.ErrOverloaded
		close(e.svc.applied)
		e.svc.applied = make(chan struct{})
		e.svc.mu.Unlock()
		<-over
		if got := w.take(); got != "" {
			e.Errorf("the end is %q", got)
		}
		e.svc.fail = nil
		w, over = e.stream("GET /v1/stream/a")
		w.take()
		w.mu.Lock()
		w.broken = errors.New("the client does not read")
		w.mu.Unlock()
		e.do("PUT /v1/nodes/a", "").want("200")
		<-over
		if n := e.h.edge.parked.Load(); n != 0 {
			e.Errorf("%d streams are still counted", n)
		}
	})
}

func TestHeadOfStream(t *testing.T) {
	e := newEdgeTest(t)
	a := e.do("HEAD /v1/stream/a", "").want("200")
	if a.Header.Get("Content-Type") != "text/event-stream" || a.Header.Get("Perch-Zxid") != "0" {
		t.Errorf("headers %v", a.Header)
	}
}
