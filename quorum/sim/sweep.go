package sim

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"perch/quorum"
)

// The crash sweep plays short stories, and then each of them again and again
// with one crash: at every effect boundary of every node, with what was not
// fsynced then kept, lost or torn. After the crash the story goes on as it can,
// the node starts again, and in the end everything must be in sync and take
// writes, with all assertions checked throughout.

// boundary is a place between two effects of a node on the outside world.
type boundary uint8

const (
	beforeWrite     boundary = iota // a record is about to be written
	afterWrite                      // a group was written and no fsync has begun
	afterFsync                      // it is durable and the core has not heard
	beforeSend                      // a message is about to leave
	afterSend                       // the last of several has left
	beforeApply                     // an entry is about to be applied
	afterApply                      // … was applied
	snapshotWritten                 // a snapshot file is there under a temporary name
	snapshotRenamed                 // … under its own, and its directory is not fsynced
	snapshotDurable                 // … its directory is
	afterPurge                      // old snapshots and the log before them are gone
	snapshotPulled                  // the file of another node is durable, its record not written
	snapshotLoaded                  // … and is the state of this node
	boundaries
)

var boundaryNames = [boundaries]string{
	"before a write", "before an fsync", "after an fsync", "before a message leaves", "after a message has left",
	"before an apply", "after an apply", "before the rename of a snapshot", "before the fsync of its directory",
	"after the fsync of its directory", "after a purge", "after a snapshot was pulled", "after it was loaded",
}

func (b boundary) String() string { return boundaryNames[b] }

// CrashPoint is one crash in one story.
type CrashPoint struct {
	Story uint64        // seed of the story
	Node  quorum.NodeID // who crashes
	At    int           // at which of its boundaries, from 0
	Kept  string        // of what is not fsynced: "kept", "lost" or "torn"

	place boundary
}

// String is what simrun -point takes.
func (p CrashPoint) String() string { return fmt.Sprintf("%d:%d:%s", p.Node, p.At, p.Kept) }

// ParseCrashPoint reads what String has written.
func ParseCrashPoint(story uint64, text string) (CrashPoint, error) {
	p := CrashPoint{Story: story}
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return p, fmt.Errorf("want NODE:PLACE:lost, kept or torn, not %q", text)
	}
	if _, err := fmt.Sscan(parts[0]+" "+parts[1], &p.Node, &p.At); err != nil {
		return p, err
	}
	if _, ok := survivals[parts[2]]; !ok {
		return p, fmt.Errorf("a crash keeps nothing (lost), all (kept) or a part (torn), not %q", parts[2])
	}
	p.Kept = parts[2]
	return p, nil
}

// survivals are the ways in which a crash treats what was not fsynced.
var survivals = map[string]survival{"kept": keepAll, "lost": keepNone, "torn": keepPart}

// sweep watches the boundaries of one play of a story.
type sweep struct {
	open  bool       // boundaries count
	count []int      // so far, by node
	aim   CrashPoint // Node 0: none, every boundary is listed
	found []CrashPoint
	hit   bool
}

// boundary is called between any two effects. It reports whether the node still
// lives.
func (n *node) boundary(b boundary) bool {
	s := n.w.sweep
	if s == nil || !s.open || n.core == nil {
		return n.core != nil
	}
	at := s.count[n.id]
	s.count[n.id]++
	switch {
	case s.aim.Node == 0:
		s.list(n, b, at)
	case s.aim.Node == n.id && s.aim.At == at && !s.hit:
		s.hit = true
		n.w.note("the crash of this sweep, %v", b)
		n.rng.state ^= scramble(uint64(at)) // up to here every play is the same
		n.crash(survivals[s.aim.Kept])
		back := n.rng.between(1, 300) * millisecond
		n.w.at(event{at: n.w.now + back, kind: evStart, node: n.id})
	}
	return n.core != nil
}

// list notes the crashes that differ at this boundary.
func (s *sweep) list(n *node, b boundary, at int) {
	kept := []string{"lost"}
	if n.loose() {
		kept = append(kept, "kept")
	}
	if len(n.disk.pending) > 0 {
		kept = append(kept, "torn")
	}
	for _, k := range kept {
		s.found = append(s.found, CrashPoint{Node: n.id, At: at, Kept: k, place: b})
	}
}

// loose says whether a crash now may keep something or lose it.
func (n *node) loose() bool {
	return len(n.disk.pending) > 0 || n.disk.writing != nil && n.w.now >= n.disk.writing.named
}

// keepsName decides whether a snapshot that was renamed survives a crash before
// the fsync of its directory.
func (n *node) keepsName(how survival) bool {
	if n.w.sweep != nil {
		return how == keepAll
	}
	return n.rng.chance(500)
}

// CrashPoints plays a story without a crash and lists every crash that it has
// room for.
func CrashPoints(story uint64) ([]CrashPoint, error) {
	s, err := playStory(CrashPoint{Story: story}, Options{}, nil)
	if err != nil {
		return nil, fmt.Errorf("story %d: %w", story, err)
	}
	for i := range s.w.sweep.found {
		s.w.sweep.found[i].Story = story
	}
	return s.w.sweep.found, nil
}

// PlayCrash plays the story of p with its crash; out takes the transcript.
func PlayCrash(p CrashPoint, out io.Writer) error {
	s, err := playStory(p, Options{Out: out}, nil)
	switch {
	case err != nil:
		return fmt.Errorf("story %d, crash %v, %v: %w", p.Story, p, p.place, err)
	case p.Node != 0 && !s.w.sweep.hit:
		return fmt.Errorf("story %d has no crash point %v", p.Story, p)
	}
	return nil
}

// playStory plays a story and its end. What a story asks of a node that is down
// is not done; only a broken assertion, or an end that is not reached, fails.
func playStory(p CrashPoint, opt Options, watch func(*World)) (*Schedule, error) {
	opt.Seed = p.Story
	s := &Schedule{names: map[string]int{}, sessions: map[string]int{}}
	for _, line := range strings.Split(StoryText(p.Story), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "nodes" {
			s.world(words, opt)
			s.w.sweep = &sweep{aim: p, count: make([]int, len(s.w.nodes))}
			if watch != nil {
				watch(s.w)
			}
			continue
		}
		if words[0] == "SWEEP" {
			s.w.sweep.open = true
			continue
		}
		s.w.note("== %s", line)
		if err := s.do(words); err != nil && s.w.failure == nil {
			s.w.note("not done: %v", err)
		}
		if s.w.failure != nil {
			return s, fmt.Errorf("%s: %w", line, s.w.failure)
		}
	}
	s.w.sweep.open = false
	return s, s.finish()
}

// storyEnd is how every story ends, whatever happened in it.
const storyEnd = `allow
	heal
	unstick 1 2 3
	resume 1 2 3
	until synced
	submit 1 end1
	until synced
	submit 2 end2
	until synced
	submit 3 end3
	until synced
	read 1
	read 2
	read 3
	until synced
	expect applied end1 1 2 3
	expect applied end2 1 2 3
	expect applied end3 1 2 3
	expect answered`

// reunite has an operator make voters of all nodes, whatever became of the
// changes of a story.
func (s *Schedule) reunite() {
	w := s.w
	for tries := 0; tries < 40 && w.failure == nil; tries++ {
		var lead *node
		for _, n := range w.nodes[1:] {
			if n.core != nil && n.soft.State == quorum.StateLeading && n.soft.Established {
				lead = n
			}
		}
		if lead != nil {
			cf := lead.core.Configuration()
			missing := slices.IndexFunc(w.nodes[1:], func(n *node) bool {
				m, _ := cf.Member(n.id)
				return m.Role != quorum.RoleVoter
			})
			if missing < 0 {
				return
			}
			role := "voter"
			if _, known := cf.Member(w.nodes[missing+1].id); !known {
				role = "observer"
			}
			_ = s.do([]string{"members", fmt.Sprint(lead.id), fmt.Sprintf("%d=%s", missing+1, role), "force"})
		}
		s.advance(100*millisecond, nil)
	}
}

func (s *Schedule) finish() error {
	w := s.w
	w.note("== the end")
	for _, n := range w.nodes[1:] {
		if n.core != nil && n.core.Soft().Refusal != "" {
			n.crash(keepAll) // it was told to stop and waits to be killed
		}
		w.at(event{at: w.now, kind: evStart, node: n.id})
	}
	s.reunite()
	for _, line := range strings.Split(storyEnd, "\n") {
		err := s.do(strings.Fields(line))
		if w.failure != nil {
			err = w.failure
		}
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
		}
	}
	return nil
}
