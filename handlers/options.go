package handlers

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"perch/handlers/audit"
	"perch/handlers/identity"
	"perch/lease"
	"perch/quorum/tracing"
)

// Options are what the edge is made of. Only Service is required.
type Options struct {
	Service  lease.Service
	Log      *slog.Logger         // nil: nothing is logged
	Registry *prometheus.Registry // what /metrics shows, and where the edge adds its own; nil: a new one
	Version  string               // of the program, for /v1/cluster
	Tracer   *tracing.Tracer      // nil: nothing is traced
	WaitMax  time.Duration        // longest wait, up to 300 s; longer ones are cut to it. 0: 55 s
	Waiters  int                  // most parked requests and streams. 0: 50 000
	AnyHost  bool                 // serve any Host over loopback: behind a proxy on this machine

	Auth             bool           // authentication is being turned on: until it is, nobody is served
	OIDC             *identity.OIDC // whose tokens count besides those of the cluster; nil: nobody's
	Rates            Rates
	PrincipalWaiters int        // most parked requests and streams of one principal, with authentication on. 0: 1 000
	Audit            *audit.Log // told of every change and every denial; nil: nobody is
	AuditRequired    bool       // refuse changes that Audit cannot be told of
}

// The defaults of DESIGN.md.
const (
	defaultWaitMax = 55 * time.Second
	defaultWaiters = 50_000
	defaultOwn     = 1_000 // of one principal
	waitMsMax      = 300_000

	defaultFailures = 20
)

// validate reports every fault of o at once.
func (o *Options) validate() error {
	var faults []error
	if o.Service == nil {
		faults = append(faults, errors.New("handlers: no service"))
	}
	if o.WaitMax < 0 || o.WaitMax > waitMsMax*time.Millisecond || o.Waiters < 0 || o.PrincipalWaiters < 0 {
		faults = append(faults, errors.New("handlers: WaitMax, Waiters or PrincipalWaiters out of range"))
	}
	if o.Rates.Principal < 0 || o.Rates.Address < 0 || o.Rates.Failures < 0 {
		faults = append(faults, errors.New("handlers: a rate is negative"))
	}
	if o.AuditRequired && o.Audit == nil {
		faults = append(faults, errors.New("handlers: an audit log is required, and there is none"))
	}
	return errors.Join(faults...)
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.WaitMax == 0 {
		o.WaitMax = defaultWaitMax
	}
	if o.Waiters == 0 {
		o.Waiters = defaultWaiters
	}
	if o.PrincipalWaiters == 0 {
		o.PrincipalWaiters = defaultOwn
	}
	if o.Rates.Failures == 0 {
		o.Rates.Failures = defaultFailures
	}
	return o
}
