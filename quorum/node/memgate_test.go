package node

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"perch/gen/seampb"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/seam"
)

type gateHandler = func(from natsnet.GatewayID, body []byte, reply func([]byte) error)

// HandleGateways implements seam.Port.
func (l *memLink) HandleGateways(fn func(from natsnet.GatewayID, body []byte, reply func([]byte) error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gate = fn
}

// Push implements seam.Port.
func (l *memLink) Push(to natsnet.GatewayID, body []byte) error {
	for _, g := range l.net.gateways() {
		if g.id == to {
			g.push(l.id, body)
		}
	}
	return nil
}

// take hands a message of a gateway to this node; false when it is gone.
func (l *memLink) take(from natsnet.GatewayID, body []byte, reply func([]byte) error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.gate == nil {
		return false
	}
	fn := l.gate
	l.work.Go(func() { fn(from, body, reply) })
	return true
}

func (m *memNet) gateways() []*memGateway {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.gates)
}

func (m *memNet) node(id quorum.NodeID) *memLink {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.links[id]
}

// hangUp ends the connections of a node that stops.
func (m *memNet) hangUp(id quorum.NodeID) {
	for _, g := range m.gateways() {
		g.connect(id, false)
	}
}

// gateFaults are shares of messages.
type gateFaults struct{ question, answer, push, twice, swap float64 }

// memGateway is a gateway's connections to the nodes of a memNet, with faults. It
// implements seam.Link.
type memGateway struct {
	net *memNet
	id  natsnet.GatewayID
	rng *rand.Rand

	mu       sync.Mutex
	near     []quorum.NodeID
	lines    map[quorum.NodeID]*memLine
	faults   gateFaults
	drop     func(m proto.Message) bool // besides the faults: says which messages are lost
	asked    []*seampb.ToNode           // that have reached a node
	onPush   func(quorum.NodeID, []byte)
	onChange func()
}

// memLine is one connection. What is frozen is held.
type memLine struct {
	lost   chan struct{}
	frozen bool
	held   []func()
	pushes sync.Mutex // one at a time
	last   []byte     // held back by swap
}

// dial is a gateway with these nodes, nearest first.
func (m *memNet) dial(seed uint64, near ...quorum.NodeID) *memGateway {
	g := &memGateway{net: m, rng: rand.New(rand.NewPCG(seed, 2)), near: near, lines: make(map[quorum.NodeID]*memLine)}
	g.id[0], g.id[1] = byte(seed), byte(len(m.gates)+1)
	for _, id := range near {
		g.lines[id] = &memLine{lost: make(chan struct{})}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gates = append(m.gates, g)
	return g
}

// gateway is a client with these nodes, until the end of the test.
func (c *cluster) gateway(seed uint64, near ...quorum.NodeID) (*seam.Client, *memGateway) {
	link := c.net.dial(seed, near...)
	client := seam.New(link, slog.New(slog.DiscardHandler))
	c.t.Cleanup(func() {
		link.set(gateFaults{})
		for id := range c.dirs {
			link.freeze(id, false)
		}
		client.Close()
	})
	return client, link
}

// ready waits until a client has heard of a leader.
func ready(t testing.TB, c *seam.Client) {
	t.Helper()
	until(t, "ready", func() bool { return c.Status().Ready })
}

func (g *memGateway) Nodes() (list []quorum.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range g.near {
		if g.lines[id] != nil {
			list = append(list, id)
		}
	}
	return list
}

func (g *memGateway) OnPush(fn func(quorum.NodeID, []byte)) { g.onPush = fn }
func (g *memGateway) OnChange(fn func())                    { g.onChange = fn }

// prefer changes which nodes are near.
func (g *memGateway) prefer(near ...quorum.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.near = near
}

// connect makes or cuts the connection with a node.
func (g *memGateway) connect(id quorum.NodeID, up bool) {
	g.mu.Lock()
	line := g.lines[id]
	switch {
	case up && line == nil:
		g.lines[id] = &memLine{lost: make(chan struct{})}
	case !up && line != nil:
		close(line.lost)
		delete(g.lines, id)
	}
	g.mu.Unlock()
	if up != (line != nil) && g.onChange != nil {
		g.onChange()
	}
}

// freeze holds all that goes to and from a node, or lets it go.
func (g *memGateway) freeze(id quorum.NodeID, frozen bool) {
	g.mu.Lock()
	line := g.lines[id]
	var held []func()
	if line != nil {
		line.frozen = frozen
		if !frozen {
			held, line.held = line.held, nil
		}
	}
	g.mu.Unlock()
	for _, fn := range held {
		fn()
	}
}

func (g *memGateway) set(f gateFaults) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults, g.drop = f, nil
}

func (g *memGateway) lose(drop func(proto.Message) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop = drop
}

// carry takes a message over a line: now, later, or never.
func (g *memGateway) carry(id quorum.NodeID, share float64, m proto.Message, deliver func()) {
	g.mu.Lock()
	line := g.lines[id]
	switch {
	case line == nil, g.rng.Float64() < share, g.drop != nil && g.drop(m):
		g.mu.Unlock()
		return
	case line.frozen:
		line.held = append(line.held, deliver)
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	deliver()
}

func (g *memGateway) chance(share float64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rng.Float64() < share
}

// Ask implements seam.Link.
func (g *memGateway) Ask(ctx context.Context, to quorum.NodeID, body []byte) ([]byte, error) {
	g.mu.Lock()
	line, faults := g.lines[to], g.faults
	g.mu.Unlock()
	if line == nil {
		return nil, fmt.Errorf("%w: %d", natsnet.ErrUnreachable, to)
	}
	got, gone := make(chan []byte, 1), make(chan struct{}, 2)
	reply := func(answer []byte) error {
		m := new(seampb.Answer)
		if err := proto.Unmarshal(answer, m); err != nil {
			return err
		}
		g.carry(to, faults.answer, m, func() {
			select {
			case got <- answer:
			default:
			}
		})
		return nil
	}
	g.send(to, faults.question, body, reply, gone)
	if g.chance(faults.twice) {
		g.send(to, 0, body, reply, make(chan struct{}, 1))
	}
	select {
	case answer := <-got:
		return answer, nil
	case <-gone:
		return nil, fmt.Errorf("%w: %d", natsnet.ErrUnreachable, to)
	case <-line.lost:
		return nil, fmt.Errorf("%w: %d", natsnet.ErrLost, to)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *memGateway) send(to quorum.NodeID, share float64, body []byte, reply func([]byte) error, gone chan<- struct{}) {
	m := new(seampb.ToNode)
	if err := proto.Unmarshal(body, m); err != nil {
		panic(err)
	}
	g.carry(to, share, m, func() {
		if at := g.net.node(to); at == nil || !at.take(g.id, body, reply) {
			gone <- struct{}{}
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.asked = append(g.asked, m)
	})
}

// Tell implements seam.Link.
func (g *memGateway) Tell(to quorum.NodeID, body []byte) error {
	g.mu.Lock()
	share := g.faults.question
	g.mu.Unlock()
	g.send(to, share, body, func([]byte) error { return nil }, make(chan struct{}, 1))
	return nil
}

// push brings a push of a node, now and then behind the next one, or twice.
func (g *memGateway) push(from quorum.NodeID, body []byte) {
	m := new(seampb.ToGateway)
	if err := proto.Unmarshal(body, m); err != nil {
		panic(err)
	}
	g.mu.Lock()
	line, faults := g.lines[from], g.faults
	g.mu.Unlock()
	if line == nil {
		return
	}
	swap, twice := g.chance(faults.swap), g.chance(faults.twice)
	g.carry(from, faults.push, m, func() {
		line.pushes.Lock()
		defer line.pushes.Unlock()
		if swap && line.last == nil {
			line.last = body
			return
		}
		g.onPush(from, body)
		if twice {
			g.onPush(from, body)
		}
		if line.last != nil {
			g.onPush(from, line.last)
			line.last = nil
		}
	})
}

// questions counts those that have reached a node, of a kind.
func (g *memGateway) questions(kind func(*seampb.Question) bool) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.asked {
		if q := m.GetQuestion(); q != nil && kind(q) {
			n++
		}
	}
	return n
}

var _ seam.Link = (*memGateway)(nil)
var _ seam.Port = (*memLink)(nil)
var _ seam.Link = (*natsnet.Gateway)(nil)
var _ seam.Port = (*natsnet.Net)(nil)
