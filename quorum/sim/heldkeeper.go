package sim

import (
	"slices"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
)

// Bounds of a leader's patience with homes, in milliseconds of its lease clock
// (RULES.md R17).
const (
	homeSilent  = 3000
	unconfirmed = 2000
	beatEvery   = 500 * millisecond
)

// heldKeeper is what a leader's driver does about the sessions, holds and places
// of the real state.
type heldKeeper struct {
	tracker  *lease.Tracker
	reign    quorum.Epoch
	began    uint64 // lease clock
	expiring bool
	lapsing  bool
	drawing  bool // a Withdraw is under way
	beats    []homeBeat
	grants   []grantSeen
	parked   []confirm // of closing sessions
	noted    uint64    // lease clock of the last checkpoint
}

type homeBeat struct {
	node     quorum.NodeID
	instance uint64
	at       uint64
}

// grantSeen is a grant that its home has not confirmed.
type grantSeen struct {
	place quorum.Zxid
	at    uint64
}

// confirm is a home's CONFIRM of a grant, or a renewal, on its way.
type confirm struct {
	worker, turn int
	home         quorum.NodeID
	life         uint32
	epoch        quorum.Epoch
	place, token quorum.Zxid
	session      quorum.Zxid
	ttl          int64 // ms
	began        int64 // when the request came to its home
	called       int64
	until        int64 // answered: the session lives at least so long
}

// keepHeld is the keeper's part of a tick.
func (n *node) keepHeld() {
	if n.w.held == nil || n.core == nil {
		return
	}
	n.heldBeat()
	if !n.reigns() {
		n.held.keeper = heldKeeper{}
		return
	}
	k, epoch, clock := &n.held.keeper, n.soft.Epoch, n.soft.LeaseMs
	if k.reign != epoch {
		if base, ok := n.w.obs.ledger.find(n.soft.Base); !ok || n.app.pos < base {
			return
		}
		*k = heldKeeper{tracker: lease.NewTracker(), reign: epoch, began: clock}
		k.tracker.Reset(n.held.state.View(), clock)
	}
	n.heldLapse()
	n.heldWithdraw(clock)
	n.heldCheckpoint(clock)
	if next, ok := k.tracker.Next(); ok && next <= clock && !k.expiring {
		k.expiring = true
		n.w.clients.ask(n, func() { n.heldExpire(epoch) })
	}
}

// heldBeat tells the leader that requests wait here.
func (n *node) heldBeat() {
	if len(n.held.waits) == 0 || n.w.now-n.held.beat < beatEvery || !n.soft.Established || n.soft.Leader == 0 {
		return
	}
	n.held.beat = n.w.now
	n.w.net.deliver(n.id, n.soft.Leader, event{kind: evBeat, num: n.disk.img.control.Boot.Nonce, epoch: n.soft.Epoch})
}

// beaten: a home's beat has come to the node that it takes for the leader.
func (n *node) beaten(e *event) {
	k := &n.held.keeper
	if k.reign == 0 || k.reign != e.epoch {
		return
	}
	b := homeBeat{node: e.from, instance: e.num, at: n.soft.LeaseMs}
	for i := range k.beats {
		if k.beats[i].node == b.node && k.beats[i].instance == b.instance {
			k.beats[i].at = b.at
			return
		}
	}
	k.beats = append(k.beats, b)
}

func (k *heldKeeper) heard(home lease.HomeRef) uint64 {
	for _, b := range k.beats {
		if b.node == home.Node && b.instance == home.Home {
			return b.at
		}
	}
	return k.began
}

func (n *node) heldLapse() {
	k := &n.held.keeper
	at, ok := n.held.state.View().NextLapse()
	if !ok || at > n.core.Soft().AgeMs || k.lapsing {
		return
	}
	k.lapsing = true
	n.w.held.propose(n, &commandpb.Command{Op: &commandpb.Command_Lapse{Lapse: &commandpb.Lapse{}}},
		func(*lease.Result) { n.held.keeper.lapsing = false })
}

// heldCheckpoint notes what long sessions have left, every tenth of the shortest
// long TTL (RULES.md R22).
func (n *node) heldCheckpoint(clock uint64) {
	k := &n.held.keeper
	if clock < k.noted+lease.LongTTL/10 {
		return
	}
	k.noted = clock
	op := &commandpb.Checkpoint{Epoch: uint32(k.reign)}
	a, _, err := n.held.state.View().Read(lease.Read{Kind: lease.ReadSessions, Limit: 100}, lease.Cursor{}, 0)
	for i := range a.Sessions {
		s := &a.Sessions[i]
		left, state := k.tracker.Remaining(s.ID, clock)
		if err == nil && state == lease.TouchAlive && s.TTL.Milliseconds() >= lease.LongTTL {
			op.Ids, op.LeftMs = append(op.Ids, uint64(s.ID)), append(op.LeftMs, uint64(max(1, left.Milliseconds())))
		}
	}
	if len(op.Ids) > 0 {
		n.w.held.propose(n, &commandpb.Command{Op: &commandpb.Command_Checkpoint{Checkpoint: op}}, nil)
	}
}

// heldWithdraw takes back what silent homes wait for, and grants that nobody has
// confirmed.
func (n *node) heldWithdraw(clock uint64) {
	k := &n.held.keeper
	if k.drawing || n.w.opt.Mutant == "never-withdraw" {
		return
	}
	op := &commandpb.Withdraw{Epoch: uint32(k.reign)}
	for _, home := range n.held.state.View().Homes() {
		if clock >= k.heard(home)+homeSilent {
			op.Homes = append(op.Homes, &commandpb.Home{Node: uint32(home.Node), Instance: home.Home})
		}
	}
	k.grants = slices.DeleteFunc(k.grants, func(g grantSeen) bool {
		late := clock >= g.at+unconfirmed
		if late {
			op.Places = append(op.Places, uint64(g.place))
		}
		return late
	})
	if len(op.Homes) == 0 && len(op.Places) == 0 {
		return
	}
	k.drawing = true
	n.w.held.propose(n, &commandpb.Command{Op: &commandpb.Command_Withdraw{Withdraw: op}},
		func(*lease.Result) { n.held.keeper.drawing = false })
}

// heldFollow has the keeper of a leader follow what was applied.
func (n *node) heldFollow(res *lease.Result) {
	k := &n.held.keeper
	if k.reign == 0 {
		return
	}
	now := n.leaseNow()
	if res.Opened {
		k.tracker.Add(res.Session.ID, res.Session.TTL, now)
	}
	for _, id := range res.Touched {
		k.tracker.Touch(id, now)
	}
	for i := range res.Outcomes {
		if o := &res.Outcomes[i]; o.Hold.Token != 0 {
			k.tracker.Touch(o.Hold.Session, now)
			k.grants = append(k.grants, grantSeen{o.Place, now})
		}
	}
	for _, id := range res.Ended {
		k.tracker.Remove(id)
	}
}

// heldExpire ends the sessions that are due after a confirmed round. One that
// its own Acquire opened waits for its grant (RULES.md R17).
func (n *node) heldExpire(epoch quorum.Epoch) {
	k := &n.held.keeper
	if n.core == nil || k.reign != epoch {
		return
	}
	view := n.held.state.View()
	var ids []quorum.Zxid
	for _, id := range k.tracker.Due(n.core.Soft().LeaseMs, 100) {
		switch _, alive := view.Session(id); {
		case !alive:
			k.tracker.Remove(id)
		case view.Waits(id):
			k.tracker.Reopen(id, n.leaseNow())
		default:
			ids = append(ids, id)
		}
	}
	left := 0
	for _, cmd := range view.ExpireCommands(ids, epoch) {
		left++
		n.w.held.propose(n, cmd, func(res *lease.Result) {
			if left--; left == 0 {
				n.heldExpired(epoch, ids, res != nil)
			}
		})
	}
	if left == 0 {
		n.heldExpired(epoch, nil, true)
	}
}

func (n *node) heldExpired(epoch quorum.Epoch, ids []quorum.Zxid, done bool) {
	k := &n.held.keeper
	if k.reign != epoch {
		return
	}
	for _, id := range ids {
		if done {
			k.tracker.Remove(id)
		} else {
			k.tracker.Reopen(id, n.leaseNow())
		}
	}
	parked := k.parked
	k.parked, k.expiring = nil, false
	for _, c := range parked {
		n.confirmed(c)
	}
}

// confirmed: a CONFIRM has come to the node that its home takes for the leader.
// Where the request for the place and the grant are of the leader's own epoch the
// commit of the grant is the round that R12 asks for, counted from the coming of
// the request; else a round begins now.
func (n *node) confirmed(c confirm) {
	k := &n.held.keeper
	if k.reign == 0 || k.reign != c.epoch {
		return
	}
	switch _, state := k.tracker.Touch(c.session, n.leaseNow()); state {
	case lease.TouchUnknown:
		return
	case lease.TouchClosing:
		k.parked = append(k.parked, c)
		return
	}
	k.grants = slices.DeleteFunc(k.grants, func(g grantSeen) bool { return g.place == c.place })
	answer := func(from int64) {
		c.until = from + n.w.shortest(c.ttl)
		n.w.net.deliver(n.id, c.home, event{kind: evConfirmed, confirm: c})
	}
	own := c.place != 0 && c.place.Epoch() == c.epoch && c.token.Epoch() == c.epoch
	if own && n.w.now-c.began < n.w.shortest(c.ttl)/4 {
		answer(c.began)
		return
	}
	if n.w.opt.Mutant == "confirm-unconfirmed" {
		answer(c.called)
		return
	}
	n.w.clients.ask(n, func() {
		_, alive := n.held.state.View().Session(c.session)
		if n.core != nil && k.reign == c.epoch && n.soft.Epoch == c.epoch && n.reigns() && alive {
			answer(c.called)
		}
	})
}
