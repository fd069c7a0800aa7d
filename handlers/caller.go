package handlers

import (
	"context"
	"errors"
	"net/http"

	"perch/gen/commandpb"
	"perch/handlers/identity"
	"perch/handlers/ratelimit"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// Rates are how many requests a second the edge takes, and as many at once.
type Rates struct {
	Principal int // of each principal; 0: any number
	Address   int // of each address, or IPv6 network of 64 bits; 0: any number
	Failures  int // with credentials that do not hold, of each address; 0: 20
}

// rates are the buckets of Rates.
type rates struct {
	principal, address, failures *ratelimit.Table
}

func newRates(r Rates) rates {
	return rates{
		principal: ratelimit.New(r.Principal), address: ratelimit.New(r.Address), failures: ratelimit.New(r.Failures),
	}
}

// callerOf is who makes the request that ctx belongs to; nil for nobody in
// particular.
func callerOf(ctx context.Context) *commandpb.Caller {
	if x := exchangeOf(ctx); x != nil {
		return x.caller
	}
	return nil
}

// authComing is why a node that wants authentication serves nobody without it.
const authComing = "authentication is being turned on"

// checkCaller finds out who asks, and whether so much may be asked, before
// anything that costs more. Credentials that do not hold are refused also while
// authentication is off: whoever sends them believes in their effect. What is
// open to everybody looks at none, so that a probe never waits for a quorum.
func (e *edge) checkCaller(x *exchange, r *http.Request) *failure {
	if x.op.open {
		return nil
	}
	if e.auth && !e.svc.Auth() {
		return fail(codeNotCaughtUp, authComing)
	}
	if e.rates.address != nil && !e.rates.address.Allow(ratelimit.AddressKey(x.caller.Address)) {
		return e.limited(limitAddress)
	}
	if identity.Presented(r) {
		if f := e.checkCredentials(x, r); f != nil {
			return f
		}
	}
	switch principal := x.caller.Principal; {
	case principal != "" && !e.rates.principal.Allow(principal):
		return e.limited(limitPrincipal)
	case principal == "" && e.svc.Auth():
		return e.unproved()
	}
	return nil
}

// unproved answers who shows nothing. A gateway that has not heard of a node yet
// does not know whether that is enough.
func (e *edge) unproved() *failure {
	if e.svc.Status().Cluster == (quorum.ClusterID{}) {
		return fail(codeNoLeader, "")
	}
	return fail(codeUnauthenticated, "")
}

// checkCredentials adds to the caller what the request proves. Every failure
// costs its address some of the few that it has, whatever the reason.
func (e *edge) checkCredentials(x *exchange, r *http.Request) *failure {
	from := ratelimit.AddressKey(x.caller.Address)
	if !e.rates.failures.Left(from) {
		return e.limited(limitFailures)
	}
	err := e.identity.Prove(r, x.caller)
	if err == nil {
		return nil
	}
	x.caller = identity.Peer(r) // nothing of it is proved
	var refused *identity.Refused
	if errors.As(err, &refused) {
		e.rates.failures.Allow(from)
		e.metrics.refused.WithLabelValues(string(refused.Kind)).Inc()
		x.reason = refused.Error()
	}
	return asFailure(err)
}

// What a request can be over the rate of.
const (
	limitAddress   = "address"
	limitPrincipal = "principal"
	limitFailures  = "failures"
)

var limitedBy = []string{limitAddress, limitPrincipal, limitFailures}

func (e *edge) limited(by string) *failure {
	e.metrics.limited.WithLabelValues(by).Inc()
	return fail(codeRateLimited, "")
}

// requireCluster refuses whoever lacks the permission cluster, which with
// authentication off everybody has.
func (e *edge) requireCluster(ctx context.Context) error {
	if !e.svc.Auth() {
		return nil
	}
	answer, err := e.svc.Read(ctx, lease.Read{Kind: lease.ReadWhoami, Caller: callerOf(ctx)})
	if err != nil {
		return decided(err, answer.Zxid)
	}
	if !answer.Governs {
		return decided(tree.ErrPermissionDenied, answer.Zxid)
	}
	return nil
}
