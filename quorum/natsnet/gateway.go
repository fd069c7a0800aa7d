package natsnet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"perch/quorum"
)

// GatewayOptions are what DialNodes needs.
type GatewayOptions struct {
	Addrs       []string     // of the nodes' ports for gateways
	ClusterName string       // as of the nodes
	Secret      []byte       // the cluster's, at least 32 bytes
	Logger      *slog.Logger // nil logs nothing

	// TLS encrypts the connections, see PeerTLS; nil leaves them plain, which
	// takes loopback addresses or Insecure.
	TLS      *tls.Config
	Insecure bool
}

// Validate reports every fault of o, joined; nil when there is none.
func (o *GatewayOptions) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("natsnet: "+format, args...))
	}
	if !clusterName.MatchString(o.ClusterName) {
		fault("cluster name %q: want 1 to 63 of a-z, 0-9, - and _", o.ClusterName)
	}
	if len(o.Secret) < secretMin {
		fault("secret of %d bytes: want at least %d", len(o.Secret), secretMin)
	}
	if len(o.Addrs) == 0 {
		fault("a gateway without a node")
	}
	for i, addr := range o.Addrs {
		if err := CheckAddr(addr, o.TLS != nil || o.Insecure); err != nil {
			fault("node: %v", err)
		}
		if slices.Contains(o.Addrs[:i], addr) {
			fault("node %s is named twice", addr)
		}
	}
	if o.TLS != nil {
		validateTLS(o.TLS, fault)
	}
	return errors.Join(faults...)
}

// Gateway is a gateway's side: one NATS connection to each node, kept up for
// ever. So it is known of each node by itself whether it is there, gone or slow.
// All methods may be called concurrently.
//
// It guarantees what Net does of what arrives. It does not guarantee that a
// question or a push arrives; a connection that was lost gives ErrLost to all
// who asked over it, and pushes may be missing without a word.
type Gateway struct {
	opts  GatewayOptions
	id    GatewayID
	name  string // of id
	log   *slog.Logger
	key   nkeys.KeyPair
	user  string // public key
	seals *seals

	ctx    context.Context // of the connections; ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	number   atomic.Uint64 // of the last question
	onPush   atomic.Pointer[func(quorum.NodeID, []byte)]
	onChange atomic.Pointer[func()]
	changed  chan struct{}
	nearest  atomic.Pointer[[]quorum.NodeID]

	mu    sync.Mutex
	lines map[quorum.NodeID]*line // those that are up
}

// DialNodes begins to connect to the nodes, for ever, and returns at once. Only
// wrong options are an error.
func DialNodes(o GatewayOptions) (*Gateway, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{
		opts: o, id: newGatewayID(), log: o.Logger,
		changed: make(chan struct{}, 1), lines: map[quorum.NodeID]*line{},
	}
	g.name = g.id.String()
	var err error
	if g.key, err = gateKey(o.Secret, o.ClusterName); err != nil {
		return nil, err
	}
	if g.user, err = g.key.PublicKey(); err != nil {
		return nil, fmt.Errorf("natsnet: key of gateways: %w", err)
	}
	if g.seals, err = gateSeals(o.Secret, o.ClusterName); err != nil {
		return nil, err
	}
	g.nearest.Store(&[]quorum.NodeID{})
	g.ctx, g.cancel = context.WithCancel(context.Background())
	for _, addr := range o.Addrs {
		d := &dialler{g: g, addr: addr}
		g.wg.Go(d.run)
	}
	g.wg.Go(g.notify)
	return g, nil
}

// ID names this gateway, for as long as it lives.
func (g *Gateway) ID() GatewayID { return g.id }

// Nodes are those connected now, the nearest first. Nodes that are about as near
// as each other have an order that lasts and that differs from gateway to
// gateway, so that these spread. The result must not be changed.
func (g *Gateway) Nodes() []quorum.NodeID { return *g.nearest.Load() }

// RoundTrips are the smoothed times of a message to a connected node and back.
func (g *Gateway) RoundTrips() map[quorum.NodeID]time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	trips := make(map[quorum.NodeID]time.Duration, len(g.lines))
	for id, l := range g.lines {
		trips[id] = time.Duration(l.rtt * float64(time.Second))
	}
	return trips
}

// OnChange sets who hears that the set of Nodes has changed, soon after; calls
// do not overlap.
func (g *Gateway) OnChange(fn func()) { g.onChange.Store(&fn) }

// OnPush sets who gets what nodes push, to be set before traffic. Calls for one
// node come one after the other in the order of its pushes, and none of a
// connection after the next has begun. Body is its own. It must not block for
// long: pushes wait behind it, at most 64 MiB of them.
func (g *Gateway) OnPush(fn func(from quorum.NodeID, body []byte)) { g.onPush.Store(&fn) }

func (g *Gateway) notify() {
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.changed:
		}
		if fn := g.onChange.Load(); fn != nil {
			(*fn)()
		}
	}
}

// Ask sends body to a node and waits for its answer as long as ctx allows.
// Errors: ErrUnreachable (the question was never taken up: no connection, or the
// node refused it), ErrTooLarge, ErrLost (the connection went; it is unknown
// whether the node acted), ErrClosed, or that of ctx (unknown too).
func (g *Gateway) Ask(ctx context.Context, to quorum.NodeID, body []byte) ([]byte, error) {
	l, err := g.line(to, body)
	if err != nil {
		return nil, err
	}
	subject := gateAsk(to, g.name)
	question := g.seals.add(gateQuestion(codeAsk, g.number.Add(1), body), subject)
	msg, err := l.conn.RequestWithContext(ctx, subject, question)
	if err != nil {
		return nil, g.askError(ctx, to, err)
	}
	frame, ok := g.seals.open(msg.Data, sealOf(question))
	if !ok {
		return nil, fmt.Errorf("natsnet: answer of node %d: not sealed with the cluster's secret", to)
	}
	return openAnswer(to, frame)
}

// Tell sends body to a node and waits for nothing. Errors: ErrUnreachable,
// ErrTooLarge, ErrClosed. It may be lost without one.
func (g *Gateway) Tell(to quorum.NodeID, body []byte) error {
	l, err := g.line(to, body)
	if err != nil {
		return err
	}
	subject := gateAsk(to, g.name)
	if err := l.conn.Publish(subject, g.seals.add(gateQuestion(codeTell, g.number.Add(1), body), subject)); err != nil {
		return fmt.Errorf("%w: node %d: %w", ErrUnreachable, to, err)
	}
	return nil
}

// line is the connection to a node over which body can go.
func (g *Gateway) line(to quorum.NodeID, body []byte) (*line, error) {
	if len(body) > gateBytesMax {
		return nil, fmt.Errorf("%w: question of %d bytes", ErrTooLarge, len(body))
	}
	if g.ctx.Err() != nil {
		return nil, ErrClosed
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lines[to]
	if l == nil {
		return nil, fmt.Errorf("%w: node %d is not connected", ErrUnreachable, to)
	}
	return l, nil
}

func (g *Gateway) askError(ctx context.Context, to quorum.NodeID, err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: node %d", ErrUnreachable, to)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: question to node %d", ErrTooLarge, to)
	case ctx.Err() != nil:
		return ctx.Err()
	case g.ctx.Err() != nil:
		return ErrClosed
	}
	// The connection went, perhaps before the question had left: that is not told.
	return fmt.Errorf("%w: node %d", ErrLost, to)
}

// Close ends the connections and everything that waits for them, and waits for
// OnPush and OnChange. It may be called more than once.
func (g *Gateway) Close() {
	g.cancel()
	g.wg.Wait()
}
