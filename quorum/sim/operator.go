package sim

import (
	"fmt"
	"strconv"
	"strings"

	"perch/quorum"
)

// membersSalt makes what is drawn of members independent of all other draws.
const membersSalt = 0x6d656d62657273

// drawMembers decides whether the members of a seed change. What a lost or wrong
// store does is left to the other seeds: how many may fail at once is counted
// for members that stay.
func drawMembers(r *rng, f *faults, spares int) {
	if spares == 0 && r.below(5) != 0 {
		return
	}
	if f.spares = spares; spares == 0 {
		f.spares = 1 + r.below(2)
	}
	f.every[faultMembers] = pick(r, 40*millisecond, 150*millisecond, 400*millisecond)
	for _, k := range []faultKind{faultWipe, faultWipeEarly, faultRot, faultBend, faultImage, faultRestore} {
		f.every[k] = 0
	}
	f.levels = false
}

// operate is an operator who asks some node for a change: adds as observers whom
// nobody knows, makes voters of observers, several at once, demotes and removes,
// the leader too, and does not look first whether that is wise.
func (w *World) operate(n *node, r *rng) {
	if n.core == nil || n.paused || len(w.obs.configs) == 0 {
		return
	}
	cf := n.core.Configuration()
	ch := quorum.Change{Force: r.chance(500)}
	if r.chance(300) {
		ch.Expect = cf.Version
	}
	for range 1 + r.below(3) {
		w.operateOn(w.nodes[1+r.below(len(w.nodes)-1)].id, &cf, &ch, r)
	}
	if n.soft.Leader != 0 && r.chance(100) {
		ch.Remove = append(ch.Remove, n.soft.Leader)
	}
	w.clients.change(n, ch)
}

func (w *World) operateOn(id quorum.NodeID, cf *quorum.Configuration, ch *quorum.Change, r *rng) {
	m, there := cf.Member(id)
	role := quorum.RoleVoter
	switch {
	case there && r.chance(250):
		ch.Remove = append(ch.Remove, id)
		return
	case !there && r.chance(800), m.Role == quorum.RoleVoter && r.chance(300):
		role = quorum.RoleObserver
	}
	ch.Set = append(ch.Set, quorum.MemberChange{ID: id, Role: role, Addr: "sim"})
}

// outside says whether the node is no member of the newest committed
// configuration.
func (n *node) outside() bool {
	cfs := n.w.obs.configs
	if len(cfs) == 0 {
		return !n.founds()
	}
	_, in := cfs[len(cfs)-1].Member(n.id)
	return !in
}

// away says whether the node serves nobody.
func (n *node) away() bool { return n.lost() || n.outside() }

// members asks a node for a change, as a line of a schedule says.
func (s *Schedule) members(args []string) error {
	n, err := s.node(args[0])
	if err != nil || n.core == nil {
		return fmt.Errorf("node %s is not up: %v", args[0], err)
	}
	var ch quorum.Change
	for i, a := range args[1:] {
		id, role, _ := strings.Cut(a, "=")
		number, err := strconv.Atoi(id)
		switch {
		case a == "force":
			ch.Force = true
		case a == "expect":
			var e, c uint32
			if _, err := fmt.Sscanf(args[i+2], "%d,%d", &e, &c); err != nil {
				return err
			}
			ch.Expect = quorum.MakeZxid(quorum.Epoch(e), c)
		case strings.Contains(a, ","):
		case err != nil:
			return err
		case role == "none":
			ch.Remove = append(ch.Remove, quorum.NodeID(number))
		case role == "voter" || role == "observer":
			r := map[string]quorum.Role{"voter": quorum.RoleVoter, "observer": quorum.RoleObserver}[role]
			ch.Set = append(ch.Set, quorum.MemberChange{ID: quorum.NodeID(number), Role: r})
		default:
			return fmt.Errorf("no role %q", role)
		}
	}
	s.names["change"] = len(s.w.clients.writes)
	s.w.clients.change(n, ch)
	return nil
}
