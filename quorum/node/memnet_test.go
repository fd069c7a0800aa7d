package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"perch/quorum"
	"perch/quorum/natsnet"
)

// memNet connects nodes of one process, with faults. Messages keep their order.
type memNet struct {
	mu    sync.Mutex
	links map[quorum.NodeID]*memLink
	cuts  map[[2]quorum.NodeID]bool
	loss  float64 // share of messages that are lost
	rng   *rand.Rand
	gates []*memGateway
}

func newMemNet(seed uint64) *memNet {
	return &memNet{
		links: make(map[quorum.NodeID]*memLink), cuts: make(map[[2]quorum.NodeID]bool),
		rng: rand.New(rand.NewPCG(seed, 1)),
	}
}

// memLink is one node's end. It implements Transport.
type memLink struct {
	net    *memNet
	id     quorum.NodeID
	in     chan quorum.Message
	hints  chan natsnet.Hint
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	handlers map[natsnet.Kind]natsnet.Handler
	peers    []quorum.Peer // whom it takes more than a NOTIFY from; nil: everybody
	gate     gateHandler
}

// SetPeers implements Transport.
func (l *memLink) SetPeers(peers []quorum.Peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peers = peers
}

// admits says whether a message of a type is taken from a node.
func (l *memLink) admits(from quorum.NodeID, t quorum.MsgType) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peers == nil || t == quorum.MsgNotify || slices.ContainsFunc(l.peers, func(p quorum.Peer) bool { return p.ID == from })
}

func (m *memNet) join(id quorum.NodeID) *memLink {
	l := &memLink{
		net: m, id: id, in: make(chan quorum.Message, 8192), hints: make(chan natsnet.Hint, 64),
		handlers: make(map[natsnet.Kind]natsnet.Handler),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.links[id] = l
	return l
}

// cut parts two nodes, or joins them again.
func (m *memNet) cut(a, b quorum.NodeID, apart bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cuts[[2]quorum.NodeID{a, b}], m.cuts[[2]quorum.NodeID{b, a}] = apart, apart
}

// isolate parts one node from all others, or joins it again.
func (m *memNet) isolate(id quorum.NodeID, apart bool) {
	for other := quorum.NodeID(1); other <= 5; other++ {
		if other != id {
			m.cut(id, other, apart)
		}
	}
}

// route is where a message arrives; nil when it is lost.
func (m *memNet) route(from, to quorum.NodeID) *memLink {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cuts[[2]quorum.NodeID{from, to}] || m.rng.Float64() < m.loss {
		return nil
	}
	return m.links[to]
}

func (l *memLink) Send(m *quorum.Message) {
	if m.To != 0 {
		l.deliver(m, m.To)
		return
	}
	l.net.mu.Lock()
	var all []quorum.NodeID
	for id := range l.net.links {
		if id != l.id {
			all = append(all, id)
		}
	}
	l.net.mu.Unlock()
	for _, id := range all {
		l.deliver(m, id)
	}
}

func (l *memLink) deliver(m *quorum.Message, to quorum.NodeID) {
	if at := l.net.route(l.id, to); at != nil && at.admits(l.id, m.Type) {
		select {
		case at.in <- *m:
		default:
		}
	}
}

func (l *memLink) Inbox() <-chan quorum.Message { return l.in }
func (l *memLink) Hints() <-chan natsnet.Hint   { return l.hints }
func (l *memLink) Handle(k natsnet.Kind, fn func(quorum.NodeID, []byte) ([]byte, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handlers[k] = fn
}

func (l *memLink) Ask(ctx context.Context, to quorum.NodeID, k natsnet.Kind, body []byte) ([]byte, error) {
	at := l.net.route(l.id, to)
	if at == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	type answer struct {
		body []byte
		err  error
	}
	got := make(chan answer, 1)
	if !at.serve(k, l.id, body, func(b []byte, err error) {
		if l.net.route(to, l.id) != nil {
			got <- answer{b, err}
		}
	}) {
		return nil, fmt.Errorf("%w: %d", natsnet.ErrUnreachable, to)
	}
	select {
	case a := <-got:
		return a.body, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *memLink) serve(k natsnet.Kind, from quorum.NodeID, body []byte, reply func([]byte, error)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn := l.handlers[k]
	if l.closed || fn == nil {
		return false
	}
	l.work.Go(func() { reply(fn(from, body)) })
	return true
}

func (l *memLink) Close() {
	l.net.mu.Lock()
	if l.net.links[l.id] == l {
		delete(l.net.links, l.id)
	}
	l.net.mu.Unlock()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.net.hangUp(l.id)
	l.work.Wait()
}

// cluster is three nodes, connected by a memNet or by NATS.
type cluster struct {
	t     testing.TB
	net   *memNet // nil: NATS
	dirs  map[quorum.NodeID]string
	nodes map[quorum.NodeID]*running
	peers []quorum.Peer                   // of the three
	lists map[quorum.NodeID][]quorum.Peer // --peers of whoever has a list of its own
	tune  func(*Config)
}

func newCluster(t testing.TB, net *memNet, tune func(*Config)) *cluster {
	c := &cluster{
		t: t, net: net, dirs: make(map[quorum.NodeID]string), nodes: make(map[quorum.NodeID]*running), tune: tune,
		lists: make(map[quorum.NodeID][]quorum.Peer),
	}
	for id := quorum.NodeID(1); id <= 3; id++ {
		c.dirs[id] = t.TempDir()
		c.peers = append(c.peers, quorum.Peer{ID: id, Addr: freeAddr(t), Role: quorum.RoleVoter})
	}
	for id := range c.dirs {
		c.start(id)
	}
	t.Cleanup(c.end)
	return c
}

func (c *cluster) config(id quorum.NodeID) Config {
	cfg := Config{ID: id, Peers: c.peers, Dir: c.dirs[id], Secret: testSecret, Log: testLog(c.t), RebuildAfter: time.Hour}
	if list := c.lists[id]; list != nil {
		cfg.Peers = list
	}
	if c.net != nil {
		cfg.Transport = c.net.join(id)
	}
	if c.tune != nil {
		c.tune(&cfg)
	}
	return cfg
}

// newcomer starts a node that knows the three, and that they do not know.
func (c *cluster) newcomer(id quorum.NodeID) quorum.Peer {
	c.t.Helper()
	p := quorum.Peer{ID: id, Addr: freeAddr(c.t), Role: quorum.RoleVoter}
	c.dirs[id], c.lists[id] = c.t.TempDir(), append(slices.Clone(c.peers), p)
	c.start(id)
	return p
}

func (c *cluster) start(id quorum.NodeID) {
	c.t.Helper()
	c.nodes[id] = start(c.t, c.config(id))
}

var errKilled = errors.New("killed by the test")

// kill stops a node without a word to anybody.
func (c *cluster) kill(id quorum.NodeID) {
	c.t.Helper()
	n := c.nodes[id]
	n.fail(errKilled)
	if err := <-n.ended; !errors.Is(err, errKilled) {
		c.t.Fatal(err)
	}
	n.cancel()
	delete(c.nodes, id)
}

// stop ends a node cleanly.
func (c *cluster) stop(id quorum.NodeID) {
	if n := c.nodes[id]; n != nil {
		n.end(c.t)
		delete(c.nodes, id)
	}
}

func (c *cluster) end() {
	for id := range c.dirs {
		c.stop(id)
	}
}

// leader waits for an established leader that the running nodes agree on.
func (c *cluster) leader() *running {
	c.t.Helper()
	var leader *running
	until(c.t, "led", func() bool {
		leader = nil
		var id quorum.NodeID
		for _, n := range c.nodes {
			s := n.Soft()
			if !s.Established || id != 0 && s.Leader != id {
				return false
			}
			id = s.Leader
		}
		leader = c.nodes[id]
		return leader != nil
	})
	return leader
}

// follower is some running node that does not lead.
func (c *cluster) follower() *running {
	c.t.Helper()
	leader := c.leader()
	for _, n := range c.nodes {
		if n != leader {
			return n
		}
	}
	c.t.Fatal("there is no follower")
	return nil
}

// agree waits until all running nodes have the same state.
func (c *cluster) agree() {
	c.t.Helper()
	until(c.t, "equal", func() bool {
		var first *running
		for _, n := range c.nodes {
			if first == nil {
				first = n
			}
			a, b := first.view(), n.view()
			if a.Zxid() != b.Zxid() || a.Digest() != b.Digest() {
				return false
			}
		}
		return true
	})
}
