package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// perch bench starts nodes and the bare handler by itself, measures every mode
// without an error, and leaves nothing behind.
func TestBenchStartsWhatItMeasures(t *testing.T) {
	temp := t.TempDir()
	code, out := runToEnd(t, []string{"TMPDIR=" + temp}, "bench", "--start", "3", "--bare",
		"--conns", "1,8", "--rounds", "1", "--duration", "200ms", "--warmup", "50ms")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	lines := regexp.MustCompile(`(?m)^\| (write|read|local) \| (1|8) \| [1-9].* %.*\| 0 \|$`).FindAllString(out, -1)
	if len(lines) != 6 {
		t.Errorf("%d lines of 6:\n%s", len(lines), out)
	}
	if left := listDir(t, temp); len(left) > 0 {
		t.Errorf("it left %s", strings.Join(left, ", "))
	}
}
