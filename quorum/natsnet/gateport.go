package natsnet

import (
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// GatewayPort is where a node listens for gateways.
type GatewayPort struct {
	Addr string // host:port; port 0 is any free one, see GatewayAddr

	// TLS ends TLS on the port, see PeerTLS: a gateway shows a certificate as a
	// node does. nil is plain, which takes loopback or Options.Insecure.
	TLS *tls.Config
}

func (g *GatewayPort) validate(insecure bool, fault func(string, ...any)) {
	host, port, err := net.SplitHostPort(g.Addr)
	if err != nil {
		fault("address for gateways %q: want host:port", g.Addr)
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		fault("address for gateways %q: port %q", g.Addr, port)
	}
	if g.TLS != nil {
		validateTLS(g.TLS, fault)
	} else if !insecure && !Loopback(host) {
		fault("address for gateways %s is not loopback: give the port certificates (--peer-cert, --peer-key, --peer-ca)", g.Addr)
	}
}

// GatewayHandler takes up what a gateway asks. Body is its own. It may answer at
// once or later, from any goroutine, once: reply gives ErrTooLarge (and the
// gateway gets it too) or ErrClosed. What a gateway only told has no answer, and
// reply does nothing.
type GatewayHandler = func(from GatewayID, body []byte, reply func([]byte) error)

const (
	gateHandlersMax  = 1 << 17 // that run at once; a question beyond is refused
	pushesMax        = 8192    // that wait for the server …
	pushBytesMax     = 64 << 20
	gatePing         = 5 * time.Second // between the server's pings of a gateway
	gateNode         = "node"          // the node's own user
	gateArrivedMax   = 1 << 17         // questions between the client and its reader …
	gateArrivedBytes = 128 << 20
)

// gatePort is the side of a node that gateways talk to: a server of its own, so
// that nothing a gateway or a stranger does takes connections, buffers or locks
// from the quorum, and no account of the quorum is there at all. It has one
// account, GATE, no routes and no listener: front is that.
type gatePort struct {
	net      *Net
	srv      *server.Server
	front    *front
	conn     *nats.Conn
	seals    *seals
	key      nkeys.KeyPair // public half
	public   string
	account  *server.Account
	password string // of the node's own user, drawn at every start
	handler  atomic.Pointer[GatewayHandler]
	serving  chan struct{} // a token for each handler that runs

	pushes    chan push
	pushBytes atomic.Int64
	stop      chan struct{}
	pushed    chan struct{} // closed when the goroutine that publishes pushes has ended
	wg        sync.WaitGroup
}

// push is a message on its way to a gateway's inbox.
type push struct {
	subject string
	frame   []byte
}

// openGates starts the port that o asks for.
func openGates(n *Net) (*gatePort, error) {
	o := &n.opts
	pair, err := gateKey(o.Secret, o.ClusterName)
	if err != nil {
		return nil, err
	}
	p := &gatePort{
		net: n, password: rand.Text(),
		serving: make(chan struct{}, gateHandlersMax), pushes: make(chan push, pushesMax),
		stop: make(chan struct{}), pushed: make(chan struct{}),
	}
	if p.public, err = pair.PublicKey(); err != nil {
		return nil, fmt.Errorf("natsnet: key of gateways: %w", err)
	}
	if p.key, err = nkeys.FromPublicKey(p.public); err != nil {
		return nil, fmt.Errorf("natsnet: key of gateways: %w", err)
	}
	if p.seals, err = gateSeals(o.Secret, o.ClusterName); err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *gatePort) start() (err error) {
	o := &p.net.opts
	p.srv, err = server.NewServer(&server.Options{
		ServerName: nodeName(o.ID), DontListen: true,
		NoSigs: true, NoSystemAccount: true,
		MaxPayload: maxPayload, NoFastProducerStall: true, WriteDeadline: writeWithin,
		MaxConn: gatewaysMax + callersMax + 16, MaxClosedClients: 100, MaxControlLine: 2048,
		MaxSubs: 16, PingInterval: gatePing, MaxPingsOut: 2, AuthTimeout: loginWithin.Seconds(),
		Accounts: []*server.Account{server.NewAccount(gateAccount)}, CustomClientAuthentication: p, AlwaysEnableNonce: true,
	})
	if err != nil {
		return fmt.Errorf("natsnet: configure the server for gateways: %w", err)
	}
	if p.account, err = p.srv.LookupAccount(gateAccount); err != nil { // the server has made a copy
		return fmt.Errorf("natsnet: configure the server for gateways: %w", err)
	}
	p.srv.SetLoggerV2(&serverLog{log: p.net.log, secret: p.password, limit: limiter{perSecond: 20}}, false, false, false)
	p.srv.Start()
	if !p.srv.ReadyForConnections(startWithin) {
		return fmt.Errorf("natsnet: the server for gateways did not start within %v", startWithin)
	}
	p.conn, err = nats.Connect("",
		nats.InProcessServer(p.srv), nats.UserInfo(gateNode, p.password), nats.Name(gateNode),
		nats.NoEcho(), nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ReconnectBufSize(-1), nats.Timeout(writeWithin), nats.FlusherTimeout(writeWithin),
		nats.ErrorHandler(p.asyncError), nats.DisconnectErrHandler(p.disconnected), nats.NoCallbacksAfterClientClose())
	if err != nil {
		return fmt.Errorf("natsnet: log in to the own server for gateways: %w", err)
	}
	go p.publish()
	sub, err := p.conn.Subscribe(gateAsk(o.ID, "*"), p.accept)
	if err == nil {
		err = errors.Join(sub.SetPendingLimits(gateArrivedMax, gateArrivedBytes), p.conn.FlushTimeout(writeWithin))
	}
	if err != nil {
		return fmt.Errorf("natsnet: subscribe for gateways: %w", err)
	}
	p.front, err = listenFront(o.Gateways.Addr, o.Gateways.TLS, p.srv.InProcessConn)
	return err
}

func (p *gatePort) asyncError(_ *nats.Conn, _ *nats.Subscription, err error) {
	p.net.complain("client of the own server for gateways", "error", err)
}

func (p *gatePort) disconnected(_ *nats.Conn, err error) {
	p.net.count.reconnects.Add(1)
	p.net.complain("client of the own server for gateways was cut off", "error", err)
}

// Check lets a client of the server in: the node itself, or a gateway that has
// signed this connection's nonce with the cluster's key. It is called by the
// server.
func (p *gatePort) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	if o.Username != "" {
		if o.Username != gateNode || subtle.ConstantTimeCompare([]byte(o.Password), []byte(p.password)) != 1 {
			return false
		}
		c.RegisterUser(&server.User{Username: gateNode, Account: p.account})
		return true
	}
	sig, err := base64.RawURLEncoding.DecodeString(o.Sig)
	if err != nil || o.Nkey != p.public || p.key.Verify(c.GetNonce(), sig) != nil {
		p.net.count.gatesRefused.Add(1)
		p.net.complain("refused a gateway with another secret or cluster name")
		return false
	}
	id, ok := parseGatewayID(o.Name)
	if !ok {
		p.net.complain("refused a gateway whose name is no instance id")
		return false
	}
	c.RegisterUser(p.user(id.String()))
	return true
}

// user is what a gateway may do.
func (p *gatePort) user(name string) *server.User {
	return &server.User{Username: name, Account: p.account, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{gateAsk(p.net.opts.ID, name)}},
		Subscribe: &server.SubjectPermission{Allow: []string{gateInbox(name) + ".>"}},
	}}
}

// accept checks what a gateway says and starts the handler for it.
func (p *gatePort) accept(msg *nats.Msg) {
	n := p.net
	id, ok := parseGatewayID(msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:])
	if !ok || msg.Reply != "" && !strings.HasPrefix(msg.Reply, gateInbox(id.String())+".") {
		n.count.misdirected.Add(1)
		n.complain("dropped what a gateway wants answered elsewhere", "subject", msg.Subject)
		return
	}
	frame, ok := p.seals.open(msg.Data, msg.Subject)
	if !ok {
		n.forged(msg)
		return
	}
	code, body, err := openGateQuestion(frame)
	if err != nil {
		n.count.damaged.Add(1)
		n.complain("dropped what a gateway said", "gateway", id, "error", err)
		return
	}
	if code == codeTell {
		msg.Reply = ""
	}
	p.hand(id, body, msg)
}

func (p *gatePort) hand(id GatewayID, body []byte, msg *nats.Msg) {
	fn := p.handler.Load()
	if fn == nil {
		_ = p.reply(msg, refused, []byte("nobody answers gateways"))
		return
	}
	select {
	case p.serving <- struct{}{}:
	default:
		p.net.count.gateBusy.Add(1)
		_ = p.reply(msg, refused, []byte("busy"))
		return
	}
	p.wg.Go(func() {
		defer func() { <-p.serving }()
		(*fn)(id, body, p.replier(msg))
	})
}

// replier is what a handler answers msg with, once.
func (p *gatePort) replier(msg *nats.Msg) func([]byte) error {
	var done atomic.Bool
	return func(body []byte) error {
		if msg.Reply == "" || done.Swap(true) {
			return nil
		}
		if len(body) > gateBytesMax {
			return errors.Join(fmt.Errorf("%w: answer of %d bytes", ErrTooLarge, len(body)), p.reply(msg, tooLarge, nil))
		}
		return p.reply(msg, answered, body)
	}
}

// reply is best effort: a gateway without an answer knows that it knows nothing.
func (p *gatePort) reply(msg *nats.Msg, s status, body []byte) error {
	if msg.Reply == "" {
		return nil
	}
	answer := p.seals.add(askFrame(byte(s), p.net.opts.ID, body), sealOf(msg.Data))
	if err := p.conn.Publish(msg.Reply, answer); err != nil {
		if p.net.closed.Load() {
			return ErrClosed
		}
		return fmt.Errorf("natsnet: answer to a gateway: %w", err)
	}
	return nil
}

// publish hands pushes to the server, which may make it wait; so it has a
// goroutine of its own.
func (p *gatePort) publish() {
	defer close(p.pushed)
	for {
		select {
		case <-p.stop:
			return
		case m := <-p.pushes:
			p.pushBytes.Add(-int64(len(m.frame)))
			if p.conn.Publish(m.subject, p.seals.add(m.frame, m.subject)) != nil {
				p.net.count.pushesLost.Add(1)
			}
		}
	}
}

// HandleGateways sets who takes up what gateways ask and tell; nil removes him.
// Each call has a goroutine of its own, of which so many may run; beyond that,
// and without a handler, a question is refused, which the asker sees as
// ErrUnreachable. Close waits for those that run. Without Options.Gateways it
// does nothing.
func (n *Net) HandleGateways(fn GatewayHandler) {
	switch {
	case n.gates == nil:
	case fn == nil:
		n.gates.handler.Store(nil)
	default:
		n.gates.handler.Store(&fn)
	}
}

// Push sends body to a gateway, in the order of calls. It never blocks. The
// message may be lost, without a word if the gateway is not connected here.
// Errors: ErrTooLarge, ErrUnreachable (there is no port, or too much waits to be
// sent), ErrClosed. Body is not kept.
func (n *Net) Push(to GatewayID, body []byte) error {
	p := n.gates
	switch {
	case n.closed.Load():
		return ErrClosed
	case p == nil:
		return fmt.Errorf("%w: the port for gateways is closed", ErrUnreachable)
	case len(body) > gateBytesMax:
		return fmt.Errorf("%w: push of %d bytes", ErrTooLarge, len(body))
	}
	m := push{subject: gatePush(to.String()), frame: askFrame(codePush, n.opts.ID, body)}
	size := int64(len(m.frame))
	if p.pushBytes.Add(size) <= pushBytesMax {
		select {
		case p.pushes <- m:
			return nil
		default:
		}
	}
	p.pushBytes.Add(-size)
	n.count.pushesLost.Add(1)
	return fmt.Errorf("%w: too much waits for gateways", ErrUnreachable)
}

// GatewayAddr is where this node listens for gateways; empty: nowhere.
func (n *Net) GatewayAddr() string {
	if n.gates == nil {
		return ""
	}
	return n.gates.front.listener.Addr().String()
}

// close refuses further gateways, waits for the handlers, sends what they said,
// for a moment, and ends the connections.
func (p *gatePort) close() {
	if p.front != nil {
		p.front.close()
	}
	p.handler.Store(nil)
	p.wg.Wait()
	if p.conn != nil {
		close(p.stop)
		<-p.pushed
		_ = p.conn.FlushTimeout(drainWithin)
		p.conn.Close()
	}
	if p.srv == nil {
		return
	}
	down := make(chan struct{})
	go func() {
		defer close(down)
		p.srv.Shutdown()
		p.srv.WaitForShutdown()
	}()
	if p.front != nil {
		p.front.wait() // the server waits for a frozen gateway until front cuts it off
	}
	<-down
}
