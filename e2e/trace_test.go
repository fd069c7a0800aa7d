package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
)

// TestATraceShowsTheWayOfAWrite: one write at a follower is one trace of all three
// nodes, whose spans fit into each other and come in the order of the stages.
func TestATraceShowsTheWayOfAWrite(t *testing.T) {
	to := startCollector(t)
	c := newCluster(t)
	for _, n := range c.nodes {
		n.args = append(n.args, "--otlp-endpoint", to.url, "--trace-ratio", "0")
	}
	c.spawnAll()
	c.waitReady()
	home, leader := c.follower(), c.leader()
	parent := fmt.Sprintf("00-%s-%s-01", callersTrace, callersSpan)
	zxid := home.must(http.StatusCreated, http.MethodPut, "/v1/nodes/secret-name", "x", "traceparent", parent).zxid()
	home.must(http.StatusOK, http.MethodGet, "/v1/nodes/secret-name", "", "traceparent", strings.TrimSuffix(parent, "1")+"0")
	home.must(http.StatusOK, http.MethodGet, "/v1/nodes/secret-name", "", "traceparent", "00-nonsense")

	var spans []span
	eventually(t, patience, "all spans have come", func() error {
		if spans = to.of(callersTrace); len(spans) < 15 {
			return fmt.Errorf("%d: %v", len(spans), spans)
		}
		return nil
	})
	w := &writeTrace{T: t, spans: spans}
	request := w.only("PUT /v1/nodes/{path}", home, callersSpan)
	write := w.only("write", home, request.id)
	w.within(write, request)
	w.ordered(w.only("queue", home, write.id), w.only("propose", home, write.id), w.only("commit", home, write.id), w.only("apply", home, write.id))
	w.only("fsync", home, write.id)
	for _, n := range c.nodes {
		if n == home {
			continue
		}
		at := w.only("replicate", n, write.id)
		want := "follower"
		if n == leader {
			want = "leader"
			w.within(w.only("commit", n, at.id), write) // one machine, so one clock
		}
		if at.texts["perch.role"] != want || at.numbers["perch.zxid"] != zxid {
			t.Errorf("node %d says %v %v", n.id, at.texts, at.numbers)
		}
		w.within(w.only("fsync", n, at.id), at)
		w.within(w.only("commit", n, at.id), at)
		w.ordered(w.only("commit", n, at.id), w.only("apply", n, at.id))
	}
	if write.numbers["perch.zxid"] != zxid || request.numbers["http.response.status_code"] != http.StatusCreated {
		t.Errorf("request %v, write %v, want zxid %d", request, write, zxid)
	}
	if len(spans) != 15 || strings.Contains(fmt.Sprint(spans), "secret-name") {
		t.Errorf("spans that should not be there: %v", spans)
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	if len(to.spans) != len(spans) {
		t.Errorf("what was not to be traced was: %v", to.spans)
	}
}

// TestALostCollectorCostsNothing: a node whose collector is not there serves, and
// counts what is lost.
func TestALostCollectorCostsNothing(t *testing.T) {
	n := newNode(t)
	n.args = append(n.args, "--otlp-endpoint", "http://"+freeAddrs(t, 1)[0], "--trace-ratio", "1")
	n.spawn()
	n.waitReady()
	n.must(http.StatusCreated, http.MethodPut, "/v1/nodes/a", "x")
	eventually(t, patience, "the loss is counted", func() error {
		a, err := n.get("/metrics")
		if err == nil && !strings.Contains(a.body, "\nperch_trace_spans_failed_total ") || strings.Contains(a.body, "\nperch_trace_spans_failed_total 0\n") {
			err = fmt.Errorf("no failed spans among %d bytes", len(a.body))
		}
		return err
	})
}

// writeTrace looks at the spans of one write.
type writeTrace struct {
	*testing.T
	spans []span
}

// only is the one span of that name that a node made below a parent.
func (w *writeTrace) only(name string, at *node, parent string) (found span) {
	w.Helper()
	n := 0
	for _, s := range w.spans {
		if s.name == name && s.instance == fmt.Sprint(at.id) && s.parent == parent {
			found, n = s, n+1
		}
	}
	if n != 1 || found.end < found.begin {
		w.Fatalf("%d spans %s of node %d below %s among %+v", n, name, at.id, parent, w.spans)
	}
	return found
}

func (w *writeTrace) within(inner, outer span) {
	w.Helper()
	if inner.begin < outer.begin || inner.end > outer.end {
		w.Errorf("%s of node %s does not fit into %s: %+v, %+v", inner.name, inner.instance, outer.name, inner, outer)
	}
}

// ordered says that no stage ends after the next one.
func (w *writeTrace) ordered(stages ...span) {
	w.Helper()
	for i := range stages[1:] {
		if a, b := stages[i], stages[i+1]; a.end > b.end || a.begin > b.begin {
			w.Errorf("%s of node %s comes after %s: %+v, %+v", a.name, a.instance, b.name, a, b)
		}
	}
}
