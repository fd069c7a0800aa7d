package handlers

// tail is the part of an answer that waits: a parked poll or a stream. The
// operation leaves it in the exchange and returns, and it runs when the router
// and the generated code have returned too. What they have on the stack and the
// heap would otherwise be kept for as long as the request is parked: ten
// kilobytes each, half as much again as net/http itself needs.
type tail interface {
	// run waits and writes the answer. An error that it returns is written by
	// the caller, unless the answer has begun.
	run(x *exchange) error
}

// runTail ends an exchange that waits.
func (e *edge) runTail(x *exchange) {
	t := x.tail
	if t == nil {
		return
	}
	x.tail = nil
	if err := t.run(x); err != nil {
		e.refuse(x, err)
	}
}
