package handlers

import (
	"context"
	"net/http"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
)

// doing is an operation that may wait. What it has to keep meanwhile is little,
// so that it is run as a tail.
type doing[R any] struct {
	wait  time.Duration
	do    func(*exchange) (R, error)
	visit func(R, http.ResponseWriter) error
}

// begin does at once what does not wait; else it leaves that to the tail of the
// exchange, and answers with later for now.
func (d *doing[R]) begin(ctx context.Context, later R) (R, error) {
	x := exchangeOf(ctx)
	if d.wait == 0 {
		return d.do(x)
	}
	x.tail = d
	return later, nil
}

func (d *doing[R]) run(x *exchange) error {
	answer, err := d.do(x)
	if err != nil {
		return err
	}
	return d.visit(answer, x)
}

// take has a command proposed that may take a place in a queue, and waits in it
// for as long as the request does. It counts as parked for that time.
func (e *edge) take(x *exchange, token string, wait time.Duration, cmd *commandpb.Command) (lease.Result, error) {
	if wait > 0 {
		_, leave, err := e.park(x, x.begun.Add(wait))
		if err != nil {
			return lease.Result{}, err
		}
		defer leave()
		wait = max(1, time.Until(x.begun.Add(wait)))
	}
	e.sign(x, cmd)
	res, err := e.svc.Acquire(x, cmd, token, wait)
	return res, e.judge(x, cmd, &res, err)
}

// awaitThing reads a thing whenever its node has changed since, until enough
// says that it is as the caller waits for. It ends with the last answer when the
// time is over.
func (e *edge) awaitThing(x *exchange, wait time.Duration, since lease.Answer, q lease.Read, enough func(*lease.Answer) bool) (lease.Answer, error) {
	if wait == 0 || enough(&since) {
		return since, nil
	}
	waiting, leave, err := e.park(x, x.begun.Add(wait))
	if err != nil {
		return since, err
	}
	defer leave()
	seen := since
	for {
		happened, err := e.await(x, waiting, interests{path: mirror(q.Of, q.Name), since: seen.Zxid, scopes: scopeNode, state: true})
		if err != nil {
			return seen, decided(err, seen.Zxid)
		}
		if !happened {
			return seen, nil
		}
		q.At = lease.At{Floor: seen.Zxid, Wait: floorPatience}
		answer, err := e.read(x, q)
		if err != nil {
			return seen, err
		}
		if seen = answer; enough(&seen) {
			return seen, nil
		}
	}
}
