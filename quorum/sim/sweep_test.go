package sim

import (
	"bytes"
	"strings"
	"testing"

	"perch/quorum"
)

const sweptStories = 200

// TestSweep crashes at a sample of the points of all stories; make soak-sim
// takes every point.
func TestSweep(t *testing.T) {
	every := 61
	if testing.Short() {
		every = 499
	}
	points, played := 0, 0
	for story := range uint64(sweptStories) {
		found, err := CrashPoints(story)
		if err != nil {
			t.Error(err)
		}
		for _, p := range found {
			if points++; points%every != 0 {
				continue
			}
			played++
			if err := PlayCrash(p, nil); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("%d stories, %d crash points, %d of them played", sweptStories, points, played)
}

// unswept are message and record types that no story can hold, each with its
// reason. Everything else must be in one, or a crash around it is never tried.
var unswept = map[string]string{
	"record 5": "the core writes no commit hints",
}

// TestStoriesHoldEverything: the stories together contain every type of message
// and of record, and every boundary that a crash can strike.
func TestStoriesHoldEverything(t *testing.T) {
	var messages [len(messageNames)]int
	var records [quorum.RecordCommit + 1]int
	var places [boundaries]int
	for story := range uint64(sweptStories) {
		s, err := playStory(CrashPoint{Story: story}, Options{}, func(w *World) {
			w.net.watch = func(from, to quorum.NodeID, m *quorum.Message) { messages[m.Type]++ }
			w.obs.wrote = func(r *quorum.Record) { records[r.Type]++ }
		})
		if err != nil {
			t.Errorf("story %d: %v", story, err)
		}
		for _, p := range s.w.sweep.found {
			places[p.place]++
		}
	}
	for i, count := range messages {
		if count == 0 && messageNames[i] != "" && unswept[messageNames[i]] == "" {
			t.Errorf("no story holds %s: add a chapter to stories.go, or a reason to unswept", messageNames[i])
		}
	}
	for i, count := range records {
		if name := "record " + string(rune('0'+i)); i > 0 && count == 0 && unswept[name] == "" {
			t.Errorf("no story holds %s: add a chapter to stories.go, or a reason to unswept", name)
		}
	}
	for b, count := range places {
		if count == 0 {
			t.Errorf("no story has a crash point %v", boundary(b))
		}
	}
	t.Logf("messages %v, records %v, boundaries %v", messages, records, places)
}

// TestSweepBites: with a bug in the driver, a crash point is found.
func TestSweepBites(t *testing.T) {
	for _, mutant := range []string{"send-before-fsync", "stable-before-fsync", "epoch-before-log", "lost-fsync", "stale-snapshot"} {
		if !sweepFinds(t, mutant) {
			t.Errorf("no crash point finds %s", mutant)
		}
	}
}

func sweepFinds(t *testing.T, mutant string) bool {
	for story := range uint64(2 * len(chapters)) {
		s, err := playStory(CrashPoint{Story: story}, Options{Mutant: mutant}, nil)
		if err != nil {
			t.Logf("%s: story %d, no crash: %v", mutant, story, err)
			return true
		}
		for _, p := range s.w.sweep.found {
			if p.Story = story; p.At%5 != 0 {
				continue
			}
			if _, err := playStory(p, Options{Mutant: mutant}, nil); err != nil {
				t.Logf("%s: story %d, crash %v, %v: %v", mutant, story, p, p.place, err)
				return true
			}
		}
	}
	return false
}

// TestCrashPointReplay: a point is found again by its name, and one that is not
// there is an error.
func TestCrashPointReplay(t *testing.T) {
	found, err := CrashPoints(4)
	if err != nil || len(found) == 0 {
		t.Fatalf("%d points: %v", len(found), err)
	}
	var a, b bytes.Buffer
	p := found[len(found)/2]
	if q, err := ParseCrashPoint(4, p.String()); err != nil || q.String() != p.String() {
		t.Errorf("%v is read as %v: %v", p, q, err)
	}
	if err := PlayCrash(p, &a); err != nil {
		t.Error(err)
	}
	if err := PlayCrash(p, &b); err != nil || a.String() != b.String() {
		t.Errorf("two plays of %v differ: %v", p, err)
	}
	if !strings.Contains(a.String(), "the crash of this sweep, "+p.place.String()) {
		t.Errorf("no crash in\n%s", tail(a.String(), 20))
	}
	for _, text := range []string{"", "1:2", "x:1:lost", "1:2:some"} {
		if _, err := ParseCrashPoint(4, text); err == nil {
			t.Errorf("%q is a crash point", text)
		}
	}
	p.At = 1 << 20
	if err := PlayCrash(p, nil); err == nil {
		t.Error("a crash point that is not there was played")
	}
}
