package sim

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSchedules plays the directed schedules, each named after the rule of
// RULES.md, the section of ZAB.md or the bug that it stands for.
func TestSchedules(t *testing.T) {
	files, err := filepath.Glob("testdata/schedules/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schedules: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := RunSchedule(string(text), &out); err != nil {
				t.Errorf("%v\n%s", err, tail(out.String(), 120))
			}
		})
	}
}

// TestSchedulesBite: with the bug that a schedule is about, it fails.
func TestSchedulesBite(t *testing.T) {
	for _, c := range []struct{ schedule, mutant string }{
		{"R12-touch-at-a-thawed-leader", "touch-unconfirmed"},
		{"R23-expiry-outlives-its-reign", "expire-any-epoch"},
		{"R2-epochs-survive-purge", "forgotten-control"},
		{"all-die-at-once", "send-before-fsync"},
		{"R17-a-home-dies", "never-withdraw"},
		{"R12-confirm-at-a-thawed-leader", "confirm-unconfirmed"},
	} {
		text, err := os.ReadFile("testdata/schedules/" + c.schedule + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if playSchedule(string(text), Options{Seed: 1, Mutant: c.mutant}) == nil {
			t.Errorf("%s does not find %s", c.schedule, c.mutant)
		}
	}
}

func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// crashStories are short; in each, one node crashes at one effect after the word
// CRASH (ZOOKEEPER-4643, 3911, 4646, 4785, 1653).
var crashStories = map[string]string{
	"forming": `nodes 3
		start 1 2 3
		CRASH`,
	"truncation": `nodes 3
		start 1 2 3
		until leader 3
		submit 3 a
		until synced
		alone 3
		submit 3 tail
		until leader 2
		submit 2 b
		submit 1 c
		until synced 1 2
		CRASH
		heal`,
	"snapshot": `nodes 3
		start 1 2 3
		until leader 3
		submit 3 a
		until synced
		crash 1
		submit 3 b
		until synced 2 3
		snapshot 2
		snapshot 3
		submit 3 c
		until synced 2 3
		start 1
		CRASH`,
	"writing": `nodes 3
		start 1 2 3
		until leader 3
		until synced
		submit 1 a
		submit 2 b
		CRASH`,
	"renewing": `nodes 3
		limit 3
		start 1 2 3
		until leader 3
		submit 3 a
		submit 1 b
		until synced
		submit 2 c
		submit 1 x
		until sent COMMIT 3>1
		CRASH`,
	"renewing for a higher promise": `nodes 3
		start 1 2 3
		until leader 3
		submit 3 a
		until synced
		crash 1
		crash 2
		cut 1-3 2-3
		drop LEADERINFO 2>1
		start 1 2
		until sent LEADERINFO 2>1
		crash 1
		heal
		cut 2-3 1-2
		start 1
		until synced 1 3
		heal
		allow
		submit 1 b
		until sent JOIN 2>3
		CRASH`,
	"changing leaders": `nodes 3
		start 1 2 3
		until leader 3
		submit 2 a
		until synced
		crash 3
		CRASH`,
}

// TestCrashPoints lets every node crash at every effect of every story, with
// nothing, something or all kept of what was not fsynced.
func TestCrashPoints(t *testing.T) {
	for name, story := range crashStories {
		t.Run(name, func(t *testing.T) {
			for who := 1; who <= 3; who++ {
				for after := range 24 {
					for _, kept := range []string{"none", "some", "all"} {
						if err := playSchedule(crashStory(story, who, after, kept), Options{Seed: uint64(after + 1)}); err != nil {
							t.Errorf("node %d, after %d effects, %s kept: %v", who, after, kept, err)
						}
					}
				}
			}
		})
	}
}

// crashStory puts a crash into a story, and the end that all stories have. With
// "none" and "all" the disk of the node hangs, so that there is something to
// lose or to keep.
func crashStory(story string, who, after int, kept string) string {
	arm := fmt.Sprintf("crash %d after %d", who, after)
	if kept != "some" {
		arm = fmt.Sprintf("stick %d\n%s", who, arm)
	}
	return strings.Replace(story, "CRASH", arm, 1) + fmt.Sprintf(`
		run 400ms
		unstick %[1]d
		crash %[1]d %[2]s
		start 1 2 3
		until synced
		submit 1 d
		until synced
		expect applied d 1 2 3`, who, kept)
}

// TestScheduleErrors: a story that does not hold is reported with its line.
func TestScheduleErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"start 1", "line 1"},
		{"nodes 3\nfly 1", "unknown verb"},
		{"nodes 3\nstart 4", "no node"},
		{"nodes 3\nstart 1\nexpect leader 1", "line 3"},
		{"nodes 3\nrelease ACK 1>2", "nothing was held"},
		{"nodes 3\nhold ACK 12", "FROM>TO"},
		{"nodes 3\nexpect applied x 1", "nobody wrote"},
	} {
		if err := RunSchedule(c.text, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}
