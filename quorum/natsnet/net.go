// Package natsnet carries the messages of a quorum between nodes: one embedded
// NATS server in each node, in-process clients, and authenticated routes
// between the servers. It uses core NATS only, as a fast datagram service. A node
// may also let gateways in, at a server apart from that of the quorum; Gateway is
// their side.
//
// It guarantees: a message that arrives was sealed by a holder of the cluster's
// secret for the subject that it came over (HMAC-SHA-256), is whole, came over
// the account where its type belongs, and names a peer as its sender and this
// node or everybody as its receiver; a NOTIFY may come from a stranger, by which
// nodes find each other after a change of the members. Messages that one node sends over
// one account arrive in the order in which they were sent, unless a connection
// was replaced between them. Send never blocks. Every queue is bounded, and what
// does not fit is dropped and counted. After Close nothing of it runs any more;
// only if a peer is frozen with bytes on their way to it, the goroutines that
// wait for those end up to two seconds later.
//
// It does not guarantee that a message arrives, nor that nothing old arrives
// late or twice, nor that only the node named as sender could have sent it: any
// holder of the secret could. Loss gives no error. Whoever reads the inbox must
// find gaps and duplicates by himself. Without TLS nothing is secret on the
// network, and who can hold back or repeat packets can hold back and repeat
// messages; he cannot make or change one.
//
// Of gateways it guarantees the same, and that a gateway is who its GatewayID
// says, may speak only to the node that it is connected to, and reads only what
// is meant for it; that strangers at their port take nothing from the quorum, and
// keep no gateway out by holding connections open; and that a frozen gateway is
// cut off without slowing others. It does not guarantee that a question is taken
// up once, nor that a push arrives.
//
// Settings and the measurements behind them are in NATS.md, sections 5 to 9.
package natsnet

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"perch/quorum"
)

const (
	startWithin = 5 * time.Second
	drainWithin = 200 * time.Millisecond // for what is queued when Close is called
	stopWithin  = 500 * time.Millisecond // for the server
)

// Net is the transport of one running node. All methods may be called
// concurrently.
type Net struct {
	opts     Options
	log      *slog.Logger
	names    names
	srv      *server.Server
	dialled  *server.Options // what srv runs with; of dial
	links    [accounts]*link
	seals    *seals
	in       *inbox
	watcher  *watcher
	gates    *gatePort // nil: closed
	peers    atomic.Pointer[peerTable]
	handlers [256]atomic.Pointer[Handler]
	serving  chan struct{} // one token for each handler that runs
	count    counters
	warn     limiter

	closed    atomic.Bool
	stop      chan struct{}
	wg        sync.WaitGroup
	closeOnce sync.Once
	regroup   chan struct{} // wanted was changed

	peersMu sync.Mutex // guards changes of peers, and wanted
	wanted  []quorum.Peer
}

// peerTable is who may talk to this node; it is replaced whole.
type peerTable map[quorum.NodeID]*peer

// peer is what is known of one other node.
type peer struct {
	heard    [accounts]atomic.Int64 // when a message came last, Unix nanoseconds
	received atomic.Uint64
	bytes    atomic.Uint64
	dropped  atomic.Uint64
	routed   atomic.Uint32 // a bit for each account that has a route now

	mu    sync.Mutex
	asked map[*asking]struct{} // questions under way
}

// Start opens the node's own address and begins to dial its peers. It returns
// when this node listens; peers may be absent. A taken address is an error
// that names it.
func Start(o Options) (*Net, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	n := &Net{
		opts: o, log: o.Logger, names: newNames(o.ClusterName, o.ID),
		in: newInbox(o.InboxSize, o.InboxBytes), stop: make(chan struct{}), regroup: make(chan struct{}, 1),
		serving: make(chan struct{}, handlersMax),
		warn:    limiter{perSecond: 5},
	}
	key, err := Derive(o.Secret, LabelFrame, o.ClusterName)
	if err != nil {
		return nil, err
	}
	n.seals = newSeals(key)
	n.know(o.Peers)
	if err := n.startServer(); err != nil {
		return nil, err
	}
	if o.Gateways != nil {
		gates, err := openGates(n)
		if err != nil {
			n.Close()
			return nil, err
		}
		n.gates = gates
	}
	return n, nil
}

func (n *Net) startServer() error {
	so, keys, err := serverOptions(&n.opts)
	if err != nil {
		return err
	}
	if n.srv, err = server.NewServer(so); err != nil {
		return fmt.Errorf("natsnet: configure server: %w", err)
	}
	n.dialled = so
	n.watcher = newWatcher(n)
	sl := &serverLog{log: n.log, secret: so.Cluster.Password, poke: n.watcher.poke, limit: limiter{perSecond: 20}}
	n.srv.SetLoggerV2(sl, false, false, false)
	n.srv.Start()
	if err := n.awaitServer(sl); err != nil {
		n.stopServer()
		return err
	}
	for a := range accounts {
		if n.links[a], err = newLink(n, a, keys[a]); err != nil {
			n.Close()
			return err
		}
	}
	n.run()
	return nil
}

// awaitServer waits until the server listens. A server whose port is taken only
// logs a line, so that line is the error.
func (n *Net) awaitServer(sl *serverLog) error {
	for end := time.Now().Add(startWithin); time.Now().Before(end); {
		if text := sl.fatalText(); text != "" {
			return fmt.Errorf("natsnet: node-to-node address %s of node %d cannot be opened: %s", n.opts.ownAddr(), n.opts.ID, text)
		}
		if n.srv.ReadyForConnections(100 * time.Microsecond) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("natsnet: node-to-node address %s of node %d is not open after %v", n.opts.ownAddr(), n.opts.ID, startWithin)
}

func (n *Net) run() {
	n.wg.Go(func() { n.in.run(n.stop) })
	n.wg.Go(n.watcher.run)
	n.wg.Go(n.dial)
	for _, l := range n.links {
		n.wg.Go(l.receive)
	}
}

// Inbox holds the messages for this node. It is never closed.
func (n *Net) Inbox() <-chan quorum.Message { return n.in.out }

// Hints tell of peers whose connections went or came. They are only hints: a
// message is no proof of life, and neither is a connection. The channel is
// never closed; hints that nobody takes are dropped.
func (n *Net) Hints() <-chan Hint { return n.watcher.hints }

// SetPeers replaces who may talk to this node and whom it dials; one that stands
// there twice is dialled at both addresses. It returns at once.
func (n *Net) SetPeers(peers []quorum.Peer) {
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	n.know(peers)
	n.wanted = slices.Clone(peers)
	signal(n.regroup)
}

// partAfter is how long the connection of a peer that is none any more is kept:
// what tells it so is still on its way.
const partAfter = 2 * time.Second

// dial has the server dial whom SetPeers wants, until the end.
func (n *Net) dial() {
	var part <-chan time.Time
	for {
		var err error
		select {
		case <-n.stop:
			return
		case <-n.regroup:
			part = time.After(partAfter)
			err = n.redial(true)
		case <-part:
			part, err = nil, n.redial(false)
		}
		if err != nil {
			n.complain("the addresses of the members could not be changed", "error", err)
		}
	}
}

// redial tells the server whom to dial; whom it dials already it goes on to, if
// so wanted.
func (n *Net) redial(keep bool) error {
	n.peersMu.Lock()
	peers := n.wanted
	n.peersMu.Unlock()
	urls := routes(n.usable(peers), n.opts.ID, n.dialled.Cluster.Password)
	for _, u := range n.dialled.Routes {
		if keep && !slices.ContainsFunc(urls, func(v *url.URL) bool { return v.Host == u.Host }) {
			urls = append(urls, u)
		}
	}
	if sameRoutes(urls, n.dialled.Routes) {
		return nil
	}
	next := n.dialled.Clone()
	next.Routes = urls
	if err := n.srv.ReloadOptions(next); err != nil {
		return err
	}
	n.dialled = next
	return nil
}

// usable leaves out the peers that this node must not or cannot dial.
func (n *Net) usable(peers []quorum.Peer) (out []quorum.Peer) {
	for _, p := range peers {
		if p.ID == n.opts.ID || p.Addr == "" {
			continue
		}
		if err := CheckAddr(p.Addr, n.opts.private()); err != nil {
			n.complain("a member is not dialled", "peer", p.ID, "error", err)
			continue
		}
		out = append(out, p)
	}
	return out
}

// know replaces who may talk to this node; the caller holds peersMu.
func (n *Net) know(peers []quorum.Peer) {
	var old peerTable
	if p := n.peers.Load(); p != nil {
		old = *p
	}
	table := peerTable{}
	for _, p := range peers {
		switch {
		case p.ID == n.opts.ID:
		case old[p.ID] != nil:
			table[p.ID] = old[p.ID]
		default:
			table[p.ID] = &peer{}
		}
	}
	n.peers.Store(&table)
}

func (n *Net) peer(id quorum.NodeID) *peer { return (*n.peers.Load())[id] }

// Close sends what is queued, for a moment, then stops everything and waits for
// it, for running handlers too. Messages are dropped and questions fail from
// its beginning on. It may be called more than once.
func (n *Net) Close() {
	n.closeOnce.Do(func() {
		n.closed.Store(true)
		if n.gates != nil {
			n.gates.close()
		}
		n.drain()
		close(n.stop)
		for _, l := range n.links {
			if l != nil {
				l.conn.Close()
			}
		}
		n.stopServer()
		n.wg.Wait()
	})
}

// drain closes the queues and gives what is in them a moment to leave.
func (n *Net) drain() {
	t := time.NewTimer(drainWithin)
	defer t.Stop()
	for _, l := range n.links {
		if l != nil {
			l.closeQueue()
		}
	}
	for _, l := range n.links {
		if l == nil {
			continue
		}
		select {
		case <-l.done:
		case <-t.C:
			return
		}
	}
}

// stopServer waits for the server, but no longer than stopWithin: a route to a
// frozen peer ends only with its write deadline, and the node has to go.
func (n *Net) stopServer() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.srv.Shutdown()
		n.srv.WaitForShutdown()
	}()
	t := time.NewTimer(stopWithin)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// What Ask returns, wrapped, besides the error of its context.
var (
	// ErrUnreachable: the question was never delivered; asking again is safe.
	ErrUnreachable = errors.New("natsnet: peer is not reachable")
	// ErrLost: the peer's connections went while the question was under way; it
	// is unknown whether it arrived.
	ErrLost = errors.New("natsnet: peer was lost")
	// ErrTooLarge: question or answer does not fit into a message.
	ErrTooLarge = errors.New("natsnet: message is too large")
	// ErrClosed: this Net is closed.
	ErrClosed = errors.New("natsnet: closed")
)
