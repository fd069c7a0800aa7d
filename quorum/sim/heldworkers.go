package sim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// workerPhase says what a worker is at.
type workerPhase uint8

const (
	workerIdle workerPhase = iota
	workerAsking
	workerHolding
	workerReleasing
)

// worker is a function that takes a lock, works and lets go: it is retried,
// frozen and killed like one.
type worker struct {
	number int
	turn   int // rises with every step, so that what is late is told
	phase  workerPhase
	asks   int // acquisitions so far: each has a token and a key of its own
	lock   int
	shared bool
	keyed  bool
	ttl    int64
	wait   int64
	began  int64 // of the present request
	tries  int

	token   quorum.Zxid // of what it holds
	session quorum.Zxid
	until   int64 // it may believe so long that it holds
	release int   // tries

	client *client // of a schedule, which leads it; nil: it goes by itself
}

func lockName(i int) string { return "l" + strconv.Itoa(i) }

// id is 32 bytes that no other acquisition of a world has.
func (wk *worker) id(salt byte) []byte {
	b := make([]byte, 32)
	b[0] = salt
	binary.BigEndian.PutUint64(b[8:], uint64(wk.number))
	binary.BigEndian.PutUint64(b[16:], uint64(wk.asks))
	return b
}

func (wk *worker) ref() *commandpb.SessionRef {
	return &commandpb.SessionRef{Ref: &commandpb.SessionRef_TokenHash{TokenHash: wk.id('s')}, OpenTtlMs: uint64(wk.ttl)}
}

// begin lets the workers loose.
func (h *held) begin() {
	if h == nil || h.w.faults.held == 0 {
		return
	}
	h.workers = make([]worker, heldWorkers)
	for i := range h.workers {
		h.workers[i].number = i
		h.later(&h.workers[i], h.rng.around(h.w.faults.held))
	}
}

// later has a worker take its next step.
func (h *held) later(wk *worker, in int64) {
	wk.turn++
	h.w.at(event{at: h.w.now + in, kind: evWorker, num: uint64(wk.number), job: quorum.FetchJob{After: quorum.Zxid(wk.turn)}})
}

// step is a worker's next step.
func (h *held) step(e *event) {
	wk := &h.workers[e.num]
	if quorum.Zxid(wk.turn) != e.job.After {
		return
	}
	switch wk.phase {
	case workerIdle:
		if h.w.healed {
			h.drained = true
			return
		}
		h.ask(wk)
	case workerAsking:
		h.send(wk)
	case workerHolding:
		h.work(wk)
	case workerReleasing:
		h.letGo(wk)
	}
}

// ask begins a new acquisition, or counts.
func (h *held) ask(wk *worker) {
	r := &h.rng
	wk.asks++
	wk.tries, wk.release = 0, 0
	if r.chance(250) {
		h.count(wk)
		h.later(wk, r.around(h.w.faults.held))
		return
	}
	wk.lock, wk.shared, wk.keyed = r.below(heldLocks), r.chance(300), r.chance(600)
	wk.ttl, wk.wait = r.between(100, 900), r.between(0, 400)*millisecond
	wk.phase = workerAsking
	h.send(wk)
}

// count adds one under a key, three times through any nodes.
func (h *held) count(wk *worker) {
	for range 3 {
		if n := h.w.clients.someNode(); n.core != nil && !n.paused {
			h.propose(n, &commandpb.Command{Key: &commandpb.Key{Hash: wk.id('c'), Digest: wk.id('d')},
				Op: &commandpb.Command_AddCounter{AddCounter: &commandpb.AddCounter{Name: "hits", Add: 1}}}, nil)
		}
	}
}

// send asks some home for the lock, perhaps not for the first time.
func (h *held) send(wk *worker) {
	wk.tries++
	n := h.w.clients.someNode()
	if h.w.healed && wk.tries > 40 || !h.w.healed && wk.tries > 6 && h.rng.chance(500) {
		wk.phase = workerIdle // killed
		h.later(wk, h.rng.around(h.w.faults.held))
		return
	}
	wk.turn++
	turn := wk.turn
	if n.core == nil || n.paused {
		h.later(wk, h.rng.around(20*millisecond))
		return
	}
	wk.began = h.w.now
	cmd := &commandpb.Command{Session: wk.ref(), Op: &commandpb.Command_Acquire{Acquire: &commandpb.Acquire{
		Wants: []*commandpb.Want{{Name: lockName(wk.lock), Shared: wk.shared}}, Wait: wk.wait > 0,
		Home: &commandpb.Home{Node: uint32(n.id), Instance: n.disk.img.control.Boot.Nonce},
	}}}
	if wk.keyed {
		cmd.Key = &commandpb.Key{Hash: wk.id('k'), Digest: wk.id('d')}
	}
	h.retryLater(wk, wk.wait+h.rng.around(300*millisecond))
	h.propose(n, cmd, func(res *lease.Result) { h.acquired(n, wk, turn, res) })
}

// retryLater is a client's own time-out: whatever comes of the request, it asks
// again. The turn stays, so that an answer before is taken.
func (h *held) retryLater(wk *worker, in int64) {
	h.w.at(event{at: h.w.now + in, kind: evWorker, num: uint64(wk.number), job: quorum.FetchJob{After: quorum.Zxid(wk.turn)}})
}

// acquired: the home has applied the request, or does not know what became of it.
func (h *held) acquired(n *node, wk *worker, turn int, res *lease.Result) {
	if res == nil || wk.turn != turn {
		return // the client asks again
	}
	switch {
	case res.Code != tree.OK && wk.client != nil:
	case res.Code == tree.OK && res.Hold.Token != 0 && res.Opened:
		h.granted(n, wk, res.Hold, wk.began+h.w.shortest(wk.ttl))
	case res.Code == tree.OK && res.Hold.Token != 0:
		h.confirm(n, wk, confirm{token: res.Hold.Token, session: res.Hold.Session})
	case res.Code == tree.OK && res.Place.ID != 0:
		at := waiting{place: res.Place.ID, attach: res.Place.Attach, worker: wk.number, turn: turn}
		n.held.waits = append(n.held.waits, at)
		h.w.at(event{at: h.w.now + wk.wait, kind: evWaitEnds, node: n.id, life: n.life, num: uint64(at.place), touch: touch{session: int(at.attach)}})
	case res.Code == tree.ErrHoldLost || res.Code == tree.ErrLockHeld || res.Code == tree.ErrSessionExpired || res.Code == tree.ErrSuperseded:
		h.gaveUp(wk)
	default:
		h.w.fail(29, "an acquire is refused with %v", res.Code)
	}
}

func (h *held) gaveUp(wk *worker) {
	wk.phase = workerIdle
	if wk.client != nil {
		return
	}
	h.later(wk, h.rng.around(h.w.faults.held))
}

// waitEnds: the time of a request is over; its home leaves for it.
func (n *node) waitEnds(e *event) {
	for i := range n.held.waits {
		at := n.held.waits[i]
		if uint64(at.place) == e.num && int(at.attach) == e.touch.session {
			n.leave(at, n.w.held.workers[at.worker].client == nil && n.w.held.rng.chance(300))
			return
		}
	}
}

// leave gives up a place for a request that has ended, or whose client is gone.
func (n *node) leave(at waiting, gone bool) {
	n.held.waits = slices.DeleteFunc(n.held.waits, func(o waiting) bool { return o == at })
	h := n.w.held
	wk := &h.workers[at.worker]
	cmd := &commandpb.Command{Op: &commandpb.Command_Leave{Leave: &commandpb.Leave{
		Place: uint64(at.place), Attach: at.attach, Gone: gone}}}
	h.propose(n, cmd, func(res *lease.Result) { h.left(n, wk, at, gone, res) })
}

// left: apply has decided between the leaving and a grant (RULES.md R16).
func (h *held) left(n *node, wk *worker, at waiting, gone bool, res *lease.Result) {
	if res == nil || wk.turn != at.turn {
		return
	}
	if wk.client != nil {
		wk.client.told(res)
	}
	switch {
	case gone:
		h.gaveUp(wk)
	case res.Code == tree.OK && res.Hold.Token != 0:
		h.confirm(n, wk, confirm{place: at.place, token: res.Hold.Token, session: res.Hold.Session})
	case res.Code == tree.ErrLockHeld || res.Code == tree.ErrHoldLost || res.Code == tree.ErrSuperseded:
		h.gaveUp(wk)
	default:
		h.w.fail(29, "a leave is answered with %v", res.Code)
	}
}

// decided: another command ended the wait.
func (h *held) decided(n *node, at waiting, o *lease.Outcome) {
	wk := &h.workers[at.worker]
	if wk.turn != at.turn {
		return
	}
	if wk.client != nil {
		wk.client.answer = o.Code.String()
	}
	if o.Code == tree.OK {
		h.confirm(n, wk, confirm{place: o.Place, token: o.Hold.Token, session: o.Hold.Session})
		return
	}
	h.gaveUp(wk)
}

// confirm sends the CONFIRM of a grant to the leader. Without an answer the
// client asks again.
func (h *held) confirm(n *node, wk *worker, c confirm) {
	c.worker, c.turn, c.home, c.life = wk.number, wk.turn, n.id, n.life
	c.ttl, c.began, c.called, c.epoch = wk.ttl, wk.began, h.w.now, n.soft.Epoch
	if !n.soft.Established || n.soft.Leader == 0 {
		return
	}
	h.w.net.deliver(n.id, n.soft.Leader, event{kind: evConfirm, confirm: c})
}

// answered: the leader's answer is at the home.
func (n *node) confirmAnswered(c confirm) {
	h := n.w.held
	wk := &h.workers[c.worker]
	if c.life != n.life || wk.turn != c.turn {
		return
	}
	h.granted(n, wk, lease.Hold{Token: c.token, Session: c.session}, c.until)
}

// granted: the worker is told that it holds the lock.
func (h *held) granted(n *node, wk *worker, hold lease.Hold, until int64) {
	wk.phase, wk.token, wk.session, wk.until = workerHolding, hold.Token, hold.Session, until
	h.checkBelief(wk)
	if wk.client != nil {
		wk.client.answer = "granted"
		wk.client.given(n, hold.Session)
		return
	}
	h.later(wk, h.rng.around(pick(&h.rng, 2*millisecond, 20*millisecond, 200*millisecond)))
}

// work writes under the fence and goes on, lets go, sleeps too long, or dies.
func (h *held) work(wk *worker) {
	r := &h.rng
	if n := h.w.clients.someNode(); n.core != nil && !n.paused {
		h.fenced(n, wk)
	}
	switch {
	case r.chance(150): // frozen past its TTL: what it writes then must be refused
		h.later(wk, wk.ttl*millisecond+r.around(300*millisecond))
	case r.chance(100): // killed
		wk.until = h.w.now
		h.gaveUp(wk)
	case r.chance(400):
		h.later(wk, r.around(10*millisecond))
	default:
		wk.phase = workerReleasing
		wk.until = min(wk.until, h.w.now)
		h.letGo(wk)
	}
}

func (h *held) fenced(n *node, wk *worker) {
	cmd := &commandpb.Command{
		Session: &commandpb.SessionRef{Ref: &commandpb.SessionRef_TokenHash{TokenHash: wk.id('s')}},
		Fences:  []*commandpb.Fence{{Name: lockName(wk.lock), Token: uint64(wk.token)}},
		Op: &commandpb.Command_Put{Put: &commandpb.Put{
			Path: "/work-" + lockName(wk.lock), Data: fmt.Append(nil, uint64(wk.token))}},
	}
	if !wk.shared {
		cmd.Session = nil // the token suffices
	}
	h.propose(n, cmd, nil)
}

// letGo releases until it knows that it did.
func (h *held) letGo(wk *worker) {
	if wk.release++; wk.release > 8 {
		h.gaveUp(wk)
		return
	}
	n := h.w.clients.someNode()
	h.later(wk, h.rng.around(200*millisecond))
	if n.core == nil || n.paused {
		return
	}
	turn := wk.turn
	cmd := &commandpb.Command{
		Session: &commandpb.SessionRef{Ref: &commandpb.SessionRef_TokenHash{TokenHash: wk.id('s')}},
		Op: &commandpb.Command_Release{Release: &commandpb.Release{
			Names: []string{lockName(wk.lock)}, Token: uint64(wk.token)}},
	}
	h.propose(n, cmd, func(res *lease.Result) {
		if res != nil && wk.turn == turn {
			h.gaveUp(wk)
		}
	})
}
