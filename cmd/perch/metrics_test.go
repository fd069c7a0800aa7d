package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"perch/handlers"
	"perch/lease"
)

var update = flag.Bool("update", false, "write what is found into the pages that are compared")

// metricsPage lists the metrics for people; the test keeps it and the program
// equal.
const metricsPage = "../../docs/operations/metrics.md"

// pageMark is the line after which the page is compared.
const pageMark = "<!-- generated: go test ./cmd/perch -run TestMetricsAreThoseOfTheirPage -update -->\n"

// TestMetricsAreThoseOfTheirPage compares what the leader of three nodes shows
// with the page: names, types, labels and help texts.
func TestMetricsAreThoseOfTheirPage(t *testing.T) {
	found := exposed(t, leaderMetrics(t))
	edge := edgeNames(t)
	var table strings.Builder
	table.WriteString("| metric | type | labels | shown by | what it tells |\n| --- | --- | --- | --- | --- |\n")
	for _, m := range found {
		by := "node"
		if edge[m.name] {
			by = "edge"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), by, m.help)
	}
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	head, listed, ok := strings.Cut(string(page), pageMark)
	if !ok {
		t.Fatalf("%s has no line %s", metricsPage, pageMark)
	}
	if *update {
		if err := os.WriteFile(metricsPage, []byte(head+pageMark+table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if listed != table.String() {
		t.Errorf("the metrics are not those of %s; if that is meant, run this test with -update and tell who has alerts on them.\nfound:\n%s\nlisted:\n%s",
			metricsPage, table.String(), listed)
	}
}

// exposedMetric is a family of metrics as /metrics shows it.
type exposedMetric struct {
	name, kind, help string
	labels           []string
}

var sampleLine = regexp.MustCompile(`^([a-z0-9_]+)(?:\{(.*)\})? `)

// exposed reads the text format, the metrics of Perch alone, sorted by name.
func exposed(t *testing.T, text string) (list []exposedMetric) {
	t.Helper()
	var at *exposedMetric
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "# HELP "), " ")
		switch {
		case strings.HasPrefix(line, "# HELP perch_"):
			list = append(list, exposedMetric{name: name, help: rest})
			at = &list[len(list)-1]
		case strings.HasPrefix(line, "# TYPE perch_"):
			at.kind = strings.Fields(line)[3]
		case strings.HasPrefix(line, "perch_"):
			sample := sampleLine.FindStringSubmatch(line)
			if sample == nil || !strings.HasPrefix(sample[1], at.name) {
				t.Fatalf("a line that cannot be read: %s", line)
			}
			for _, label := range strings.Split(sample[2], ",") {
				if key, _, ok := strings.Cut(label, "="); ok && key != "le" && !slices.Contains(at.labels, key) {
					at.labels = append(at.labels, key)
				}
			}
		}
	}
	if !slices.IsSortedFunc(list, func(a, b exposedMetric) int { return strings.Compare(a.name, b.name) }) || len(list) == 0 {
		t.Fatalf("%d metrics, or not sorted", len(list))
	}
	return list
}

// edgeNames are the metrics of whoever answers HTTP, a node or a gateway.
func edgeNames(t *testing.T) map[string]bool {
	t.Helper()
	registry, env := prometheus.NewRegistry(), map[string]string{}
	trace := traceConfig{Endpoint: "http://127.0.0.1:1"}
	tracer, err := trace.start("perch", "1", env, registry, newLogger(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close(t.Context())
	if _, err := handlers.New(handlers.Options{Service: struct{ lease.Service }{}, Registry: registry, Version: "x"}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"perch_insecure": true} // of the flags, which both have
	for _, f := range families {
		names[f.GetName()] = true
	}
	return names
}

// leaderMetrics starts three nodes that trace, and is what /metrics of their
// leader shows.
func leaderMetrics(t *testing.T) string {
	t.Helper()
	env := []string{"XDG_STATE_HOME=" + t.TempDir()}
	var peers []string
	for id := 1; id <= 3; id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, fmt.Sprintf("%d=%s", id, l.Addr()))
		defer l.Close()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, len(peers))
	var logs []*output
	for id := range peers {
		log := new(output)
		logs = append(logs, log)
		go func() {
			ended <- run(ctx, []string{"serve", "--http", "127.0.0.1:0", "--id", strconv.Itoa(id + 1), "--peers", strings.Join(peers, ","),
				"--data", filepath.Join(t.TempDir(), "data"), "--otlp-endpoint", "http://127.0.0.1:1"}, env, io.Discard, log)
		}()
	}
	t.Cleanup(func() {
		cancel()
		for range peers {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, log := range logs {
			if text := metricsOf(announced(log.String())); strings.Contains(text, "perch_peer_synced{") {
				return text
			}
		}
	}
	t.Fatalf("nobody leads:\n%s", logs[0])
	return ""
}

// metricsOf is "" where nothing answers yet.
func metricsOf(url string) string {
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return string(text)
}
