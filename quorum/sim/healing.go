package sim

import (
	"fmt"
	"strings"

	"perch/quorum"
)

// Bounds of the time after the faults.
const (
	watchEvery = 20 * millisecond
	stallBound = 12 * second // without any progress towards …
	healBound  = 60 * second // … a leader, everybody in sync, every request ended
	stuckBound = 3 * second  // for a cluster that lost a founder's disk while it formed
	writeBound = 2 * second  // to fresh writes and reads of every node
	quietBound = 1 * second  // without progress, before a client writes …
	quietMost  = 3           // … so often at most, so that states are compared once more
	reignBound = 3           // leaders established after the faults …
	leaveBound = 3           // … and more where leaders may be removed
)

// healing demands progress once the faults have stopped.
type healing struct {
	w       *World
	began   int64
	moved   int64 // when there was progress
	applied int   // positions of all nodes together, to see it by
	reigns  int   // established when it began
	settled bool
	asked   int64
	quiet   int             // writes since, for states to be compared
	asks    []quorum.NodeID // who writes at the end
	writes  []int           // their writes
	done    bool
}

// beginHealing stops all faults, starts all nodes, and begins to watch.
func (w *World) beginHealing() {
	w.note("---- faults end ----")
	w.healed = true
	w.faults.calm()
	w.net.heal()
	w.heal = healing{w: w, began: w.now, moved: w.now, reigns: w.obs.reigns}
	for _, n := range w.nodes[1:] {
		n.crashIn, n.storm, n.frozen, n.disk.full = -1, 0, 0, 0
		if n.core == nil {
			w.at(event{at: w.now, kind: evStart, node: n.id})
		}
		w.at(event{at: w.now, kind: evResume, node: n.id, life: n.life})
		w.at(event{at: w.now, kind: evThaw, node: n.id, life: n.life})
	}
	w.at(event{at: w.now + watchEvery, kind: evWatch})
}

// watch looks every few ticks whether the cluster has come back.
func (h *healing) watch() {
	w := h.w
	why := h.missing()
	if at := h.positions(); at != h.applied {
		h.moved, h.applied = w.now, at
	}
	switch {
	case why != "" && w.bent > 0 && w.undecidable() && w.now-h.began > stuckBound:
		h.done = true // only an operator can decide
		return
	case why != "" && w.early > 0 && w.now-h.began > stuckBound:
		h.done = true // it may wait for a lost founder for ever
		return
	case why != "" && w.unseen() && h.quiet < quietMost && w.now-h.moved > quietBound:
		h.quiet, h.moved = h.quiet+1, w.now
		w.clients.submit(w.nodes[1+h.quiet%w.voters])
	case why == "" && !h.settled:
		h.settled, h.asked = true, w.now
		h.ask()
	case why == "" && h.writesApplied():
		h.done = true
		return
	case !h.settled && (w.now-h.moved > stallBound || w.now-h.began > healBound):
		w.fail(0, "not in sync %d s after the faults, and %d s without progress: %s",
			(w.now-h.began)/second, (w.now-h.moved)/second, why)
	case h.settled && w.now-h.asked > writeBound:
		w.fail(0, "a fresh write or read has no end after %d s: %s", writeBound/second, why)
	}
	bound := reignBound
	if w.faults.spares > 0 {
		bound += leaveBound
	}
	if n := w.obs.reigns - h.reigns; n > bound {
		w.fail(0, "%d leaders were established after the faults", n)
	}
	w.at(event{at: w.now + watchEvery, kind: evWatch})
}

func (h *healing) positions() int {
	sum := h.w.obs.ledger.len()
	for _, n := range h.w.nodes[1:] {
		sum += n.app.pos + n.disk.img.hist.Len()
	}
	return sum
}

// ask has a client of every node write and read once more.
func (h *healing) ask() {
	for _, n := range h.w.nodes[1:] {
		if n.outside() {
			continue
		}
		h.w.clients.read(n)
		h.asks = append(h.asks, n.id)
		h.writes = append(h.writes, h.w.clients.submit(n))
	}
}

// writesApplied says whether all fresh writes have an effect. One that was
// refused, because a tiny window was full, is made again.
func (h *healing) writesApplied() bool {
	all := true
	for i, number := range h.writes {
		if number >= 0 && h.w.clients.writes[number].state == writeApplied {
			continue
		}
		all = false
		h.writes[i] = h.w.clients.submit(h.w.nodes[h.asks[i]])
	}
	return all
}

// missing says what is not yet as it should be; "" when all is well.
func (h *healing) missing() string {
	var lead *node
	for _, n := range h.w.nodes[1:] {
		if n.core != nil && n.soft.State == quorum.StateLeading && n.soft.Established {
			lead = n
		}
	}
	if lead == nil {
		return "there is no leader; " + h.w.states()
	}
	end := lead.disk.img.hist.Last()
	for _, n := range h.w.nodes[1:] {
		if n.outside() {
			if n.core == nil || !n.core.Soft().Outside || n.core.Soft().Refusal == "" {
				return fmt.Sprintf("node %d is no member and does not know; %s", n.id, h.w.states())
			}
			continue
		}
		if n.unfound() {
			return fmt.Sprintf("node %d has a wrong or disputed state; %s", n.id, h.w.states())
		}
		if n.wiped {
			return fmt.Sprintf("node %d is not rebuilt; %s", n.id, h.w.states())
		}
		if h.w.inSync(n, lead.soft.Epoch, end) {
			continue
		}
		return fmt.Sprintf("node %d is not in sync with leader %d at %v; %s", n.id, lead.id, end, h.w.states())
	}
	if why := h.w.held.remains(lead); why != "" {
		return why + "; " + h.w.states()
	}
	if i := h.w.clients.openSession(); i >= 0 {
		return fmt.Sprintf("session %v, which nobody renews, is still there; %s", h.w.clients.sessions[i].id, h.w.states())
	}
	if home, pos, ok := h.w.watchers.behind(); ok {
		return fmt.Sprintf("a watcher at node %d has seen %d events of %d", home, pos, h.w.obs.ledger.len())
	}
	if c := &h.w.clients; c.openAnywhere() > 0 {
		return fmt.Sprintf("%d writes and reads have no end; %s", c.openAnywhere(), h.w.states())
	}
	return ""
}

func (w *World) inSync(n *node, e quorum.Epoch, end quorum.Zxid) bool {
	s := &n.soft
	return n.core != nil && s.Established && s.Epoch == e && s.Last == end && s.Durable == end &&
		s.Commit == end && s.Emitted == end && n.disk.img.hist.Last() == end && n.app.pos == w.obs.ledger.len()
}

func (w *World) states() string {
	var parts []string
	for _, n := range w.nodes[1:] {
		if n.core == nil {
			parts = append(parts, fmt.Sprintf("%d is down", n.id))
			continue
		}
		s := n.core.Soft()
		parts = append(parts, fmt.Sprintf("%d is %s", n.id, softText(&s)))
	}
	return strings.Join(parts, "; ")
}

// openAnywhere counts what clients still wait for.
func (c *clients) openAnywhere() int {
	if c.open == 0 && c.asking == 0 {
		return 0
	}
	count := 0
	for _, n := range c.w.nodes[1:] {
		if n.core != nil && !n.outside() {
			count += c.openAt(n)
		}
	}
	return count
}

func (c *clients) openAt(n *node) int {
	count := len(n.asked) - int(n.answered)
	for _, number := range n.reqs {
		if c.writes[number].state == writePending {
			count++
		}
	}
	return count
}
