package node

import (
	"sync"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// places are the requests of this node's clients that wait for the end of a place
// in a queue.
//
// No end is lost: the applier registers a request when it applies the command
// that took the place, in the order of the log, and so before it comes to any
// command that can end the wait.
type places struct {
	mu      sync.Mutex
	waiting map[placeKey]*placed
	busy    bool // some have waited since the last look
}

// placeKey names one request for a place: every request for it has an attach of
// its own (RULES.md R16).
type placeKey struct {
	place  quorum.Zxid
	attach uint32
}

// placed is one request that waits.
type placed struct{ done chan placeEnd }

// placeEnd is how a wait ended.
type placeEnd struct {
	outcome lease.Outcome
	zxid    quorum.Zxid // of the transaction that ended it
	err     error       // instead of both: it is not known how
	look    bool        // instead of all: the state was replaced, and it may have ended
}

func newPlaces() *places { return &places{waiting: make(map[placeKey]*placed)} }

func newPlaced() *placed { return &placed{done: make(chan placeEnd, 1)} }

// add registers a request for a place.
func (p *places) add(at lease.Place, w *placed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[placeKey{at.ID, at.Attach}] = w
	p.busy = true
}

// drop takes back an add; nothing is delivered any more.
func (p *places) drop(at lease.Place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, placeKey{at.ID, at.Attach})
}

// end delivers ends of waits. Of a state in doubt none is told.
func (p *places) end(ends []placeEnd, doubt error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range ends {
		key := placeKey{ends[i].outcome.Place, ends[i].outcome.Attach}
		w := p.waiting[key]
		if w == nil {
			continue
		}
		delete(p.waiting, key)
		if doubt != nil {
			ends[i] = placeEnd{err: lease.ErrCommitTimeout}
		}
		w.done <- ends[i]
	}
}

// replaced has those look who may have missed their end, when view has come by a
// snapshot.
func (p *places) replaced(view *lease.View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, w := range p.waiting {
		if !view.Asks(key.place, key.attach) {
			delete(p.waiting, key)
			w.done <- placeEnd{look: true}
		}
	}
}

// fail ends all waits with an error.
func (p *places) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, w := range p.waiting {
		delete(p.waiting, key)
		w.done <- placeEnd{err: err}
	}
}

// active says whether this node had places since it was asked last.
func (p *places) active() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	had := p.busy
	p.busy = len(p.waiting) > 0
	return had || p.busy
}

// count is the number of requests that wait.
func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// ours picks the ends of this node's waits from a result, and adds them to ends.
// Those of a former life of it are among them; nobody waits for these.
func (n *Node) ours(ends []placeEnd, r *lease.Result) []placeEnd {
	for i := range r.Outcomes {
		if o := &r.Outcomes[i]; o.Node == n.own.Node {
			ends = append(ends, placeEnd{outcome: *o, zxid: r.Zxid})
		}
	}
	return ends
}

// queued says whether a result has only a place for the request.
func queued(r *lease.Result) bool {
	return r.Code == tree.OK && r.Place.ID != 0 && r.Hold.Token == 0 && len(r.Claimed) == 0
}
