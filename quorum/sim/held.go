package sim

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
)

// In some seeds, and in directed schedules that say so, the nodes also apply the
// real replicated state of package lease: workers take locks and count under
// keys, their homes wait for grants as a node does, and a leader's keeper ends
// sessions, lapses and withdraws (RULES.md R12 to R22). The rest of a seed is as
// it would be without.

// heldState is a node's part of it; it ends with the life of the node, but for
// what snapshots keep.
type heldState struct {
	state  *lease.State
	waits  []waiting // places that requests of this life wait for
	keeper heldKeeper
	beat   int64 // when it last told the leader that it waits
	result *lease.Result

	secrets [][]byte // of the cluster, as this life was started with them
}

// waiting is a request at its home that has a place.
type waiting struct {
	place  quorum.Zxid
	attach uint32
	worker int
	turn   int // of the worker
}

// held is the whole of it in a world; nil where there is none.
type held struct {
	w       *World
	rng     rng
	workers []worker
	locks   [heldLocks]lockModel
	digests []heldDigest
	checked int // position up to which the rules were checked
	keys    map[string]once
	dropped quorum.Zxid // the newest record that is known to be gone
	counted int64
	drained bool
}

// heldDigest is what the state must be at a position.
type heldDigest struct {
	pos    int
	digest uint64
}

const (
	heldLocks   = 2
	heldWorkers = 6
	heldSalt    = 0x68656c64
)

// heldSettings let sessions be as short as a run.
func heldSettings() lease.Settings {
	s := lease.DefaultSettings()
	s.TTLMinMs = 50
	return s
}

// newHeldState is the state before the first entry, at the newest level.
func newHeldState() *lease.State {
	s := lease.New(heldSettings())
	data := marshalled(&commandpb.Command{Format: 1, Op: &commandpb.Command_RaiseLevel{
		RaiseLevel: &commandpb.RaiseLevel{Level: lease.Format}}})
	if _, _, err := s.Apply(&quorum.Entry{Zxid: 1, Kind: quorum.EntryCommand, Data: data}); err != nil {
		panic(err)
	}
	return s
}

func marshalled(cmd *commandpb.Command) []byte {
	b, err := proto.Marshal(cmd)
	if err != nil {
		panic(err) // a text that is not UTF-8: no schedule has one
	}
	return b
}

// holds gives the world its workers.
func (w *World) holds() {
	w.held = &held{w: w, rng: rng{state: scramble(w.opt.Seed ^ heldSalt)}, keys: map[string]once{}}
	for i := range w.held.workers {
		w.held.workers[i].number = i
	}
}

// openHeld is the state that a life begins with: that of a snapshot, or the first.
func (n *node) openHeld(snap *snapFile) {
	if n.w.held == nil {
		return
	}
	n.held = heldState{state: newHeldState(), secrets: n.secrets}
	if snap != nil {
		n.installHeld(snap)
	}
}

// installHeld replaces the state by that of a snapshot.
func (n *node) installHeld(snap *snapFile) {
	if n.w.held == nil || snap.held == nil {
		return
	}
	s, err := lease.Restore(bytes.NewReader(snap.held))
	if err != nil {
		n.w.fail(29, "node %d cannot read the snapshot at %v: %v", n.id, snap.meta.Zxid, err)
		return
	}
	n.held.state = s
}

// heldSnapshot is the state as snapshots keep it.
func (n *node) heldSnapshot() []byte {
	if n.w.held == nil {
		return nil
	}
	var b bytes.Buffer
	if _, err := n.held.state.View().WriteTo(&b); err != nil {
		n.w.fail(29, "node %d: %v", n.id, err)
	}
	return b.Bytes()
}

// applyHeld applies an entry that holds a command of package lease.
func (n *node) applyHeld(e *quorum.Entry) {
	n.held.result = nil
	if e.Kind == quorum.EntryRestored {
		n.beginAnewHeld(e)
		return
	}
	number := writeOf(e)
	if n.w.held == nil || number < 0 || n.w.clients.writes[number].cmd == nil {
		return
	}
	wr := &n.w.clients.writes[number]
	data := e.Data[len(body(number, 0)):]
	if !n.w.script {
		data = marshalled(wr.cmd)
	}
	res, _, err := n.held.state.Apply(&quorum.Entry{Zxid: e.Zxid, Kind: quorum.EntryCommand, Data: data, Stamp: e.Stamp})
	if err != nil || res.Fault != "" {
		n.w.fail(29, "node %d applies %v: %v %s", n.id, e.Zxid, err, res.Fault)
		return
	}
	n.held.result = &res
	n.w.held.check(n, wr, &res)
	n.heldFollow(&res)
	n.heldOutcomes(&res)
}

// heldOutcomes ends the waits of this node's requests whose places were decided.
func (n *node) heldOutcomes(res *lease.Result) {
	for i := range res.Outcomes {
		o := &res.Outcomes[i]
		if o.Node != n.id || o.Home != n.disk.img.control.Boot.Nonce {
			continue
		}
		for j := range n.held.waits {
			if at := n.held.waits[j]; at.place == o.Place && at.attach == o.Attach {
				n.held.waits = append(n.held.waits[:j:j], n.held.waits[j+1:]...)
				n.w.held.decided(n, at, o)
				break
			}
		}
	}
}

// propose has n's core propose a command of package lease.
func (h *held) propose(n *node, cmd *commandpb.Command, then func(*lease.Result)) {
	if cmd.Format == 0 {
		cmd.Format = lease.Format
	}
	wr := write{kind: writeHeld, cmd: cmd}
	wr.then = func(ok bool) {
		if then == nil {
			return
		}
		if ok {
			then(n.held.result)
		} else {
			then(nil)
		}
	}
	h.w.clients.put(n, wr)
	h.w.obs.look(n)
	n.pump()
}

// drawHeld draws whether a seed has workers. Its source of chance is its own, so
// that all other seeds stay what they were.
func drawHeld(r *rng, f *faults) {
	if r.below(4) == 0 {
		f.held = pick(r, 5*millisecond, 20*millisecond, 60*millisecond)
	}
}
