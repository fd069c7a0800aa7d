package natsnet

import (
	"time"

	"perch/quorum"
)

// Hint says that the connections of a peer went (Up false: not one is left) or
// came (Up true: every account has one).
type Hint struct {
	ID quorum.NodeID
	Up bool
}

const (
	lookEvery = 25 * time.Millisecond // between two looks at the routes
	lookSoon  = time.Millisecond      // after the server logged a change …
	lookSpell = 50                    // … so many times
	hintsMax  = 1024
	allRoutes = 1<<accounts - 1
)

// watcher looks at the server's routes: there is no callback for them. A look
// costs about 2 µs. A line in the server's log makes it look at once.
type watcher struct {
	net   *Net
	hints chan Hint
	poked chan struct{}
	known map[quorum.NodeID]routeState // owned by run
}

// routeState is what was last told of a peer.
type routeState struct {
	server string // id of the peer's server, new with every start
	mask   uint32 // accounts with a route
	up     bool
}

func newWatcher(n *Net) *watcher {
	return &watcher{net: n, hints: make(chan Hint, hintsMax), poked: make(chan struct{}, 1), known: map[quorum.NodeID]routeState{}}
}

func (w *watcher) poke() { signal(w.poked) }

func (w *watcher) run() {
	soon := 0
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-w.net.stop:
			return
		case <-w.poked:
			soon = lookSpell
		case <-t.C:
		}
		w.look()
		wait := lookEvery
		if soon > 0 {
			soon--
			wait = lookSoon
		}
		t.Reset(wait)
	}
}

// look compares the routes with those of the last look.
func (w *watcher) look() {
	now := w.routes()
	for id := range w.known {
		if _, ok := now[id]; !ok {
			now[id] = routeState{}
		}
	}
	for id, s := range now {
		w.known[id] = w.compare(id, w.known[id], s)
		if w.net.peer(id) == nil {
			delete(w.known, id)
		}
	}
}

func (w *watcher) compare(id quorum.NodeID, old, s routeState) routeState {
	if p := w.net.peer(id); p != nil {
		p.routed.Store(s.mask)
	}
	s.up = old.up
	if old.up && (s.mask == 0 || s.server != old.server) {
		s.up = false
		w.tell(Hint{ID: id, Up: false})
		if p := w.net.peer(id); p != nil {
			p.lose()
		}
	}
	if !s.up && s.mask == allRoutes {
		s.up = true
		w.tell(Hint{ID: id, Up: true})
	}
	return s
}

// routes says which accounts have a route to which peer. A peer that was
// restarted shows two servers for a moment; the one with more routes counts.
func (w *watcher) routes() map[quorum.NodeID]routeState {
	found := map[quorum.NodeID]map[string]uint32{}
	z, _ := w.net.srv.Routez(nil) // which never fails
	for _, r := range z.Routes {
		id, ok := parseNode(r.RemoteName)
		if !ok || w.net.peer(id) == nil {
			continue
		}
		if found[id] == nil {
			found[id] = map[string]uint32{}
		}
		for a, name := range accountNames {
			if r.Account == name {
				found[id][r.RemoteID] |= 1 << a
			}
		}
	}
	now := make(map[quorum.NodeID]routeState, len(found))
	for id, servers := range found {
		now[id] = best(servers, w.known[id].server)
	}
	return now
}

// best prefers the server known before, so that a hint needs a real change.
func best(servers map[string]uint32, known string) routeState {
	s := routeState{server: known, mask: servers[known]}
	for server, mask := range servers {
		if s.mask == 0 || mask == allRoutes && s.mask != allRoutes {
			s.server, s.mask = server, mask
		}
	}
	return s
}

func (w *watcher) tell(h Hint) {
	w.net.log.Info("natsnet: routes of a peer changed", "peer", h.ID, "up", h.Up)
	select {
	case w.hints <- h:
	default:
		w.net.count.hintsLost.Add(1)
	}
}
