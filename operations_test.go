package perch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// listedMetric is a line of docs/operations/metrics.md, which a test of cmd/perch
// compares with what a node shows.
type listedMetric struct {
	kind   string
	labels []string
}

var metricRow = regexp.MustCompile("(?m)^\\| `(perch_[a-z_]+)` \\| ([a-z]+) \\| ([a-z, ]*) \\|")

func listedMetrics(t *testing.T) map[string]listedMetric {
	t.Helper()
	list := map[string]listedMetric{}
	for _, m := range metricRow.FindAllStringSubmatch(read(t, "docs/operations/metrics.md"), -1) {
		list[m[1]] = listedMetric{kind: m[2], labels: strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' })}
	}
	if len(list) < 50 {
		t.Fatalf("only %d metrics are listed", len(list))
	}
	return list
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// alert is a rule of docs/operations/alerts.yml.
type alert struct {
	Name        string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alerts(t *testing.T) (list []alert) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	if err := yaml.Unmarshal([]byte(read(t, "docs/operations/alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	if len(list) == 0 {
		t.Fatal("there are no alerts")
	}
	return list
}

// panel is a panel of the dashboard, as far as it matters here.
type panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ H, W, X, Y int }
	Datasource  struct{ UID string }
	Targets     []struct{ Expr, LegendFormat string }
	FieldConfig struct{ Defaults struct{ Unit string } }
}

func dashboard(t *testing.T) []panel {
	t.Helper()
	var file struct {
		UID, Title    string
		SchemaVersion int
		Panels        []panel
	}
	if err := json.Unmarshal([]byte(read(t, "deploy/grafana/perch.json")), &file); err != nil {
		t.Fatal(err)
	}
	if file.UID != "perch" || file.Title == "" || file.SchemaVersion < 36 || len(file.Panels) == 0 {
		t.Fatalf("%+v", file)
	}
	return file.Panels
}

var (
	metricName = regexp.MustCompile(`\b[a-z]+_[a-z0-9_]+\b`)
	selector   = regexp.MustCompile(`(perch_[a-z_]+)\{([^}]*)\}`)
	quotes     = regexp.MustCompile(`"[^"]*"`)
	grouping   = regexp.MustCompile(`\b(?:by|on|without|ignoring) \(([^)]*)\)`)
)

// functions of PromQL have underscores too.
var functions = []string{"histogram_quantile", "predict_linear", "clamp_min", "label_values"}

// everywhere are labels that Prometheus adds, or that histograms have.
var everywhere = []string{"job", "instance", "le"}

// checkExpr compares the metrics and labels of a query with those that there are.
func checkExpr(t *testing.T, where, expr string, listed map[string]listedMetric) {
	t.Helper()
	labels := slices.Clone(everywhere)
	bare := grouping.ReplaceAllString(quotes.ReplaceAllString(expr, ""), "")
	found := 0
	for _, name := range metricName.FindAllString(bare, -1) {
		base, kind := family(name, listed)
		switch {
		case kind != "":
			found++
			labels = append(labels, listed[base].labels...)
			if counts := kind == "counter" || base != name; counts && !strings.Contains(expr, "rate(") && !strings.Contains(expr, "increase(") {
				t.Errorf("%s: %s only ever grows: take its rate", where, name)
			}
		case strings.HasPrefix(name, "perch_"):
			t.Errorf("%s: there is no metric %s", where, name)
		case strings.HasPrefix(name, "go_"), strings.HasPrefix(name, "process_"):
			found++
		}
	}
	if found == 0 && !strings.HasPrefix(expr, "up{") {
		t.Errorf("%s: no metric in %s", where, expr)
	}
	for _, s := range selector.FindAllStringSubmatch(expr, -1) {
		base, _ := family(s[1], listed)
		for _, matcher := range strings.Split(quotes.ReplaceAllString(s[2], ""), ",") {
			label := strings.TrimSpace(strings.TrimRight(matcher, "=~! "))
			if !slices.Contains(everywhere, label) && !slices.Contains(listed[base].labels, label) {
				t.Errorf("%s: %s has no label %q", where, s[1], label)
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for _, label := range strings.Split(g[1], ", ") {
			if !slices.Contains(labels, label) {
				t.Errorf("%s: groups by %q, which nothing in it has", where, label)
			}
		}
	}
}

// family is the listed metric that a name belongs to, and its type; "" for none.
func family(name string, listed map[string]listedMetric) (base, kind string) {
	if slices.Contains(functions, name) {
		return "", ""
	}
	if m, ok := listed[name]; ok && m.kind != "histogram" {
		return name, m.kind
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && listed[base].kind == "histogram" {
			return base, "histogram"
		}
	}
	return "", ""
}

// TestAlertsAreRightAboutTheMetrics also wants each explained and tested: what
// wakes somebody must say what to do.
func TestAlertsAreRightAboutTheMetrics(t *testing.T) {
	listed, page, tests := listedMetrics(t), read(t, "docs/operations/alerts.md"), read(t, "docs/operations/alerts_test.yml")
	for _, a := range alerts(t) {
		checkExpr(t, a.Name, a.Expr, listed)
		if !slices.Contains([]string{"page", "warn", "ticket"}, a.Labels["severity"]) || a.Annotations["summary"] == "" {
			t.Errorf("%s: severity %q, summary %q", a.Name, a.Labels["severity"], a.Annotations["summary"])
		}
		if !strings.Contains(page, "| `"+a.Name+"` | "+a.Labels["severity"]+" |") {
			t.Errorf("alerts.md does not say what to do about %s, severity %s", a.Name, a.Labels["severity"])
		}
		if !strings.Contains(tests, "- name: "+a.Name+"\n") {
			t.Errorf("alerts_test.yml does not test %s", a.Name)
		}
	}
	if rows, rules := strings.Count(page, "\n| `Perch"), len(alerts(t)); rows != rules {
		t.Errorf("alerts.md tells of %d alerts, and there are %d", rows, rules)
	}
}

// TestDashboardIsRightAboutTheMetrics also looks at its layout: panels that cover
// each other, or that nobody can read.
func TestDashboardIsRightAboutTheMetrics(t *testing.T) {
	listed, ids, cells := listedMetrics(t), map[int]bool{}, map[[2]int]string{}
	for _, p := range dashboard(t) {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %q has the id %d, which another has too", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q is on top of %q, or beyond the edge", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q: %+v", p.Title, p)
		}
		for i, q := range p.Targets {
			checkExpr(t, fmt.Sprintf("panel %q, query %d", p.Title, i), q.Expr, listed)
			if !strings.Contains(q.Expr, `job="$job"`) || p.Type == "timeseries" && q.LegendFormat == "" {
				t.Errorf("panel %q, query %d is of all clusters, or has no legend", p.Title, i)
			}
		}
	}
}
