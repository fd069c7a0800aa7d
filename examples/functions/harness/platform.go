package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"perch/examples/functions/ledger"
)

// The operations of the function at the ledger, at which faults strike.
const (
	atLook    = 1 // it holds the lock and has seen the account; not written yet
	atBooking = 2 // it has written; neither released nor answered yet
)

// platform invokes functions as a cloud does on a bad day.
type platform struct {
	pool     *pool
	attempts int // until an invocation is given up

	mu     sync.Mutex
	armed  map[string]strike // by invocation
	faults map[string]int
	wrong  []string
}

func newPlatform(p *pool) *platform {
	return &platform{pool: p, attempts: 100, armed: map[string]strike{}, faults: map[string]int{}}
}

// strike is a fault that waits for a run to come to an operation.
type strike struct {
	op   int64
	c    *container
	s    syscall.Signal
	hit  chan struct{} // closed when it has struck
	over chan struct{} // closed when the ledger may answer
}

// observe lets a fault strike while the ledger's answer is on its way. The
// answer is held back as well, since a signal takes a moment to arrive.
func (p *platform) observe(op ledger.Operation) {
	p.mu.Lock()
	k, armed := p.armed[op.Invocation]
	armed = armed && k.op == op.Op
	if armed {
		delete(p.armed, op.Invocation)
		k.c.signal(k.s)
		close(k.hit)
	}
	p.mu.Unlock()
	if armed {
		<-k.over
	}
}

func (p *platform) complain(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// scene is one thing that happens to an invocation.
type scene struct {
	name   string
	weight int
	play   func(*platform, event, *rand.Rand)
}

var scenes = []scene{
	{"plain", 35, (*platform).untilDone},
	{"duplicate", 20, (*platform).duplicate},
	{"time-out", 10, (*platform).timeOut},
	{"frozen holding", 12, func(p *platform, e event, dice *rand.Rand) { p.freeze(e, atLook, dice) }},
	{"frozen after booking", 5, func(p *platform, e event, dice *rand.Rand) { p.freeze(e, atBooking, dice) }},
	{"killed holding", 6, func(p *platform, e event, dice *rand.Rand) { p.kill(e, atLook, dice) }},
	{"killed after booking", 6, func(p *platform, e event, dice *rand.Rand) { p.kill(e, atBooking, dice) }},
	{"killed at any time", 6, (*platform).killAnyTime},
}

// deliver sees one invocation through, whatever befalls it.
func (p *platform) deliver(e event, dice *rand.Rand) {
	total := 0
	for _, s := range scenes {
		total += s.weight
	}
	n := dice.IntN(total)
	for _, s := range scenes {
		if n -= s.weight; n < 0 {
			p.mu.Lock()
			p.faults[s.name]++
			p.mu.Unlock()
			s.play(p, e, dice)
			return
		}
	}
}

// once runs the function once, in some container.
func (p *platform) once(e event, dice *rand.Rand) (result, error) {
	c, err := p.pool.get(dice)
	if err != nil {
		return result{}, err
	}
	r, err := c.invoke(e)
	p.pool.put(c, err)
	return r, err
}

// untilDone retries, as a queue in front of a function does.
func (p *platform) untilDone(e event, dice *rand.Rand) {
	var r result
	var err error
	for range p.attempts {
		if r, err = p.once(e, dice); err == nil && r.done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.complain("%s was given up: %+v, %v", e.ID, r, err)
}

// duplicate delivers the event twice at the same time.
func (p *platform) duplicate(e event, dice *rand.Rand) {
	var both sync.WaitGroup
	for range 2 {
		own := rand.New(rand.NewPCG(dice.Uint64(), 0))
		both.Go(func() { p.untilDone(e, own) })
	}
	both.Wait()
}

// started is a run that was not waited for.
type started struct {
	c    *container
	done chan struct{} // closed when r and err are there
	r    result
	err  error
}

func (p *platform) start(c *container, e event) *started {
	s := &started{c: c, done: make(chan struct{})}
	go func() {
		s.r, s.err = c.invoke(e)
		close(s.done)
	}()
	return s
}

// timeOut gives up on a run that goes on, and starts another.
func (p *platform) timeOut(e event, dice *rand.Rand) {
	c, err := p.pool.get(dice)
	if err != nil {
		p.complain("%v", err)
		return
	}
	first := p.start(c, e)
	time.Sleep(time.Duration(dice.IntN(30)) * time.Millisecond)
	p.untilDone(e, dice)
	<-first.done
	p.pool.put(c, first.err)
}

// strikeAt starts the function and sends a signal to it at an operation;
// struck is false when it ended without coming that far. The run is over, or
// at least past the operation, when over has been called.
func (p *platform) strikeAt(e event, op int64, s syscall.Signal, dice *rand.Rand) (first *started, struck bool, over func()) {
	c, err := p.pool.get(dice)
	if err != nil {
		p.complain("%v", err)
		return nil, false, nil
	}
	k := strike{op, c, s, make(chan struct{}), make(chan struct{})}
	p.mu.Lock()
	p.armed[e.ID] = k
	p.mu.Unlock()
	first = p.start(c, e)
	select {
	case <-k.hit:
	case <-first.done:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.armed, e.ID)
	select {
	case <-k.hit: // also when it was killed, and its end was seen first
		struck = true
	default:
	}
	return first, struck, func() { close(k.over) }
}

// freeze stops a run with SIGSTOP until another has done the job, for which
// the lock must have expired if the first one still holds it; then it thaws.
func (p *platform) freeze(e event, op int64, dice *rand.Rand) {
	first, struck, over := p.strikeAt(e, op, syscall.SIGSTOP, dice)
	if first == nil {
		return
	}
	p.untilDone(e, dice)
	first.c.signal(syscall.SIGCONT)
	over()
	<-first.done
	p.pool.put(first.c, first.err)
	if struck && op == atLook && first.err == nil && first.r.Status == "applied" {
		p.complain("%s: a holder that was frozen beyond its TTL (%s) booked after another had", e.ID, first.c.language.name)
	}
}

// kill ends a run with SIGKILL at an operation.
func (p *platform) kill(e event, op int64, dice *rand.Rand) {
	first, _, over := p.strikeAt(e, op, syscall.SIGKILL, dice)
	if first == nil {
		return
	}
	<-first.done
	over()
	p.pool.put(first.c, first.err)
	p.untilDone(e, dice)
}

// killAnyTime ends a run with SIGKILL wherever it is.
func (p *platform) killAnyTime(e event, dice *rand.Rand) {
	c, err := p.pool.get(dice)
	if err != nil {
		p.complain("%v", err)
		return
	}
	first := p.start(c, e)
	select {
	case <-first.done:
	case <-time.After(time.Duration(dice.IntN(40)) * time.Millisecond):
		c.signal(syscall.SIGKILL)
		<-first.done
		first.err = errDied // also when it answered just before
	}
	p.pool.put(c, first.err)
	p.untilDone(e, dice)
}
