package handlers

import (
	"context"
	"errors"
	"strconv"
	"time"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// This file acquires, renews and releases whatever can be held.

const (
	ownerBytesMax  = 255
	leaderValueMax = 4096
	stayMsMax      = 300_000
)

// ask is what all requests for a hold say.
type ask struct {
	session *string
	ttl     *int64
	wait    *int32
	prefer  *string
	stay    *int32
	owner   *string
}

// asked is an ask that has been checked.
type asked struct {
	token string
	wait  time.Duration
	cmd   *commandpb.Command
}

// asking adds to a command that acquires what the request says, and renews its
// session at best effort.
func (e *edge) asking(ctx context.Context, a ask, acquire *commandpb.Acquire) (q asked, err error) {
	for i := range acquire.Wants {
		if err = checkThing("name", acquire.Wants[i].Name); err != nil {
			return q, err
		}
	}
	if acquire.Owner, err = checkLine("/owner", a.owner, ownerBytesMax); err != nil {
		return q, err
	}
	if q.wait, err = e.patience("/wait_ms", a.wait, a.prefer); err != nil {
		return q, err
	}
	stay, err := within("/stay_ms", a.stay, 0, stayMsMax)
	if err != nil {
		return q, err
	}
	q.cmd = &commandpb.Command{Op: &commandpb.Command_Acquire{Acquire: acquire}}
	if q.token, err = e.opener(ctx, a.session, a.ttl, q.cmd); err != nil {
		return q, err
	}
	acquire.StayMs, acquire.Wait = uint64(stay), q.wait > 0
	return q, nil
}

// opener reads the session of a request that may open one with ttl_ms.
func (e *edge) opener(ctx context.Context, session *string, ttlMs *int64, cmd *commandpb.Command) (token string, err error) {
	ttl, err := checkTTL("/ttl_ms", ttlMs)
	switch {
	case err != nil:
		return "", err
	case session == nil && ttl == 0:
		return "", badArgument("/ttl_ms", "without Perch-Session it opens the session that holds it")
	case ttl != 0:
		cmd.Session = &commandpb.SessionRef{OpenTtlMs: ttl}
	}
	return e.session(ctx, session)
}

// grant is a hold and what its holder may rely on.
type grant struct {
	lease.Hold
	zxid      quorum.Zxid
	token     string // of a session that the server drew
	remaining time.Duration
	waited    time.Duration
	replayed  bool
}

// acquire does what was asked for, and waits in the queue for it.
func (e *edge) acquire(x *exchange, q asked) (grant, error) {
	res, err := e.take(x, q.token, q.wait, q.cmd)
	if err != nil {
		return grant{}, err
	}
	if res.Hold.Token == 0 {
		return grant{}, decided(tree.ErrInternal, res.Zxid)
	}
	return grant{
		Hold: res.Hold, zxid: res.Zxid, token: res.Token, remaining: res.Remaining, waited: time.Since(x.begun), replayed: res.Replayed,
	}, nil
}

// renewal is a request to renew and verify a hold.
type renewal struct {
	kind    commandpb.Kind
	name    string
	session *string
	ref     *api.HolderRef
}

// renew renews the session, and says that it has the hold still.
func (e *edge) renew(ctx context.Context, r renewal) (grant, error) {
	if err := checkThing("name", r.name); err != nil {
		return grant{}, err
	}
	token, err := needToken(r.session)
	if err != nil {
		return grant{}, err
	}
	ref := deref(r.ref)
	ttl, err := checkTTL("/ttl_ms", ref.TTLMs)
	if err != nil {
		return grant{}, err
	}
	fencing, err := fencingToken("/fencing_token", ref.FencingToken)
	if err != nil {
		return grant{}, err
	}
	session, err := e.svc.Touch(ctx, callerOf(ctx), token, time.Duration(ttl)*time.Millisecond)
	gone := errors.Is(err, tree.ErrSessionExpired)
	if err != nil && !gone {
		return grant{}, decided(err, session.Zxid)
	}
	// A session that has ended may have done so with the hold that was broken.
	answer, lost := e.read(ctx, lease.Read{
		Kind: lease.ReadHold, Of: r.kind, Name: r.name, Fencing: quorum.Zxid(fencing), Token: token,
		At: lease.At{Floor: session.Zxid, Wait: floorPatience}})
	switch {
	case lost != nil:
		return grant{}, about(lost, r.name)
	case gone:
		return grant{}, decided(err, session.Zxid) // another one has come up since
	}
	return grant{Hold: answer.Hold, zxid: answer.Zxid, remaining: session.Remaining, waited: time.Since(exchangeOf(ctx).begun)}, nil
}

// about says which thing a refusal of a read is about.
func about(err error, name string) error {
	f := asFailure(err)
	if f.code == codeHoldLost || f.code == tree.ErrNoQueue.String() {
		f.about = &inTheWay{name: name}
	}
	return f
}

func (g *grant) render() api.Grant {
	return api.Grant{
		Name: g.first(), Owner: some(g.Owner), SessionID: int64(g.Session), SessionToken: some(g.token), FencingToken: int64(g.Token),
		Mode: modeName(g.Kind, g.Shared), Permits: permitsOf(g.Kind, g.Permits), ExpiresAt: expiry(g.remaining),
		RemainingMs: milliseconds(g.remaining), RevokeRequested: some(g.Revoked), RevokeReason: some(g.Reason),
		WaitedMs: milliseconds(g.waited), Replayed: some(g.replayed),
	}
}

func (g *grant) first() string {
	if len(g.Names) == 0 {
		return ""
	}
	return g.Names[0]
}

// left is what Perch-Session-Remaining-Ms tells.
func (g *grant) left() *int64 { return some(milliseconds(g.remaining)) }

// release ends what the session has of a thing, or the hold that has a token.
func (e *edge) release(ctx context.Context, session *string, release *commandpb.Release, token *int64) (lease.Result, error) {
	for i, name := range release.Names {
		field := "name"
		if release.Set {
			field = "/names/" + strconv.Itoa(i)
		}
		if err := checkThing(field, name); err != nil {
			return lease.Result{}, err
		}
	}
	fencing, err := fencingToken("/fencing_token", token)
	if err != nil {
		return lease.Result{}, err
	}
	if session == nil {
		return lease.Result{}, badArgument("Perch-Session", "only the session that has it gives it up")
	}
	release.Token = fencing
	return e.writeAs(ctx, session, &commandpb.Command{Op: &commandpb.Command_Release{Release: release}})
}
