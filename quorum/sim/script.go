package sim

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"perch/quorum"
)

// Schedule is a directed schedule: a small, exact story about a cluster, one
// step a line. The network is calm but for what the story says, and all
// assertions are checked throughout. Lines that begin with # are prose.
//
//	nodes 3 [1 [2]]            first line: voters, observers, nodes that nobody
//	                           knows; all are down
//	epoch 100                  least first epoch
//	message 1000, window 1000, cache 1   bounds in bytes
//	fsync 2000, snaptakes 8000, every 3   microseconds; entries between snapshots
//	limit 16                   counters of an epoch (ZAB.md 2.7)
//	past 5,40 9 1 2 3          the stores of these, which are new, are restored from the
//	                           state at (5,40); epoch 9 is the highest that is known
//	start 1 2 3                (also after a crash)
//	run 50ms                   let time pass
//	until leader [3]           run until there is an established leader
//	until synced [1 2]         … until these, or all, are in sync and no request
//	                           or read of theirs is open
//	until sent ACKLD 2>1       … until such a message leaves (from now on)
//	until held ACKLD 2>1       … until such a message is being held
//	until refuses 3            … until 3 says why it takes no part
//	until counts 3             … until the members name its disk, and it votes
//	await leader               as until, and goes on after a second in any case
//	until stopped 3            … until its state was found wrong; also disputed, sound
//	submit 1 a                 a client writes "a" at 1
//	read 1                     a client reads at 1
//	members 2 4=voter 5=observer 1=none [force] [expect 3,1]   an operator asks 2
//	                           for a change; its name is "change"
//	open 1 s 400ms             a client opens the session "s" at 1
//	touch 2 s                  a client renews it through 2
//	drop ACK 2>1               such messages are lost from now on; * for any
//	hold ACK 2>1               … wait until: release ACK 2>1
//	allow                      end all drop and hold
//	replay ACK 2>1             the first such message comes once more
//	cut 1-2, cut 1>2, alone 3, heal
//	stick 2, unstick 2         no fsync ends on 2 meanwhile
//	crash 2 [none|all|some]    what survives of unsynced records; none if unsaid
//	crash 2 after 3            in the midst, after three more effects
//	wipe 2                     the disk of a dead node is gone
//	image 2, restore 2         of its store, which is put back when 2 is dead
//	damage 2                   what its log holds; found at the next start
//	replace 2                  an operator says that 2 is on another disk
//	pause 1, resume 1, stepdown 1
//	transfer 1 2               1 is told to give way to 2; to 0: to the best
//	bend 2                     the state of 2 is wrong from now on
//	snapshot 2                 of what is applied; the log before it is purged
//	expect leader 3, expect no leader, expect state 2 looking
//	expect applied a 1 2       written by these; expect absent a 1 2
//	expect sent ACKLD 2>1, expect not sent SYNC 1>2   (since the last mark)
//	expect mode SNAP 3>1       how a learner was synchronized, since the mark
//	expect log 2 (1,3)         where the log on disk ends
//	expect epochs 3            so many leaders elected and established so far
//	expect renewals 1          so many epochs renewed in place so far
//	expect answered            no read is open; expect unanswered
//	expect stopped 3, expect disputed 1 2, expect sound 1 2
//	expect counts 3, expect waits 3   its disk has its grant, or has none
//	expect alive s, expect ended s
//	expect refuses 3 a word    the reason that 3 gives has these words in it
//	expect starts 2 1          starts of 2 so far
//	silent, aloud              nothing is written to the transcript in between
//	mark                       forget what was sent
//
// Lines about what is held stand in scriptheld.go.
type Schedule struct {
	w        *World
	names    map[string]int // writes
	sessions map[string]int
	clients  []*client          // of what is held
	replies  map[string]counted // by key
	sent     []sentMessage
	out      io.Writer // of the transcript; nil: none
}

type sentMessage struct {
	from, to quorum.NodeID
	msg      *quorum.Message
}

// rule says what happens to messages of a kind on a link.
type rule struct {
	match pattern
	hold  bool
}

// pattern is TYPE FROM>TO with * for any.
type pattern struct {
	name     string
	from, to quorum.NodeID
}

func (p *pattern) fits(from, to quorum.NodeID, m *quorum.Message) bool {
	return (p.name == "*" || p.name == messageName(m.Type)) &&
		(p.from == 0 || p.from == from) && (p.to == 0 || p.to == to)
}

type heldMessage struct {
	from, to quorum.NodeID
	msg      *quorum.Message
}

// ruled lets the rules of a schedule decide on a message; false: none concerns
// it.
func (t *network) ruled(from, to quorum.NodeID, m *quorum.Message) bool {
	if t.watch != nil {
		t.watch(from, to, m)
	}
	for i := range t.rules {
		r := &t.rules[i]
		if !r.match.fits(from, to, m) {
			continue
		}
		if r.hold {
			t.held = append(t.held, heldMessage{from, to, m})
			t.w.line(from, to, m, "held")
		} else {
			t.w.line(from, to, m, "dropped")
		}
		return true
	}
	return false
}

// RunSchedule plays a directed schedule. The error names the line that failed,
// or the assertion that broke.
func RunSchedule(text string, out io.Writer) error {
	return playSchedule(text, Options{Seed: 1, Out: out})
}

func playSchedule(text string, opt Options) error {
	s := &Schedule{out: opt.Out, names: map[string]int{}, sessions: map[string]int{}, replies: map[string]counted{}}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			s.say(line)
			continue
		}
		if s.w == nil && words[0] == "nodes" {
			s.world(words, opt)
			s.step(line)
			continue
		}
		if s.w == nil {
			return fmt.Errorf("line %d: the first line must say how many nodes", i+1)
		}
		s.step(line)
		err := s.do(words)
		if s.w.failure != nil {
			err = s.w.failure
		}
		if err != nil {
			return fmt.Errorf("line %d: %s: %w", i+1, strings.TrimSpace(line), err)
		}
	}
	return nil
}

// say writes a line of the story itself, also while it is silent.
func (s *Schedule) say(line string) {
	if s.out != nil {
		fmt.Fprintln(s.out, line)
	}
}

func (s *Schedule) step(line string) {
	s.say(fmt.Sprintf("%s  == %s", clock(s.w.now), strings.TrimSpace(line)))
}

func (s *Schedule) world(words []string, opt Options) {
	opt.Nodes, _ = strconv.Atoi(words[1])
	opt.Observers, opt.Spares = -1, -1
	if len(words) > 3 {
		opt.Spares, _ = strconv.Atoi(words[3])
	}
	if len(words) > 2 {
		opt.Observers, _ = strconv.Atoi(words[2])
	}
	s.w = newWorld(opt)
	w := s.w
	w.script = true
	w.faults = faults{bodyMax: 0, snapsKept: 1, purge: 1000, digestEvery: 1}
	w.faults.calm()
	w.obs.ledger.beginAt(w.faults.past)
	for _, n := range w.nodes[1:] {
		n.tickEvery = 10 * millisecond
	}
	w.net.watch = func(from, to quorum.NodeID, m *quorum.Message) {
		s.sent = append(s.sent, sentMessage{from, to, m})
	}
}

// advance plays events until the condition holds or the time is up.
func (s *Schedule) advance(long int64, enough func() bool) bool {
	w := s.w
	end := w.now + long
	for w.failure == nil {
		if enough != nil && enough() {
			return true
		}
		if len(w.queue.heap) == 0 || w.queue.heap[0].at > end {
			w.now = end
			return false
		}
		e, _ := w.queue.pop()
		w.step(&e)
	}
	return false
}

// do carries out one line.
func (s *Schedule) do(words []string) error {
	args := words[1:]
	if held, err := s.heldVerb(words); held {
		return err
	}
	switch words[0] {
	case "run":
		d, err := time.ParseDuration(args[0])
		s.advance(d.Microseconds(), nil)
		return err
	case "until":
		return s.until(args, patience)
	case "await":
		return s.until(args, second)
	case "expect":
		return s.expect(args)
	case "members":
		return s.members(args)
	case "submit", "read", "open", "touch":
		return s.client(words)
	case "transfer":
		return s.transfer(args)
	case "drop", "hold", "release", "allow", "replay", "cut", "alone", "heal":
		return s.link(words)
	case "epoch", "message", "window", "cache", "fsync", "snaptakes", "every", "limit":
		return s.bound(words)
	case "past":
		return s.past(args)
	case "mark":
		s.sent = nil
		return nil
	case "silent":
		s.w.opt.Out = nil
		return nil
	case "aloud":
		s.w.opt.Out = s.out
		return nil
	}
	if words[0] == "crash" && len(args) > 1 && !isNumber(args[1]) {
		return s.crash(args)
	}
	for _, a := range args {
		n, err := s.node(a)
		if err != nil {
			return err
		}
		if err := s.toNode(words[0], n); err != nil {
			return err
		}
	}
	return nil
}

// past restores stores; the first such line says what the observer takes for the
// past of the cluster.
func (s *Schedule) past(args []string) error {
	var epoch, counter, known uint32
	if _, err := fmt.Sscanf(args[0]+" "+args[1], "%d,%d %d", &epoch, &counter, &known); err != nil {
		return err
	}
	p := quorum.Past{Zxid: quorum.MakeZxid(quorum.Epoch(epoch), counter), Epoch: quorum.Epoch(known)}
	if s.w.faults.past.Zxid == 0 {
		s.w.faults.past = p
		s.w.obs.ledger.beginAt(p)
	}
	for _, word := range args[2:] {
		n, err := s.node(word)
		if err != nil {
			return err
		}
		if n.core != nil || n.disk.exists {
			return fmt.Errorf("node %d has a store", n.id)
		}
		n.newStore()
		n.disk.restoredFrom(p)
		n.wiped = n.wiped && s.w.obs.cluster != quorum.ClusterID{} // before that nothing is lost with a store
	}
	return nil
}

func isNumber(word string) bool {
	_, err := strconv.Atoi(word)
	return err == nil
}

func (s *Schedule) node(word string) (*node, error) {
	i, err := strconv.Atoi(word)
	if err != nil || i < 1 || i >= len(s.w.nodes) {
		return nil, fmt.Errorf("no node %q", word)
	}
	return s.w.nodes[i], nil
}

func (s *Schedule) bound(words []string) error {
	v, err := strconv.Atoi(words[1])
	f := &s.w.faults
	switch words[0] {
	case "epoch":
		f.minEpoch = quorum.Epoch(v)
	case "message":
		f.tuning.MessageBytes = v
	case "window":
		f.tuning.WindowBytes = v
	case "cache":
		f.tuning.CacheBytes = v
	case "fsync":
		f.fsync = int64(v)
	case "snaptakes":
		f.snapTakes = int64(v)
	case "every":
		f.snapEvery = v
	case "limit":
		f.tuning.CounterLimit = uint32(v)
	}
	return err
}

// toNode does to a node what a line of one word says.
func (s *Schedule) toNode(verb string, n *node) error {
	w := s.w
	switch verb {
	case "start":
		n.start()
	case "crash":
		n.crash(keepNone)
	case "wipe":
		if n.core != nil {
			return fmt.Errorf("node %d is up", n.id)
		}
		n.wipe()
	case "image":
		n.saved = n.disk.copy()
	case "restore":
		if n.core != nil || n.saved == nil {
			return fmt.Errorf("node %d is up, or nobody has taken an image of its store", n.id)
		}
		n.restore()
	case "damage":
		n.disk.rot = &rot{what: kindsOfRot[0]}
	case "replace":
		return s.replace(n)
	case "pause":
		n.paused = true
	case "resume":
		n.resume()
	case "stepdown":
		if n.core == nil {
			return fmt.Errorf("node %d is down", n.id)
		}
		n.core.StepDown()
		w.obs.look(n)
		n.pump()
	case "stick", "unstick":
		n.disk.stuck = verb == "stick"
		n.fsync()
	case "bend":
		w.bendState(n)
	case "snapshot":
		return s.snapshot(n)
	default:
		return fmt.Errorf("unknown verb %q", verb)
	}
	return nil
}

// transfer has a node give way to another; it is an error when it refuses.
func (s *Schedule) transfer(args []string) error {
	n, err := s.node(args[0])
	if err != nil {
		return err
	}
	to, err := strconv.Atoi(args[1])
	if err != nil || n.core == nil {
		return fmt.Errorf("node %s is down, or %q is no node", args[0], args[1])
	}
	err = n.core.Transfer(quorum.NodeID(to))
	s.w.obs.look(n)
	n.pump()
	return err
}

func (s *Schedule) snapshot(n *node) error {
	every := s.w.faults.snapEvery
	s.w.faults.snapEvery, n.snapAt = 1, -1
	n.maybeSnapshot()
	s.w.faults.snapEvery = every
	done := func() bool { return n.disk.writing == nil }
	if !s.advance(second, done) {
		return fmt.Errorf("the snapshot is not done")
	}
	s.advance(20*millisecond, nil)
	return nil
}

func (s *Schedule) crash(args []string) error {
	n, err := s.node(args[0])
	if err != nil {
		return err
	}
	switch args[1] {
	case "none":
		n.crash(keepNone)
	case "all":
		n.crash(keepAll)
	case "some":
		n.crash(keepSome)
	case "after":
		n.crashIn, err = strconv.Atoi(args[2])
	default:
		err = fmt.Errorf("crash how: %q", args[1])
	}
	return err
}

func (s *Schedule) client(words []string) error {
	n, err := s.node(words[1])
	if err != nil {
		return err
	}
	c := &s.w.clients
	switch words[0] {
	case "read":
		c.read(n)
		return nil
	case "open":
		ttl, err := time.ParseDuration(words[3])
		s.sessions[words[2]] = c.openSessionAt(n, ttl.Milliseconds())
		return err
	case "touch":
		at, ok := s.sessions[words[2]]
		if !ok {
			return fmt.Errorf("no session %q", words[2])
		}
		c.touchThrough(n, at)
		return nil
	}
	number := c.submit(n)
	if number < 0 {
		return fmt.Errorf("node %d takes no write", n.id)
	}
	s.names[words[2]] = number
	return nil
}
