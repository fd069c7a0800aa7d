package natsnet

import (
	"sync/atomic"
	"time"

	"perch/quorum"
)

// Stats are counts since Start. They are read one by one, not at one instant.
type Stats struct {
	Types [quorum.MsgStepDown + 1]TypeStats // by quorum.MsgType; [0] is unused
	Peers map[quorum.NodeID]PeerStats

	Forged      uint64 // frames not sealed with the cluster's secret
	Damaged     uint64 // frames that were no message
	Strangers   uint64 // messages of nodes that are no peers
	Misdirected uint64 // messages that came another way than they say
	Spare       uint64 // second copies of heartbeats that were not needed
	ClientDrops uint64 // messages the in-process clients could not hold
	Reconnects  uint64 // times the own server cut off its client
	HintsLost   uint64
	Asked       uint64 // questions sent …
	AskFailed   uint64 // … without an answer
	Served      uint64 // questions handed to a handler
	Busy        uint64 // questions refused because too many handlers ran

	Gateways        int    // connections of gateways now
	GatewaysRefused uint64 // logins with another secret or cluster name
	GatewaysEvicted uint64 // connections cut because too many had not logged in
	GateBusy        uint64 // questions of gateways refused because too many handlers ran
	PushesLost      uint64 // pushes that did not fit, or that the own server did not take

	InboxMsgs   int // waiting now
	InboxBytes  int // of them, what is not in the channel
	QueuedBytes int // waiting for the own server now
	Routes      int // TCP connections to peers now
}

// TypeStats count messages of one type. Bytes are those of frames. A heartbeat
// is sent twice and counts so.
type TypeStats struct {
	Sent, SentBytes         uint64
	Received, ReceivedBytes uint64
	DroppedOut, DroppedIn   uint64 // for want of room, or of a connection to the own server
}

// PeerStats tell of one peer.
type PeerStats struct {
	Received, Bytes uint64
	Dropped         uint64    // received and dropped: the inbox was full
	Heard           time.Time // last message, zero when there was none; old messages count too
	Connected       bool      // every account has a route now
}

type counters struct {
	types       [256]typeCounters
	forged      atomic.Uint64
	damaged     atomic.Uint64
	strangers   atomic.Uint64
	misdirected atomic.Uint64
	spare       atomic.Uint64
	reconnects  atomic.Uint64
	hintsLost   atomic.Uint64
	asked       atomic.Uint64
	askFailed   atomic.Uint64
	served      atomic.Uint64
	busy        atomic.Uint64

	gatesRefused atomic.Uint64
	gateBusy     atomic.Uint64
	pushesLost   atomic.Uint64
}

type typeCounters struct {
	sent, sentBytes         atomic.Uint64
	received, receivedBytes atomic.Uint64
	droppedOut, droppedIn   atomic.Uint64
}

func (c *counters) sent(t quorum.MsgType, size int) {
	c.types[t].sent.Add(1)
	c.types[t].sentBytes.Add(uint64(size))
}

func (c *counters) received(t quorum.MsgType, size int) {
	c.types[t].received.Add(1)
	c.types[t].receivedBytes.Add(uint64(size))
}

func (c *counters) dropOut(t quorum.MsgType) { c.types[t].droppedOut.Add(1) }
func (c *counters) dropIn(t quorum.MsgType)  { c.types[t].droppedIn.Add(1) }

// Stats reads every count.
func (n *Net) Stats() Stats {
	c := &n.count
	s := Stats{
		Peers: map[quorum.NodeID]PeerStats{}, Forged: c.forged.Load(), Damaged: c.damaged.Load(), Strangers: c.strangers.Load(),
		Misdirected: c.misdirected.Load(), Spare: c.spare.Load(), Reconnects: c.reconnects.Load(),
		HintsLost: c.hintsLost.Load(), Asked: c.asked.Load(), AskFailed: c.askFailed.Load(),
		Served: c.served.Load(), Busy: c.busy.Load(), Routes: n.srv.NumRoutes(),
		GatewaysRefused: c.gatesRefused.Load(), GateBusy: c.gateBusy.Load(),
		PushesLost: c.pushesLost.Load(),
	}
	if n.gates != nil {
		s.Gateways, _ = n.gates.front.count()
		s.GatewaysEvicted = n.gates.front.evicted.Load()
	}
	for t := range s.Types {
		k := &c.types[t]
		s.Types[t] = TypeStats{
			Sent: k.sent.Load(), SentBytes: k.sentBytes.Load(), Received: k.received.Load(),
			ReceivedBytes: k.receivedBytes.Load(), DroppedOut: k.droppedOut.Load(), DroppedIn: k.droppedIn.Load(),
		}
	}
	for id, p := range *n.peers.Load() {
		s.Peers[id] = p.stats()
	}
	s.InboxMsgs, s.InboxBytes = n.in.waiting()
	for _, l := range n.links {
		s.ClientDrops += l.dropped()
		l.mu.Lock()
		s.QueuedBytes += l.bytes
		l.mu.Unlock()
	}
	return s
}

func (p *peer) stats() PeerStats {
	s := PeerStats{Received: p.received.Load(), Bytes: p.bytes.Load(), Dropped: p.dropped.Load(), Connected: p.routed.Load() == allRoutes}
	var last int64
	for a := range p.heard {
		last = max(last, p.heard[a].Load())
	}
	if last != 0 {
		s.Heard = time.Unix(0, last)
	}
	return s
}

func (l *link) dropped() (total uint64) {
	for _, s := range []interface{ Dropped() (int, error) }{l.own, l.all, l.asks} {
		if n, err := s.Dropped(); err == nil {
			total += uint64(n)
		}
	}
	return total
}
