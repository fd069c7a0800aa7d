package sim

import (
	"fmt"
	"strings"
)

// The stories of the crash sweep are directed schedules, put together from
// chapters that a seed draws. Crash points are counted from the word SWEEP on.
// The highest id leads first; what a story asks for is tried and not demanded,
// since a crash may have changed everything.

// teller writes a story.
type teller struct {
	rng   rng
	lines []string
	wrote int
}

func (t *teller) say(format string, args ...any) {
	for _, line := range strings.Split(fmt.Sprintf(format, args...), "\n") {
		t.lines = append(t.lines, strings.TrimSpace(line))
	}
}

// writes has clients of one node write, once or more.
func (t *teller) writes(at, count int) {
	for range count {
		t.wrote++
		t.say("submit %d w%d", at, t.wrote)
	}
}

// follower is 1 or 2.
func (t *teller) follower() int { return 1 + t.rng.below(2) }

func (t *teller) anybody() int { return 1 + t.rng.below(3) }

// chapters are what a story may be about; storyOf takes them in turn, so that
// 200 stories hold each of them a dozen times.
var chapters = []struct {
	title string
	tell  func(*teller)
	early bool // the sweep begins before the cluster is formed
}{
	{"forming", func(t *teller) { t.writes(t.anybody(), 1) }, true},
	{"writes and reads", tellWrites, false},
	{"the leader crashes", tellLeaderCrash, false},
	{"the leader is told to stop", tellStop, false},
	{"a tail is truncated", tellTail, false},
	{"a follower comes back", tellRejoin, false},
	{"a follower needs a snapshot", tellSnapshot, false},
	{"snapshots and purges on the way", tellPurges, false},
	{"the leader freezes", tellFreeze, false},
	{"all crash", tellAllCrash, false},
	{"a disk hangs", tellHang, false},
	{"messages of a kind are lost", tellLoss, false},
	{"a promise to a leader that fails", tellPromise, false},
	{"a window is full", tellWindow, false},
	{"the candidate is behind", tellPull, false},
	{"the candidate needs a snapshot", tellPullSnapshot, false},
	{"a former candidate is heard late", tellLate, false},
	{membersChange, tellMembers, false},
}

// membersChange is the chapter that needs a node which nobody knows yet.
const membersChange = "members join and leave"

// StoryText is the story of a seed, in the words of Schedule.
func StoryText(seed uint64) string {
	c := chapters[seed%uint64(len(chapters))]
	t := &teller{rng: rng{state: scramble(seed + 77)}}
	if c.title == membersChange {
		t.say("nodes 3 -1 1")
	} else {
		t.say("nodes 3")
	}
	t.say("fsync %d\nsnaptakes %d", pick(&t.rng, 100, 500, 1500, 4000), pick(&t.rng, 1000, 6000))
	t.bounds(c.title)
	if c.early {
		t.say("SWEEP")
	}
	t.say("start 1 2 3\nawait leader 3\nawait synced")
	if !c.early {
		t.writes(t.anybody(), 1+t.rng.below(2))
		t.say("await synced\nSWEEP")
	}
	c.tell(t)
	t.say("run 20ms")
	chapters[1+t.rng.below(len(chapters)-2)].tell(t) // whose leader may be another by then
	t.say("run 20ms")
	return strings.Join(t.lines, "\n")
}

func (t *teller) bounds(title string) {
	switch {
	case title == "a window is full":
		t.say("window 150")
	case title == "snapshots and purges on the way":
		t.say("every %d\ncache 1\nmessage 1", 2+t.rng.below(2))
	case t.rng.below(4) == 0:
		t.say("message 1\ncache %d", pick(&t.rng, 1, 300))
	}
}

func tellWrites(t *teller) {
	t.writes(t.anybody(), 1)
	t.say("read %d", t.anybody())
	t.writes(t.anybody(), 1)
	t.say("read %d\nawait synced", t.follower())
}

func tellLeaderCrash(t *teller) {
	t.writes(3, 1)
	t.say("run %dus\ncrash 3 %s", 200+t.rng.below(2000), pick(&t.rng, "none", "all", "some"))
	t.writes(t.follower(), 1)
	t.say("await leader\nstart 3\nawait synced")
}

func tellStop(t *teller) {
	t.say("stepdown 3")
	t.writes(t.follower(), 1)
	t.say("run 10ms\ncrash 3 all\nawait leader\nstart 3\nawait synced")
}

func tellTail(t *teller) {
	t.say("alone 3")
	t.writes(3, 1+t.rng.below(2))
	t.say("await leader 2")
	t.writes(t.follower(), 1)
	t.say("await synced 1 2\nheal\nawait synced")
}

func tellRejoin(t *teller) {
	away := t.follower()
	t.say("crash %d %s", away, pick(&t.rng, "none", "all"))
	t.writes(3, 2+t.rng.below(2))
	t.say("await synced %d 3\nstart %d\nawait synced", 3-away, away)
}

func tellSnapshot(t *teller) {
	away := t.follower()
	t.say("crash %d", away)
	t.writes(3, 3)
	t.say("await synced %d 3\nsnapshot %d\nsnapshot 3", 3-away, 3-away)
	t.writes(3, 1)
	t.say("start %d\nawait synced", away)
}

func tellPurges(t *teller) {
	for range 3 {
		t.writes(t.anybody(), 2)
		t.say("await synced")
	}
}

func tellFreeze(t *teller) {
	t.say("pause 3")
	t.writes(t.follower(), 1)
	t.say("await leader 2\nread 3\nrun 10ms\nresume 3\nawait synced")
}

func tellAllCrash(t *teller) {
	t.writes(3, 2)
	t.say("run %dus", 200+t.rng.below(3000))
	for i := 1; i <= 3; i++ {
		t.say("crash %d %s", i, pick(&t.rng, "none", "all", "some"))
	}
	t.say("start 1 2 3\nawait synced")
}

func tellHang(t *teller) {
	sick := t.anybody()
	t.say("stick %d", sick)
	t.writes(t.anybody(), 2)
	t.say("run %dms\nunstick %d\nawait synced", 10+t.rng.below(200), sick)
}

// lossy are kinds whose loss something must make good.
var lossy = []string{
	"PROPOSE", "COMMIT", "ACK", "ACKLD", "UPTODATE", "NEWLEADER", "ENTRIES", "FETCH", "JOIN", "SYNC",
	"LEADERINFO", "ACKEPOCH", "PING", "PONG", "REQUEST", "REFUSE", "READ", "READPOS",
}

func tellLoss(t *teller) {
	a, b := lossy[t.rng.below(len(lossy))], lossy[t.rng.below(len(lossy))]
	away := t.follower()
	t.say("drop %s *>*\ndrop %s %d>*", a, b, t.anybody())
	t.writes(t.anybody(), 1)
	t.say("crash %d\nstart %d\nrun %dms\nallow\nawait synced", away, away, 20+t.rng.below(150))
}

// tellPromise is ZAB.md 2.7: 2 promises an epoch that never is, while 3 goes on.
func tellPromise(t *teller) {
	t.say("crash 1\ncrash 2\ncut 1-3 2-3\ndrop LEADERINFO 2>1\nstart 1 2\nrun 60ms\ncrash 1\nheal\ncut 2-3 1-2\nstart 1\nawait synced 1 3")
	t.writes(1, 1)
	t.say("heal\nallow\nawait synced")
}

func tellWindow(t *teller) {
	t.writes(3, 2)
	t.writes(t.follower(), 3)
	t.say("await synced")
	t.writes(t.follower(), 2)
	t.say("await synced")
}

// tellPull has 1 elected, which lacks what 2 holds (ZAB.md 2.3 step 5).
func tellPull(t *teller) {
	t.say("alone 1")
	t.writes(3, 1+t.rng.below(2))
	t.say("await synced 2 3\ncrash 3\nheal\ndrop ACKEPOCH 1>2\nawait leader 1\nallow\nawait synced 1 2\nstart 3\nawait synced")
}

func tellPullSnapshot(t *teller) {
	t.say("alone 1")
	t.writes(3, 1)
	t.say("await synced 2 3\nsnapshot 2")
	t.writes(3, 1)
	t.say("await synced 2 3\ncrash 3\nheal\ndrop ACKEPOCH 1>2\nawait leader 1\nallow\nawait synced 1 2\nstart 3\nawait synced")
}

// tellLate has 1 hear of an epoch below the one that it has promised since.
func tellLate(t *teller) {
	t.say("alone 3\nhold LEADERINFO 2>1\nawait held LEADERINFO 2>1\nheal\nalone 2\nawait leader\ncrash 3\nstart 3\nawait leader")
	t.writes(1, 1)
	t.say("heal\nrelease LEADERINFO 2>1\nawait synced")
}

// tellMembers has 4 join, vote and see another voter go, at times the leader.
func tellMembers(t *teller) {
	t.say("start 4\nmembers %d 4=observer\nawait counts 4\nrun 20ms", t.anybody())
	t.writes(t.anybody(), 1)
	t.say("members %d 4=voter\nrun 20ms", t.anybody())
	t.writes(4, 1)
	gone := t.anybody()
	t.say("members 4 %d=none\nrun 20ms", gone)
	t.writes(1+gone%3, 1)
	t.say("await leader\nrun 50ms")
}
