// Package seam carries lease.Service between processes: a gateway has a Client,
// a node a Server, and between them is a transport that may lose, repeat, delay
// and reorder what it carries, or come to an end at any time.
//
// It guarantees, whatever the transport does:
//   - A command without an Idempotency-Key is handed to the transport once, unless
//     a node has said that it did not take it. One with a key, an Acquire and
//     whatever changes nothing are asked again at another node when a node is lost,
//     so that one answer comes of them. A question that arrives twice is served
//     once.
//   - Answers of one gateway never go back: every zxid that it has told is the
//     floor of its later local reads and event queries, at whichever node. A node
//     of another cluster than the first one is not asked (RULES.md R9).
//   - A parked interest misses no event and sees none twice (R25). The node follows
//     one interest for each (path, scope, state, caller) of a gateway and pushes
//     what happens in (from, through]; every push has the number of the link and
//     its own; a beat tells the last one. Where one is missing, the node has
//     changed, or no beat has come for 2 s, the gateway has the history from the
//     last through on read again before it goes on.
//   - What a gateway that is silent for 3 s has asked for is ended, and the places
//     of its clients in queues go (R17), unless they are asked for elsewhere by
//     then (R16).
//   - Everything is bounded: questions, their bytes and interests of a gateway at
//     the node, interests and what is kept of them at the gateway. What is beyond
//     is refused with a code.
//
// It does not guarantee an answer: without a node that can be reached requests
// end in lease.ErrNoLeader, and a command whose outcome is not known in
// lease.ErrCommitTimeout. It authenticates nobody: who may connect is the
// transport's business, and what a gateway says of its callers is believed.
// Await may return without an event, as lease.Service allows it to.
package seam

import (
	"context"
	"errors"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/tree"
)

// Link is how a gateway reaches nodes. natsnet.Gateway is the real one; tests
// bring one with faults.
type Link interface {
	// Nodes are those that are connected, nearest first.
	Nodes() []quorum.NodeID
	// Ask sends body to a node and waits for its answer. natsnet.ErrUnreachable:
	// it was never taken up; natsnet.ErrTooLarge: it was not sent; any other error
	// leaves that open.
	Ask(ctx context.Context, to quorum.NodeID, body []byte) ([]byte, error)
	// Tell sends body, which may be lost. It does not block.
	Tell(to quorum.NodeID, body []byte) error
	// OnPush sets who is called with what nodes push, one call at a time for each
	// node. It is set before anything else is done.
	OnPush(fn func(from quorum.NodeID, body []byte))
	// OnChange sets who is called when Nodes has got or lost one.
	OnChange(fn func())
}

// Port is how a node hears of gateways. natsnet.Net is the real one.
type Port interface {
	// HandleGateways sets who is called with what gateways ask and tell, each call
	// in a goroutine of its own. An answer to what was told goes nowhere.
	HandleGateways(fn func(from natsnet.GatewayID, body []byte, reply func([]byte) error))
	// Push sends body to a gateway, in order; it may be lost. It does not block.
	Push(to natsnet.GatewayID, body []byte) error
}

// Node is what a Server answers from.
type Node interface {
	lease.Service
	// AcquireFor is Acquire for a client of a gateway elsewhere.
	AcquireFor(ctx context.Context, b Behalf, cmd *commandpb.Command, token string, wait time.Duration) (lease.Result, error)
	// Reach waits until z has been applied here, at most for patience: then
	// lease.ErrNotCaughtUp.
	Reach(ctx context.Context, z quorum.Zxid, patience time.Duration) error
	// State is the newest state, or why nothing may be told of it.
	State() (*lease.View, error)
	// Follow has changed called for every change that concerns (path, scope), a
	// path of the whole tree, until stop. It must not block.
	Follow(path string, scope tree.Scope, changed func()) (stop func(), err error)
	// Woken is a position, not after that of State, up to which all calls of
	// changed have been made.
	Woken() quorum.Zxid
	// Cluster is the cluster that this is a node of; zero until it has formed.
	Cluster() quorum.ClusterID
	// Draining says that the node stops: gateways are to ask others.
	Draining() bool
}

// Behalf says for whom a node acquires.
type Behalf struct {
	Gateway natsnet.GatewayID // the place belongs to (node, gateway) (RULES.md R17)
	// Drawn: the gateway drew the session token, and its client learns it with the
	// answer. So when he goes away before, nobody can ask for the session again.
	// The gateway itself can: after ErrSilent it may be asking another node.
	Drawn bool
}

// ErrSilent is the cause of the end of what a gateway has asked for that is not
// heard of any more.
var ErrSilent = errors.New("seam: the gateway is silent")

// How long either side does without the other.
const (
	beatEvery    = 500 * time.Millisecond  // of a node to its gateways
	helloEvery   = 500 * time.Millisecond  // of a gateway to all nodes
	lostAfter    = 2 * time.Second         // without a beat a node is not asked
	silentAfter  = 3 * time.Second         // without a word a gateway has nothing under way any more
	forgetAfter  = 10 * time.Second        // without a word a gateway is not beaten to
	homeWithin   = 1500 * time.Millisecond // a gateway that was heard so lately is there for its places
	floorWithin  = 500 * time.Millisecond  // for a node to reach the floor of the gateway
	followWithin = 2 * time.Second         // for a node to reach the since of an interest
)

// The bounds of one node, for each gateway but the first.
const (
	gatewaysMax  = 256      // known at a time
	questionsMax = 65_536   // under way: 50 000 waits and what comes beside them
	questionsMem = 64 << 20 // … and their bytes
	interestsMax = 10_000
	pushEvents   = 1000      // in one batch; more than that is a mere wake-up
	pushBytes    = 1 << 20   // of a batch, likewise
	pushGather   = 256 << 10 // batches that go together
)
