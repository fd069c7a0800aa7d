package sim

import (
	"fmt"
	"strconv"
	"strings"

	"perch/quorum"
)

// patience is how long "until" waits.
const patience = 20 * second

// parsePattern reads TYPE FROM>TO.
func parsePattern(args []string) (p pattern, err error) {
	if len(args) < 2 {
		return p, fmt.Errorf("want TYPE FROM>TO")
	}
	p.name = args[0]
	ends := strings.Split(args[1], ">")
	if len(ends) != 2 {
		return p, fmt.Errorf("want FROM>TO, not %q", args[1])
	}
	for i, to := range []*quorum.NodeID{&p.from, &p.to} {
		if ends[i] == "*" {
			continue
		}
		v, err := strconv.Atoi(ends[i])
		if err != nil {
			return p, err
		}
		*to = quorum.NodeID(v)
	}
	return p, nil
}

// link does what a line says about messages and links.
func (s *Schedule) link(words []string) error {
	t := &s.w.net
	switch words[0] {
	case "heal":
		t.heal()
		return nil
	case "allow":
		t.rules = nil
		return nil
	case "alone":
		n, err := s.node(words[1])
		for i := 1; err == nil && i < len(s.w.nodes); i++ {
			t.links[n.id][i].cut, t.links[i][n.id].cut = forever, forever
		}
		return err
	case "cut":
		return s.cut(words[1:])
	}
	p, err := parsePattern(words[1:])
	if err != nil {
		return err
	}
	switch words[0] {
	case "drop", "hold":
		t.rules = append(t.rules, rule{match: p, hold: words[0] == "hold"})
	case "release":
		return s.release(p)
	case "replay":
		return s.replay(p)
	}
	return nil
}

const forever = int64(1) << 60

func (s *Schedule) cut(args []string) error {
	for _, a := range args {
		both := strings.Contains(a, "-")
		ends := strings.FieldsFunc(a, func(r rune) bool { return r == '-' || r == '>' })
		if len(ends) != 2 {
			return fmt.Errorf("want 1-2 or 1>2, not %q", a)
		}
		x, err := s.node(ends[0])
		if err != nil {
			return err
		}
		y, err := s.node(ends[1])
		if err != nil {
			return err
		}
		s.w.net.links[x.id][y.id].cut = forever
		if both {
			s.w.net.links[y.id][x.id].cut = forever
		}
	}
	return nil
}

// release sends on what was held, and stops holding.
func (s *Schedule) release(p pattern) error {
	t := &s.w.net
	var rules []rule
	for _, r := range t.rules {
		if !r.hold || r.match != p {
			rules = append(rules, r)
		}
	}
	t.rules = rules
	var rest []heldMessage
	count := 0
	for _, h := range t.held {
		if !p.fits(h.from, h.to, h.msg) {
			rest = append(rest, h)
			continue
		}
		count++
		t.schedule(h.from, h.to, h.msg, &t.rng)
	}
	t.held = rest
	if count == 0 {
		return fmt.Errorf("nothing was held")
	}
	return nil
}

func (s *Schedule) replay(p pattern) error {
	for _, m := range s.sent {
		if p.fits(m.from, m.to, m.msg) {
			s.w.net.schedule(m.from, m.to, m.msg, &s.w.net.rng)
			return nil
		}
	}
	return fmt.Errorf("no such message was sent")
}

func (s *Schedule) until(args []string, long int64) error {
	var enough func() bool
	switch args[0] {
	case "leader":
		enough = func() bool { return s.leads(args[1:]) }
	case "synced":
		enough = func() bool { return s.synced(args[1:]) == "" }
	case "refuses":
		n, err := s.node(args[1])
		if err != nil {
			return err
		}
		enough = func() bool { return n.core != nil && n.core.Soft().Refusal != "" }
	case "stopped", "disputed", "sound":
		enough = func() bool { return s.doubts(args) }
	case "counts":
		n, err := s.node(args[1])
		if err != nil {
			return err
		}
		enough = func() bool { return s.counts(n) }
	case "sent", "held":
		p, err := parsePattern(args[1:])
		if err != nil {
			return err
		}
		enough = s.seen(args[0], p)
	default:
		return fmt.Errorf("until what: %q", args[0])
	}
	if !s.advance(long, enough) {
		return fmt.Errorf("it never came: %s; %s", s.synced(nil), s.w.states())
	}
	return nil
}

func (s *Schedule) seen(how string, p pattern) func() bool {
	from := len(s.sent)
	return func() bool {
		if how == "held" {
			for _, h := range s.w.net.held {
				if p.fits(h.from, h.to, h.msg) {
					return true
				}
			}
			return false
		}
		for ; from < len(s.sent); from++ {
			if m := s.sent[from]; p.fits(m.from, m.to, m.msg) {
				return true
			}
		}
		return false
	}
}

// leads says whether the named node, or any, is an established leader.
func (s *Schedule) leads(args []string) bool {
	for _, n := range s.w.nodes[1:] {
		if n.core == nil || n.soft.State != quorum.StateLeading || !n.soft.Established {
			continue
		}
		if len(args) == 0 || args[0] == strconv.Itoa(int(n.id)) {
			return true
		}
	}
	return false
}

// synced says what keeps the named nodes, or all, from being in sync with an
// established leader; "" for nothing.
func (s *Schedule) synced(args []string) string {
	var lead *node
	for _, n := range s.w.nodes[1:] {
		if n.core != nil && !n.paused && n.soft.State == quorum.StateLeading && n.soft.Established &&
			(lead == nil || n.soft.Epoch > lead.soft.Epoch) {
			lead = n
		}
	}
	if lead == nil {
		return "there is no leader"
	}
	if len(args) == 0 {
		for _, n := range s.w.nodes[1:] {
			args = append(args, strconv.Itoa(int(n.id)))
		}
	}
	for _, a := range args {
		n, err := s.node(a)
		if err != nil {
			return err.Error()
		}
		if !s.w.inSync(n, lead.soft.Epoch, lead.disk.img.hist.Last()) {
			return fmt.Sprintf("node %d is not in sync", n.id)
		}
		if !n.lost() && s.w.clients.openAt(n) > 0 {
			return fmt.Sprintf("a request at node %d has no end", n.id)
		}
	}
	return ""
}

// expect checks the present.
func (s *Schedule) expect(args []string) error {
	if held, err := s.expectHeld(args); held {
		return err
	}
	ok, err := s.holds(args)
	if err == nil && !ok {
		err = fmt.Errorf("it is not so: %s", s.w.states())
	}
	return err
}

func (s *Schedule) holds(args []string) (bool, error) {
	switch args[0] {
	case "leader":
		return s.leads(args[1:]), nil
	case "no":
		return !s.leads(nil), nil
	case "synced":
		why := s.synced(args[1:])
		return why == "", nil
	case "sent":
		p, err := parsePattern(args[1:])
		return s.wasSent(p), err
	case "not":
		p, err := parsePattern(args[2:])
		return !s.wasSent(p), err
	case "mode":
		return s.mode(args[1:])
	case "applied", "absent":
		return s.applied(args)
	case "epochs":
		return strconv.Itoa(s.w.obs.reigns) == args[1], nil
	case "renewals":
		return strconv.Itoa(s.w.obs.renewed) == args[1], nil
	case "alive", "ended":
		at, ok := s.sessions[args[1]]
		return ok && (s.w.clients.sessions[at].closed == 0) == (args[0] == "alive"), nil
	case "answered", "unanswered":
		return (s.w.clients.asking == 0) == (args[0] == "answered"), nil
	case "stopped", "disputed", "sound":
		return s.doubts(args), nil
	}
	n, err := s.node(args[1])
	if err != nil {
		return false, err
	}
	switch args[0] {
	case "state":
		return n.core != nil && stateName(n.core.Soft().State) == args[2], nil
	case "log":
		return n.disk.img.hist.Last().String() == args[2], nil
	case "starts":
		return strconv.Itoa(int(n.life)) == args[2], nil
	case "refuses":
		return n.core != nil && n.core.Soft().Refusal != "" && strings.Contains(n.core.Soft().Refusal, strings.Join(args[2:], " ")), nil
	case "counts", "waits":
		return n.core != nil && s.counts(n) == (args[0] == "counts"), nil
	}
	return false, fmt.Errorf("expect what: %q", args[0])
}

// counts says whether a node is on a disk that the committed members name as a
// voter's, and knows it.
func (s *Schedule) counts(n *node) bool {
	c := &n.disk.img.control
	if len(s.w.obs.configs) == 0 {
		return false
	}
	m, _ := s.w.obs.configs[len(s.w.obs.configs)-1].Member(n.id)
	return n.core != nil && m.Role == quorum.RoleVoter && m.Incarnation == c.Boot.Incarnation && !c.NeedsRebuild
}

// replace asks the leader to name the disk that a node is on now (R10).
func (s *Schedule) replace(n *node) error {
	for _, l := range s.w.nodes[1:] {
		if l.core == nil || l.soft.State != quorum.StateLeading || !l.soft.Established {
			continue
		}
		s.w.clients.change(l, quorum.Change{Set: []quorum.MemberChange{{ID: n.id, Role: quorum.RoleVoter, Replace: true}}})
		return nil
	}
	return fmt.Errorf("there is no leader")
}

func (s *Schedule) wasSent(p pattern) bool {
	for _, m := range s.sent {
		if p.fits(m.from, m.to, m.msg) {
			return true
		}
	}
	return false
}

// mode checks how the last SYNC on a link was meant.
func (s *Schedule) mode(args []string) (bool, error) {
	p, err := parsePattern([]string{"SYNC", args[1]})
	if err != nil {
		return false, err
	}
	last := quorum.SyncMode(0)
	for _, m := range s.sent {
		if p.fits(m.from, m.to, m.msg) {
			last = m.msg.Mode
		}
	}
	want := map[string]quorum.SyncMode{"DIFF": quorum.SyncDiff, "TRUNC": quorum.SyncTrunc, "SNAP": quorum.SyncSnap}[args[0]]
	if last != want {
		return false, fmt.Errorf("the last SYNC %s has mode %d", args[1], last)
	}
	return true, nil
}

// applied says whether the nodes named have, or have not, applied a write.
func (s *Schedule) applied(args []string) (bool, error) {
	number, ok := s.names[args[1]]
	if !ok {
		return false, fmt.Errorf("nobody wrote %q", args[1])
	}
	place := s.w.clients.writes[number].place
	for _, a := range args[2:] {
		n, err := s.node(a)
		if err != nil {
			return false, err
		}
		has := place > 0 && n.app.pos >= place
		if has != (args[0] == "applied") {
			return false, nil
		}
	}
	return true, nil
}
