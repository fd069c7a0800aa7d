package sim

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// Lines of schedules about what is held. W is a client's name; it has a session
// of its own unless it says whose.
//
//	holds                      before the first start: nodes apply package lease
//	acquire 1 W l0 [shared] [ttl 400ms] [wait 1s] [key k] [owner o] [session V]
//	unlock 1 W l0 [token]     with its fencing token, if it says so
//	write 1 W l0               under the fence of its hold
//	skew 3 24h                 the wall clock of 3 jumps
//	gone W                     the connection of its request is closed
//	count 1 W k j [as P]       adds one to a counter under each key; P asks
//	configure 1 record_bytes 1024   a committed setting
//	expect client W granted    or waiting, or a code; what it was told last
//	expect written W ok        or a code
//	expect holder l0 W         or nobody
//	expect newer W V           W's fencing token is greater than V's
//	expect same W V            … is that of V
//	expect counter 1
//
// Lines about the tokens of sessions stand in scripttokens.go.

// client is a worker that a schedule leads.
type client struct {
	worker
	name    string
	session string
	answer  string
	written string
	secret  clientSecret
}

// heldVerb does what a line says about what is held; false: none does.
func (s *Schedule) heldVerb(words []string) (bool, error) {
	switch words[0] {
	case "holds":
		s.w.holds()
		return true, nil
	case "gone":
		return true, s.goneClient(words[1])
	case "skew":
		return true, s.skew(words[1:])
	case "secrets", "token", "lend":
		return true, s.secretVerb(words)
	case "acquire", "unlock", "write", "count", "configure", "session", "close":
	default:
		return false, nil
	}
	n, err := s.node(words[1])
	if err != nil {
		return true, err
	}
	if n.core == nil {
		return true, fmt.Errorf("node %d is down", n.id)
	}
	if words[0] == "configure" {
		return true, s.configure(n, words[2:])
	}
	c := s.clientOf(words[2])
	switch words[0] {
	case "acquire":
		return true, s.acquire(n, c, words[3:])
	case "session":
		return true, s.openSession(n, c, words[3:])
	case "close":
		return true, s.ask(n, c, &commandpb.Command{Op: &commandpb.Command_CloseSession{CloseSession: &commandpb.CloseSession{}}}, c.told)
	case "unlock":
		return true, s.unlock(n, c, words[3], len(words) > 4)
	case "write":
		return true, s.write(n, c, words[3])
	}
	return true, s.count(n, c, words[3:])
}

// count adds one under each key. What the client is told of the last is its
// answer, "replayed" when that is what it was told the first time.
func (s *Schedule) count(n *node, c *client, keys []string) error {
	var caller *commandpb.Caller
	if as := len(keys) - 2; as > 0 && keys[as] == "as" {
		caller, keys = &commandpb.Caller{Principal: keys[as+1]}, keys[:as]
	}
	for _, key := range keys {
		c.answer = ""
		cmd := &commandpb.Command{Caller: caller, Key: &commandpb.Key{Hash: named32("c" + key), Digest: named32("d")},
			Op: &commandpb.Command_AddCounter{AddCounter: &commandpb.AddCounter{Name: "hits", Add: 1}}}
		s.w.held.propose(n, cmd, func(res *lease.Result) {
			first, again := s.replies[key]
			switch c.told(res); {
			case res == nil || res.Code != tree.OK:
			case !res.Replayed:
				s.replies[key] = counted{res.Zxid, res.Counter}
			case again && first == counted{res.Zxid, res.Counter}:
				c.answer = "replayed"
			default:
				c.answer = "another answer"
			}
		})
	}
	return nil
}

// counted is what a client was told of an addition.
type counted struct {
	zxid    quorum.Zxid
	counter lease.Counter
}

// configure has a setting committed.
func (s *Schedule) configure(n *node, args []string) error {
	v, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil || args[0] != "record_bytes" {
		return fmt.Errorf("no setting %q, or %q is no number", args[0], args[1])
	}
	s.w.held.propose(n, &commandpb.Command{Op: &commandpb.Command_Configure{
		Configure: &commandpb.Configure{RecordBytes: &v}}}, nil)
	return nil
}

// named32 is 32 bytes that stand for a name.
func named32(name string) []byte { return append([]byte(name), make([]byte, 32-len(name))...) }

func (s *Schedule) clientOf(name string) *client {
	for _, c := range s.clients {
		if c.name == name {
			return c
		}
	}
	c := &client{name: name, session: name}
	c.number = len(s.w.held.workers)
	s.clients = append(s.clients, c)
	s.w.held.workers = append(s.w.held.workers, worker{number: c.number, client: c})
	return c
}

// ask proposes a command of a client's session.
func (s *Schedule) ask(n *node, c *client, cmd *commandpb.Command, then func(*lease.Result)) error {
	c.answer = ""
	if err := c.identify(n, cmd); err != nil {
		c.answer = err.Error()
		return nil
	}
	s.w.held.propose(n, cmd, then)
	return nil
}

func (c *client) told(res *lease.Result) {
	if res == nil {
		c.answer = "unknown"
		return
	}
	c.answer = res.Code.String()
}

// acquire reads the rest of the line and asks.
func (s *Schedule) acquire(n *node, c *client, args []string) error {
	h := s.w.held
	wk := &h.workers[c.number]
	wk.client, wk.wait, wk.ttl, wk.shared, wk.began = c, 0, 1000, false, s.w.now
	wk.lock = slices.Index([]string{lockName(0), lockName(1)}, args[0])
	op := &commandpb.Acquire{
		Wants: []*commandpb.Want{{Name: args[0]}},
		Home:  &commandpb.Home{Node: uint32(n.id), Instance: n.disk.img.control.Boot.Nonce},
	}
	cmd := &commandpb.Command{Op: &commandpb.Command_Acquire{Acquire: op}}
	for i := 1; i < len(args); i++ {
		if args[i] == "shared" {
			wk.shared, op.Wants[0].Shared = true, true
			continue
		}
		if i++; i == len(args) {
			return fmt.Errorf("%s what?", args[i-1])
		}
		d, err := time.ParseDuration(args[i])
		switch args[i-1] {
		case "ttl":
			wk.ttl = d.Milliseconds()
		case "wait":
			wk.wait, op.Wait = d.Microseconds(), true
		case "key":
			cmd.Key, err = &commandpb.Key{Hash: named32("k" + args[i]), Digest: named32("d")}, nil
		case "owner":
			op.Owner, err = args[i], nil
		case "session":
			c.session, err = args[i], nil
		}
		if err != nil {
			return err
		}
	}
	cmd.Session = &commandpb.SessionRef{OpenTtlMs: uint64(wk.ttl)}
	wk.turn++
	turn := wk.turn
	return s.ask(n, c, cmd, func(res *lease.Result) {
		if c.told(res); res != nil && res.Code == tree.OK {
			c.answer = "waiting"
		}
		h.acquired(n, wk, turn, res)
	})
}

func (s *Schedule) unlock(n *node, c *client, lock string, byToken bool) error {
	op := &commandpb.Release{Names: []string{lock}}
	if byToken {
		op.Token = uint64(s.w.held.workers[c.number].token)
	}
	s.w.held.workers[c.number].phase = workerIdle
	return s.ask(n, c, &commandpb.Command{Op: &commandpb.Command_Release{Release: op}}, c.told)
}

// write needs the session where the fencing token does not suffice, and names it
// too where the schedule is about tokens of sessions.
func (s *Schedule) write(n *node, c *client, lock string) error {
	c.written = ""
	cmd := &commandpb.Command{
		Fences: []*commandpb.Fence{{Name: lock, Token: uint64(s.w.held.workers[c.number].token)}},
		Op:     &commandpb.Command_Put{Put: &commandpb.Put{Path: "/work-" + lock, Data: []byte(c.name)}}}
	if s.w.held.workers[c.number].shared || c.secret.used {
		if err := c.identify(n, cmd); err != nil {
			c.written = err.Error()
			return nil
		}
	}
	s.w.held.propose(n, cmd, func(res *lease.Result) {
		if c.written = "unknown"; res != nil {
			c.written = res.Code.String()
		}
	})
	return nil
}

// goneClient closes the connection of a client's request: its home leaves.
func (s *Schedule) goneClient(name string) error {
	c := s.clientOf(name)
	for _, n := range s.w.nodes[1:] {
		for _, at := range n.held.waits {
			if at.worker == c.number {
				n.leave(at, true)
				return nil
			}
		}
	}
	return fmt.Errorf("no request of %s waits", name)
}

func (s *Schedule) skew(args []string) error {
	n, err := s.node(args[0])
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(args[1])
	n.skewMs += d.Milliseconds()
	return err
}

// expectHeld checks a line that begins with expect; false: it is about something
// else.
func (s *Schedule) expectHeld(args []string) (bool, error) {
	var got string
	switch args[0] {
	case "client":
		got = s.clientOf(args[1]).answer
	case "written":
		got = s.clientOf(args[1]).written
	case "holder":
		got = s.holder(args[1])
	case "counter":
		args = []string{"counter", "hits", args[1]}
		got = fmt.Sprint(s.w.held.counted)
	case "newer", "same":
		a, b := s.tokenOf(args[1]), s.tokenOf(args[2])
		if a == 0 || args[0] == "newer" && a <= b || args[0] == "same" && a != b {
			return true, fmt.Errorf("the tokens are %v and %v", a, b)
		}
		return true, nil
	case "names", "unnamed", "told", "hidden":
		return true, s.expectSecret(args)
	default:
		return false, nil
	}
	if got != args[2] {
		return true, fmt.Errorf("it is %q", got)
	}
	return true, nil
}

func (s *Schedule) tokenOf(name string) quorum.Zxid {
	return s.w.held.workers[s.clientOf(name).number].token
}

// holder is who holds a lock, as the observer knows it.
func (s *Schedule) holder(lock string) string {
	for i := range s.w.held.locks {
		if lockName(i) != lock {
			continue
		}
		for _, o := range s.w.held.locks[i].holders {
			for _, c := range s.clients {
				if wk := &s.w.held.workers[c.number]; wk.session == o.Session && wk.token == o.Token {
					return c.name
				}
			}
			return "somebody"
		}
	}
	return "nobody"
}
