package node

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
)

// Homes (RULES.md R17). A place in a queue belongs to the node whose client waits
// for it, in this life of the node, and to the gateway elsewhere that the client
// came through, if any. A node where some wait tells the leader every second that
// it is there, and which gateways are; the places of a node or gateway that is
// silent go in one command, before each of them is granted in turn to nobody.

const (
	beatEvery  = time.Second
	silentMs   = 3000                   // after which the places of a home go
	drainingMs = 5000                   // of one that has said that it stops
	homesEvery = 100                    // milliseconds between two looks at them
	drainWord  = 100 * time.Millisecond // to tell the members that this node stops
)

// homes is what the leader hears of the homes that have places, on its lease
// clock. The keeper's lock guards it.
type homes struct {
	heard map[lease.HomeRef]*heard
	next  uint64 // when to look again
	// draining are those that have told this node so, whether it led or not: it
	// may lead next.
	draining map[lease.HomeRef]time.Time
}

type heard struct {
	at       uint64
	draining bool
}

func newHomes() *homes { return &homes{draining: make(map[lease.HomeRef]time.Time)} }

// begin starts a reign: every home has the whole time to announce itself.
func (h *homes) begin() { h.heard, h.next = make(map[lease.HomeRef]*heard), 0 }

// beat notes that a home is there.
func (h *homes) beat(home lease.HomeRef, draining bool, now uint64) {
	if draining {
		h.draining[home] = time.Now()
	}
	if at := h.heard[home]; at != nil {
		at.at, at.draining = now, at.draining || draining
	}
}

// silent lists those of the present homes that are silent for too long. One that
// had no places when it was looked at last begins anew.
func (h *homes) silent(present []lease.HomeRef, now uint64) (out []lease.HomeRef) {
	heardNow := make(map[lease.HomeRef]*heard, len(present))
	for _, home := range present {
		at := h.heard[home]
		if at == nil {
			_, draining := h.draining[home]
			at = &heard{at: now, draining: draining}
		}
		heardNow[home] = at
		patience := uint64(silentMs)
		if at.draining {
			patience = drainingMs
		}
		if at.at+patience <= now {
			out = append(out, home)
		}
	}
	h.heard = heardNow
	for home, at := range h.draining {
		if time.Since(at) > 2*drainingMs*time.Millisecond {
			delete(h.draining, home)
		}
	}
	return out
}

// beat tells the leader that this node answers for its places, once a second
// while it has some.
func (n *Node) beat(ctx context.Context) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if soft := n.Soft(); n.places.active() && soft.Established && soft.Leader != 0 && !n.draining() {
			n.tellHome(ctx, soft.Leader, false, beatEvery/2)
		}
	}
}

// announceDrain tells every member that this node stops and that its places must
// be kept for a while: each of them may lead next.
func (n *Node) announceDrain() {
	if !n.places.active() {
		return
	}
	all := n.members.Load().all
	told := make(chan struct{}, len(all))
	for _, m := range all {
		n.spawn(func(ctx context.Context) {
			n.tellHome(ctx, m.ID, true, drainWord)
			told <- struct{}{}
		})
	}
	timer := time.NewTimer(drainWord)
	defer timer.Stop()
	for range all {
		select {
		case <-told:
		case <-timer.C:
			return
		}
	}
}

// tellHome tells one member of the homes here, at best effort.
func (n *Node) tellHome(ctx context.Context, to quorum.NodeID, draining bool, patience time.Duration) {
	instances := n.homes()
	if to == n.cfg.ID {
		n.keeper.beat(n.own.Node, instances, draining)
		return
	}
	body, err := proto.Marshal(&nodepb.HomeBeat{Instances: instances, Draining: draining})
	if err != nil || n.net == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, _ = n.net.Ask(ctx, to, natsnet.KindBeat, body)
}

// serveBeat takes the beat of another node.
func (n *Node) serveBeat(from quorum.NodeID, body []byte) ([]byte, error) {
	req := new(nodepb.HomeBeat)
	if err := proto.Unmarshal(body, req); err != nil {
		return nil, err
	}
	n.keeper.beat(from, req.GetInstances(), req.GetDraining())
	return nil, nil
}

func (k *keeper) beat(from quorum.NodeID, instances []uint64, draining bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, instance := range instances {
		k.homes.beat(lease.HomeRef{Node: from, Home: instance}, draining, k.now())
	}
}
