package main

import (
	"context"
	"encoding/json"
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
	leader, gateway := leaderMetrics(t)
	found, by := exposed(t, leader), map[string]string{}
	for _, m := range found {
		by[m.name] = "node"
	}
	for _, m := range exposed(t, gateway) {
		if by[m.name] = "edge"; !slices.ContainsFunc(found, func(f exposedMetric) bool { return f.name == m.name }) {
			found, by[m.name] = append(found, m), "gateway"
		}
	}
	slices.SortFunc(found, func(a, b exposedMetric) int { return strings.Compare(a.name, b.name) })
	var table strings.Builder
	table.WriteString("| metric | type | labels | shown by | what it tells |\n| --- | --- | --- | --- | --- |\n")
	for _, m := range found {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), by[m.name], m.help)
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

// leaderMetrics starts three nodes that trace and archive, with a port for
// gateways, and a gateway. It is what /metrics of the leader and of the gateway show.
func leaderMetrics(t *testing.T) (leader, gateway string) {
	t.Helper()
	env := []string{"XDG_STATE_HOME=" + t.TempDir()}
	var peers, ports []string
	for id := 1; id <= 3; id++ {
		peers, ports = append(peers, fmt.Sprintf("%d=%s", id, freePort(t))), append(ports, freePort(t))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, len(peers)+1)
	start := func(args ...string) *output {
		log := new(output)
		go func() {
			ended <- run(ctx, append(args, "--http", "127.0.0.1:0", "--otlp-endpoint", "http://127.0.0.1:1"), env, io.Discard, log)
		}()
		return log
	}
	var logs []*output
	for id := range peers {
		logs = append(logs, start("serve", "--id", strconv.Itoa(id+1), "--peers", strings.Join(peers, ","),
			"--data", filepath.Join(t.TempDir(), "data"), "--nats", ports[id], "--archive", "postgres://perch@127.0.0.1:1/perch"))
	}
	before := start("gateway", "--nodes", strings.Join(ports, ","))
	t.Cleanup(func() {
		cancel()
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-again.C {
		if text := metricsOf(gatewayURL(before.String())); strings.Contains(text, "perch_gateway_node_round_trip_seconds{") {
			gateway = text
		}
		for _, log := range logs {
			if text := metricsOf(announced(log.String())); strings.Contains(text, "perch_peer_synced{") {
				leader = text
			}
		}
		if leader != "" && gateway != "" {
			return leader, gateway
		}
	}
	t.Fatalf("nobody leads, or the gateway finds no node:\n%s\n%s", logs[0], before)
	return "", ""
}

// freePort is a loopback address that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// gatewayURL finds the URL in the line of the start.
func gatewayURL(log string) string {
	for line := range strings.Lines(log) {
		var start struct{ Msg, URL string }
		if json.Unmarshal([]byte(line), &start) == nil && start.Msg == "perch gateway serves" {
			return start.URL
		}
	}
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
