package handlers

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// patience reads wait_ms, which stands in field, and Prefer: wait=SECONDS, of
// which the first beats the second. Longer waits than the cap are cut to it; then up to a sixteenth is
// taken off at random, so that clients that were parked together do not come
// back together.
func (e *edge) patience(field string, waitMs *int32, prefer *string) (time.Duration, error) {
	switch {
	case waitMs != nil:
		if *waitMs < 0 || *waitMs > waitMsMax {
			return 0, outOfRange(field, 0, waitMsMax)
		}
		return e.clamp(int64(*waitMs)), nil
	case prefer != nil:
		seconds, err := preferredWait(*prefer)
		if err != nil {
			return 0, err
		}
		return e.clamp(seconds * 1000), nil
	}
	return 0, nil
}

func (e *edge) clamp(ms int64) time.Duration {
	if ms == 0 {
		return 0
	}
	wait := min(time.Duration(ms)*time.Millisecond, e.waitMax)
	return wait - rand.N(wait/16+1)
}

// preferredWait finds wait=SECONDS among preferences (RFC 7240). Preferences
// that are not known may be ignored, and are.
func preferredWait(prefer string) (int64, error) {
	for item := range strings.SplitSeq(prefer, ",") {
		item, _, _ = strings.Cut(item, ";")
		name, value, _ := strings.Cut(item, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		seconds, err := strconv.ParseUint(value, 10, 32)
		if err != nil || seconds > waitMsMax/1000 {
			return 0, badArgument("Prefer", "wait is not a number of seconds from 0 to 300").met(waitMsMax / 1000)
		}
		return int64(seconds), nil
	}
	return 0, nil
}

// park counts the request among those that wait, and gives it a context that
// ends at the deadline, when the client goes away, and when the edge drains.
// The caller calls leave when it stops waiting.
func (e *edge) park(x *exchange, deadline time.Time) (waiting context.Context, leave func(), err error) {
	if e.parked.Add(1) > e.waiters {
		e.parked.Add(-1)
		return nil, nil, fail(codeTooManyWaiters, "").met(e.waiters)
	}
	principal := ""
	if e.svc.Auth() {
		principal = x.caller.GetPrincipal()
	}
	if !e.crowd.enter(principal) {
		e.parked.Add(-1)
		return nil, nil, fail(codeTooManyWaiters, "").met(int64(e.crowd.most))
	}
	x.parked = true
	waiting, cancel := context.WithDeadline(x, deadline)
	stop := context.AfterFunc(e.drained, cancel)
	return waiting, func() {
		stop()
		cancel()
		e.crowd.leave(principal)
		e.parked.Add(-1)
	}, nil
}

// interests are events of one path, in one or more scopes.
type interests struct {
	path   string
	since  quorum.Zxid
	scopes []tree.Scope
	state  bool // as of lease.Interest
}

// in is the part of the interests that has one scope, as the caller of ctx.
func (i *interests) in(ctx context.Context, scope tree.Scope) lease.Interest {
	return lease.Interest{State: i.state, Caller: callerOf(ctx), Path: i.path, Scope: scope, Since: i.since}
}

// await blocks until something of the interests has happened (true), or the
// wait is over (false). An error is neither.
func (e *edge) await(ctx, waiting context.Context, i interests) (bool, error) {
	var err error
	if len(i.scopes) == 1 {
		err = e.svc.Await(waiting, i.in(ctx, i.scopes[0]))
	} else {
		err = e.awaitAny(waiting, i)
	}
	switch {
	case err == nil, errors.Is(err, tree.ErrCursorExpired):
		return true, nil // what was trimmed happened too: look again
	case ctx.Err() != nil:
		return false, ctx.Err()
	case waiting.Err() != nil, errors.Is(err, lease.ErrShuttingDown):
		return false, nil
	}
	return false, err
}

// awaitAny waits in all scopes at once, which costs a goroutine each; only
// /v1/stat has two.
func (e *edge) awaitAny(ctx context.Context, i interests) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan error, len(i.scopes))
	for _, scope := range i.scopes {
		interest := i.in(ctx, scope)
		go func() { ends <- e.svc.Await(ctx, interest) }()
	}
	return <-ends
}
