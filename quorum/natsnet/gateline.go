package natsnet

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"perch/quorum"
)

const (
	dialWithin    = time.Second
	redialMin     = 50 * time.Millisecond // after the first failure, doubled by each …
	redialMax     = time.Second           // … up to here
	redialRefused = 2 * time.Second       // after a refusal, which only people mend
	pingEvery     = 500 * time.Millisecond
	pingWithin    = 4 * time.Second // without an answer the connection is cut
	repeatAfter   = 30 * time.Second
	pushesWaitMax = 16_384 // pushes that OnPush has not taken …
	pushesWaitLen = 64 << 20
)

// dialler keeps one address connected. Everything in it belongs to run.
type dialler struct {
	g      *Gateway
	addr   string
	failed string // what was logged last …
	when   time.Time
}

func (d *dialler) run() {
	wait := redialMin
	for d.g.ctx.Err() == nil {
		l, err := d.connect()
		if err != nil {
			wait = min(2*wait, redialMax)
			if errors.Is(err, errRefused) {
				wait = redialRefused
			}
			d.complain(err)
			d.pause(wait)
			continue
		}
		d.failed = ""
		wait = redialMin
		d.g.log.Info("natsnet: connected to a node", "addr", d.addr, "peer", l.node)
		err = l.keep()
		d.g.drop(l)
		if d.g.ctx.Err() == nil {
			d.g.log.Warn("natsnet: lost the connection to a node", "addr", d.addr, "peer", l.node, "error", err)
			d.pause(wait)
		}
	}
}

func (d *dialler) pause(wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.g.ctx.Done():
	}
}

// complain logs a failure when it is another than the last, and now and then.
func (d *dialler) complain(err error) {
	if now := time.Now(); d.g.ctx.Err() == nil && (err.Error() != d.failed || now.Sub(d.when) > repeatAfter) {
		d.failed, d.when = err.Error(), now
		d.g.log.Warn("natsnet: a node cannot be reached", "addr", d.addr, "error", err)
	}
}

// errRefused: trying again is of little use.
var errRefused = errors.New("refused")

// connect logs in at the node and takes up its pushes.
func (d *dialler) connect() (*line, error) {
	g := d.g
	l := &line{g: g, addr: d.addr, closed: make(chan struct{})}
	wire := &nodeDialer{ctx: g.ctx, addr: d.addr, tls: g.opts.TLS}
	conn, err := nats.Connect("nats://"+d.addr,
		nats.SetCustomDialer(wire), nats.SkipHostLookup(), nats.Timeout(loginWithin), nats.NoReconnect(),
		nats.Nkey(g.user, g.key.Sign), nats.Name(g.name), nats.CustomInboxPrefix(gateInbox(g.name)),
		nats.IgnoreDiscoveredServers(), nats.ReconnectBufSize(-1), nats.FlusherTimeout(loginWithin),
		nats.ErrorHandler(l.asyncError), nats.ClosedHandler(func(*nats.Conn) { close(l.closed) }))
	if err != nil {
		if wire.unhook != nil {
			wire.unhook()
		}
		return nil, explainDial(err, wire, g.opts.ClusterName)
	}
	l.conn, l.unhook = conn, wire.unhook
	if err := l.begin(); err != nil {
		l.end()
		return nil, err
	}
	return l, nil
}

// explainDial says what an operator can do about err.
func explainDial(err error, wire *nodeDialer, cluster string) error {
	switch {
	case wire.err != nil:
		return wire.err
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return fmt.Errorf("%w: the node has another --secret-file, or another --cluster-name than %s, or this is not the address of its --nats", errRefused, cluster)
	}
	return fmt.Errorf("no login: %w: is this the --nats address of a node, and has it --peer-cert exactly if this gateway has?", err)
}

// nodeDialer opens the connection of one login: TLS comes first, not as NATS has
// it, so that a stranger gets to see nothing.
type nodeDialer struct {
	ctx    context.Context
	addr   string
	tls    *tls.Config
	err    error
	unhook func() bool // the connection ends with ctx until this is called
}

// Dial is called by nats.Connect.
func (d *nodeDialer) Dial(string, string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, dialWithin)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.addr)
	if err == nil && d.tls != nil {
		conn, err = d.secure(ctx, conn)
	}
	if err != nil {
		d.err = err
		return nil, err
	}
	// What comes next waits for the node, and Close must not.
	d.unhook = context.AfterFunc(d.ctx, func() { _ = conn.Close() })
	return conn, nil
}

func (d *nodeDialer) secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	config := d.tls.Clone()
	config.ServerName, _, _ = net.SplitHostPort(d.addr)
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("no TLS connection: %w", err)
	}
	return secure, nil
}

// line is one connection to a node, from login to loss.
type line struct {
	g      *Gateway
	addr   string
	node   quorum.NodeID
	conn   *nats.Conn
	closed chan struct{} // when conn is
	unhook func() bool

	// Guarded by Gateway.mu.
	rtt   float64 // smoothed, seconds
	class int     // of rtt, with a margin: what Nodes goes by

	pushing sync.Mutex // held while OnPush runs
	ended   bool       // no push any more; guarded by pushing
}

// begin finds out whose connection this is and adds it to those that are up.
func (l *line) begin() error {
	id, ok := parseNode(l.conn.ConnectedServerName())
	if !ok {
		return fmt.Errorf("%w: this is no node of Perch", errRefused)
	}
	l.node = id
	sub, err := l.conn.Subscribe(gatePush(l.g.name), l.take)
	if err != nil {
		return err
	}
	if err := sub.SetPendingLimits(pushesWaitMax, pushesWaitLen); err != nil {
		return err
	}
	for range 2 { // the first also waits for the subscription
		if err := l.ping(); err != nil {
			return err
		}
	}
	return l.g.add(l)
}

func (l *line) asyncError(_ *nats.Conn, _ *nats.Subscription, err error) {
	l.g.log.Warn("natsnet: connection to a node", "addr", l.addr, "peer", l.node, "error", err)
}

// keep measures the connection until it is lost, and says why.
func (l *line) keep() error {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-l.g.ctx.Done():
			return ErrClosed
		case <-l.closed:
			return l.conn.LastError()
		case <-t.C:
		}
		if err := l.ping(); err != nil {
			return err
		}
		l.g.sort(false)
	}
}

// ping measures the round trip to the node.
func (l *line) ping() error {
	start := time.Now()
	if err := l.conn.FlushTimeout(pingWithin); err != nil {
		return err
	}
	l.measured(time.Since(start).Seconds())
	return nil
}

func (l *line) measured(rtt float64) {
	l.g.mu.Lock()
	defer l.g.mu.Unlock()
	if l.rtt == 0 {
		l.rtt = rtt
	}
	l.rtt += (rtt - l.rtt) / 8
	// Classes are factors of two from a millisecond on. One is left when the time
	// is well outside it, so that the order does not flap.
	for l.rtt > 1.5*classEnd(l.class) {
		l.class++
	}
	for l.class > 0 && l.rtt < classEnd(l.class-1)/1.5 {
		l.class--
	}
}

func classEnd(class int) float64 { return 0.001 * float64(uint64(1)<<min(class, 40)) }

// take hands a push on.
func (l *line) take(msg *nats.Msg) {
	frame, ok := l.g.seals.open(msg.Data, msg.Subject)
	if !ok {
		l.g.log.Warn("natsnet: dropped a push that is not sealed with the cluster's secret", "addr", l.addr)
		return
	}
	code, from, body, err := openAsk(frame)
	if err != nil || code != codePush || from != l.node {
		l.g.log.Warn("natsnet: dropped a push", "addr", l.addr, "peer", from, "error", err)
		return
	}
	l.pushing.Lock()
	defer l.pushing.Unlock()
	if fn := l.g.onPush.Load(); fn != nil && l.counts() && !l.ended {
		(*fn)(from, body)
	}
}

// counts says whether l is the connection of its node: two addresses may lead to
// one, and what it pushes comes over both until the second is given up.
func (l *line) counts() bool {
	l.g.mu.Lock()
	defer l.g.mu.Unlock()
	return l.g.lines[l.node] == l
}

// add makes l the connection of its node.
func (g *Gateway) add(l *line) error {
	g.mu.Lock()
	if other := g.lines[l.node]; other != nil {
		g.mu.Unlock()
		return fmt.Errorf("%w: %s and %s are one node, %d", errRefused, other.addr, l.addr, l.node)
	}
	g.lines[l.node] = l
	g.mu.Unlock()
	g.sort(true)
	return nil
}

// drop ends l: no push comes of it any more, and who asked over it hears that it
// is lost.
func (g *Gateway) drop(l *line) {
	g.mu.Lock()
	delete(g.lines, l.node)
	g.mu.Unlock()
	g.sort(true)
	l.end()
}

// end closes l; OnPush does not run for it any more.
func (l *line) end() {
	l.unhook()
	l.conn.Close()
	<-l.closed
	l.pushing.Lock()
	l.ended = true
	l.pushing.Unlock()
}

// sort renews what Nodes says, and tells if the set is another.
func (g *Gateway) sort(changed bool) {
	g.mu.Lock()
	ids := make([]quorum.NodeID, 0, len(g.lines))
	for id := range g.lines {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b quorum.NodeID) int {
		if d := g.lines[a].class - g.lines[b].class; d != 0 {
			return d
		}
		if ra, rb := g.rank(a), g.rank(b); ra != rb {
			return cmp.Compare(ra, rb)
		}
		return int(a) - int(b)
	})
	g.nearest.Store(&ids)
	g.mu.Unlock()
	if changed {
		signal(g.changed)
	}
}

// rank is where this gateway puts a node among those as near.
func (g *Gateway) rank(id quorum.NodeID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(g.id[:])
	_, _ = h.Write(binary.LittleEndian.AppendUint16(nil, uint16(id)))
	return h.Sum64()
}
