package sim

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden transcripts anew")

// TestGolden plays the stories of the golden transcripts: one for every phase,
// with the exact messages, written to be read. A transcript holds its own story:
// the prose (lines that begin with #) and the steps (marked ==).
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d golden transcripts: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			if err := RunSchedule(storyOf(string(want)), &got); err != nil {
				t.Fatalf("%v\n%s", err, tail(got.String(), 40))
			}
			if *update {
				err = os.WriteFile(file, []byte(got.String()), 0o644)
			} else if got.String() != string(want) {
				t.Errorf("it goes otherwise now (if rightly: go test ./quorum/sim -run Golden -update): %s", firstDifference(got.String(), string(want)))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// storyOf takes the prose and the steps out of a transcript.
func storyOf(transcript string) string {
	var story strings.Builder
	for line := range strings.Lines(transcript) {
		if _, step, ok := strings.Cut(line, "  == "); ok {
			line = step
		} else if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
			continue
		}
		story.WriteString(line)
	}
	return story.String()
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "\n got " + a[i] + "\nwant " + b[i]
		}
	}
	return "one is longer"
}
