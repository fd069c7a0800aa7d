package node

import (
	"context"
	"errors"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/seam"
	"perch/tree"
)

// acquisition is one call of Acquire.
type acquisition struct {
	node  *Node
	cmd   *commandpb.Command
	began time.Time
	wait  time.Duration
	home  uint64 // of the place
	// elsewhere: a gateway drew the session's token, and its client does not know
	// it before the answer.
	elsewhere bool
	end       *placed
	first     lease.Result // of cmd
}

// Acquire implements lease.Service.
func (n *Node) Acquire(ctx context.Context, cmd *commandpb.Command, token string, wait time.Duration) (lease.Result, error) {
	return n.acquire(ctx, &acquisition{cmd: cmd, wait: wait, home: n.own.Boot}, token)
}

func (n *Node) acquire(ctx context.Context, a *acquisition, token string) (lease.Result, error) {
	a.node, a.began, a.end = n, time.Now(), newPlaced()
	a.settle()
	if a.wait > 0 {
		if err := n.watches.park(); err != nil {
			return lease.Result{}, err
		}
		defer n.watches.unpark()
	}
	r, at, err := n.send(ctx, a.cmd, token, a.end)
	if err != nil {
		return lease.Result{Zxid: at}, err
	}
	o, err := n.outcome(ctx, r)
	switch {
	case ctx.Err() != nil && err != nil:
		a.noticed(ctx)
		n.spawn(func(ctx context.Context) { a.abandon(ctx, r) })
		return lease.Result{}, err
	case err != nil:
		return lease.Result{}, err
	}
	a.first = o
	return a.proceed(ctx)
}

// settle fills in who answers a request that waits.
func (a *acquisition) settle() {
	home := &commandpb.Home{Node: uint32(a.node.own.Node), Instance: a.home}
	switch {
	case a.cmd.GetAcquire() != nil:
		a.cmd.GetAcquire().Home = home
	case a.cmd.GetClaim() != nil:
		a.cmd.GetClaim().Home = home
	}
}

// outcome waits for a request.
func (n *Node) outcome(ctx context.Context, r *request) (lease.Result, error) {
	select {
	case o := <-r.done:
		return o.result, o.err
	case <-ctx.Done():
		return lease.Result{}, ctx.Err()
	case <-n.ctx.Done():
		return lease.Result{}, lease.ErrCommitTimeout
	}
}

// proceed goes on from what the command itself has brought.
func (a *acquisition) proceed(ctx context.Context) (lease.Result, error) {
	res := a.first
	switch {
	case queued(&res):
		return a.await(ctx)
	case res.Code == tree.ErrLimitMismatch:
		return res, nil // told again to the same key, as it is
	case res.Code != tree.OK:
		a.node.fillHeld(ctx, &res.Held)
		return res, nil
	case res.Hold.Token != 0 && !res.Opened:
		return a.confirm(ctx, res, res.Zxid)
	}
	res, err := a.node.finish(ctx, a.cmd, res, a.began)
	if err == nil && ctx.Err() != nil {
		return lease.Result{}, a.gone(ctx)
	}
	return res, err
}

// await waits for the end of the place.
func (a *acquisition) await(ctx context.Context) (lease.Result, error) {
	n := a.node
	timer := time.NewTimer(max(0, a.wait-time.Since(a.began)))
	defer timer.Stop()
	select {
	case e := <-a.end.done:
		return a.ended(ctx, e)
	case <-timer.C:
		n.places.drop(a.first.Place)
		return a.leave(ctx)
	case <-ctx.Done():
		n.places.drop(a.first.Place)
		return lease.Result{}, a.gone(ctx)
	case <-n.watches.shut:
		// The place stays for a while: the client asks again elsewhere (R16).
		n.places.drop(a.first.Place)
		select {
		case e := <-a.end.done:
			return a.ended(ctx, e)
		default:
			return lease.Result{}, lease.ErrShuttingDown
		}
	}
}

// ended answers with how another command ended the wait.
func (a *acquisition) ended(ctx context.Context, e placeEnd) (lease.Result, error) {
	o := &e.outcome
	switch {
	case e.err != nil:
		return lease.Result{}, e.err
	case e.look:
		return a.leave(ctx)
	case ctx.Err() != nil:
		return lease.Result{}, a.gone(ctx)
	case o.Code != tree.OK:
		a.node.fillHeld(ctx, &o.Held)
		return lease.Result{Zxid: e.zxid, Code: o.Code, Held: o.Held, Place: a.first.Place}, nil
	case o.Hold.Token == 0:
		return lease.Result{Zxid: e.zxid, Claimed: o.Claimed}, nil
	}
	return a.confirm(ctx, lease.Result{Zxid: e.zxid, Hold: o.Hold, Place: a.first.Place}, e.zxid)
}

// leave gives the place up, and answers what apply says of that (RULES.md R16).
func (a *acquisition) leave(ctx context.Context) (lease.Result, error) {
	r, _, err := a.node.send(ctx, a.leaving(false), "", nil)
	if err != nil {
		return lease.Result{}, err
	}
	res, err := a.node.outcome(ctx, r)
	switch {
	case ctx.Err() != nil:
		a.noticed(ctx)
		a.node.spawn(func(ctx context.Context) {
			if _, err := a.node.outcome(ctx, r); err == nil {
				a.giveBack(ctx)
			}
		})
		return lease.Result{}, ctx.Err()
	case err != nil:
		return lease.Result{}, err
	case res.Code == tree.OK && res.Hold.Token != 0:
		return a.confirm(ctx, res, 0)
	}
	a.node.fillHeld(ctx, &res.Held)
	return res, nil
}

func (a *acquisition) leaving(gone bool) *commandpb.Command {
	at := &a.first.Place
	return &commandpb.Command{
		Caller: a.cmd.GetCaller(),
		Op:     &commandpb.Command_Leave{Leave: &commandpb.Leave{Place: uint64(at.ID), Attach: at.Attach, Gone: gone}},
	}
}

// noticed takes note of why ctx has ended: a gateway that is silent may be asking
// another node, with the token that it drew.
func (a *acquisition) noticed(ctx context.Context) {
	if errors.Is(context.Cause(ctx), seam.ErrSilent) {
		a.elsewhere = false
	}
}

// gone has what the client will not hear of given back, and is the error of ctx.
func (a *acquisition) gone(ctx context.Context) error {
	a.noticed(ctx)
	a.node.spawn(a.giveBack)
	return ctx.Err()
}

// abandon gives back what a request brings whose client was gone before.
func (a *acquisition) abandon(ctx context.Context, r *request) {
	if res, err := a.node.outcome(ctx, r); err == nil {
		a.first = res
		a.node.places.drop(res.Place)
		a.giveBack(ctx)
	}
}

// giveBack leaves the place of a client that is gone, or releases what was
// granted to it. It is tried once: a grant that nobody confirms ends anyway. A
// node that drains leaves its places.
func (a *acquisition) giveBack(ctx context.Context) {
	var cmd *commandpb.Command
	switch {
	case a.first.Place.ID != 0:
		cmd = a.leaving(true)
	case a.first.Opened && a.first.Hold.Token != 0 && (a.drawn() || a.elsewhere) && a.cmd.GetKey() == nil:
		// Granted at once, under a session that nobody can ask for again. Any
		// other client may have asked again, and know of it.
		cmd = &commandpb.Command{
			Caller: a.cmd.GetCaller(), Session: a.session(),
			Op: &commandpb.Command_CloseSession{CloseSession: &commandpb.CloseSession{}},
		}
	default:
		return
	}
	if _, err := a.node.Write(ctx, cmd, ""); err != nil {
		a.node.log.Debug("a place could not be left", keyError, err)
	}
}

// session names the session that the command opened.
func (a *acquisition) session() *commandpb.SessionRef {
	if a.drawn() {
		return &commandpb.SessionRef{Ref: &commandpb.SessionRef_Id{Id: uint64(a.first.Session.ID)}}
	}
	return &commandpb.SessionRef{Ref: a.cmd.GetSession().GetRef()}
}

// drawn says whether this node drew the session.
func (a *acquisition) drawn() bool { return a.cmd.GetSession().GetRef() == nil }

// confirm answers with a hold, once the leader knows that it is received and has
// acknowledged the session (RULES.md R12, R17). Granted is the transaction that
// granted it; 0 when that is not known, and at most res.Zxid.
func (a *acquisition) confirm(ctx context.Context, res lease.Result, granted quorum.Zxid) (lease.Result, error) {
	n := a.node
	session := res.Hold.Session
	r := renewal{session, grantRef{place: a.first.Place.ID, token: res.Hold.Token, zxid: max(granted, res.Zxid)}}
	held, ok := a.quick(ctx, r, granted)
	var err error
	if !ok {
		held, err = n.renew(ctx, &n.touches.rounds, r)
	}
	switch {
	case ctx.Err() != nil:
		return lease.Result{}, a.gone(ctx)
	case err != nil:
		return a.unconfirmed(held, err)
	}
	if info, alive := n.view().Session(session); alive {
		held.Principal = info.Principal
	}
	res.Session, res.Remaining, res.Opened = held.Info, held.Remaining, a.first.Opened
	if a.drawn() {
		res.Token = n.tokens().Draw(session)
	}
	return res, nil
}

// unconfirmed answers for a grant that the leader has not confirmed. If it is
// not known to have ended, it is given back.
func (a *acquisition) unconfirmed(held lease.Held, err error) (lease.Result, error) {
	if code, decided := err.(tree.Code); decided {
		return lease.Result{Zxid: held.Zxid, Code: code}, nil
	}
	if a.first.Place.ID != 0 {
		a.node.spawn(a.giveBack)
	}
	return lease.Result{}, lease.ErrCommitTimeout
}

// quick has a grant confirmed without a quorum round of its own. That holds when
// it was committed in the reign that the request itself was committed in, and is
// still that of the leader asked: the touch that counts is the request, at its
// arrival here. Whoever leads later has begun after it, and gives the session its
// whole time from there; a long one only if no older checkpoint says less. A wait
// that has used up much of the time is not worth it.
func (a *acquisition) quick(ctx context.Context, r renewal, granted quorum.Zxid) (lease.Held, bool) {
	epoch := granted.Epoch()
	if granted == 0 || a.first.Zxid.Epoch() != epoch || a.node.Soft().Epoch != epoch {
		return lease.Held{}, false
	}
	info, alive := a.node.view().Session(r.session)
	if !alive || info.TTL >= longTTL && !a.first.Opened || time.Since(a.began) > info.TTL/4 {
		return lease.Held{}, false
	}
	held, err := a.node.renewQuick(ctx, r)
	held.Remaining = held.TTL - time.Since(a.began)
	return held, err == nil && held.Remaining >= held.TTL/4*3
}
