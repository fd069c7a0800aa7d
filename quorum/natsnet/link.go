package natsnet

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"perch/quorum"
	"perch/quorum/wire"
)

const (
	queueMax      = 8192     // messages that wait for the server, per account
	queueBytesMax = 64 << 20 // and their bytes; the window in the core is 16 MiB
	arrivedMax    = 8192     // messages between the client and its reader
	frameBytes    = 4 << 10  // capacity of a new frame buffer
	frameKept     = 128 << 10
)

// link is this node's client in one account: a queue and a goroutine that
// publishes, a channel and a goroutine that receives.
type link struct {
	net  *Net
	acct account
	conn *nats.Conn
	in   chan *nats.Msg // all subscriptions feed it, which keeps their order
	own  *nats.Subscription
	all  *nats.Subscription
	asks *nats.Subscription

	wake chan struct{}
	done chan struct{} // closed when the publishing goroutine has ended

	mu     sync.Mutex
	queue  []outgoing
	bytes  int
	closed bool
}

// outgoing is an encoded message on its way to the server.
type outgoing struct {
	subject string
	frame   *[]byte
	typ     quorum.MsgType
	to      quorum.NodeID
}

// frames holds buffers for reuse: the client copies what it publishes.
var frames = sync.Pool{New: func() any { b := make([]byte, 0, frameBytes); return &b }}

func newLink(n *Net, a account, key string) (*link, error) {
	l := &link{
		net: n, acct: a, in: make(chan *nats.Msg, arrivedMax),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	conn, err := nats.Connect("",
		nats.InProcessServer(n.srv), nats.UserInfo(accountNames[a], key), nats.Name(accountNames[a]),
		nats.NoEcho(), nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond), nats.ReconnectJitter(0, 0),
		// What is published while the connection is away fails at once: it must
		// not come out later, when its sender has long given up.
		nats.ReconnectBufSize(-1),
		nats.Timeout(writeWithin), nats.FlusherTimeout(writeWithin),
		nats.ErrorHandler(l.asyncError), nats.DisconnectErrHandler(l.disconnected),
		nats.NoCallbacksAfterClientClose())
	if err != nil {
		return nil, fmt.Errorf("natsnet: log in to the own server: %w", err)
	}
	l.conn = conn
	if err := l.subscribe(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("natsnet: subscribe: %w", err)
	}
	n.wg.Go(l.publish)
	return l, nil
}

func (l *link) subscribe() (err error) {
	names := &l.net.names
	if l.own, err = l.conn.ChanSubscribe(names.to(l.acct, l.net.opts.ID), l.in); err != nil {
		return err
	}
	if l.all, err = l.conn.ChanSubscribe(names.all+"*", l.in); err != nil {
		return err
	}
	if l.asks, err = l.conn.ChanSubscribe(names.own+".ask.*", l.in); err != nil {
		return err
	}
	return l.conn.FlushTimeout(writeWithin)
}

func (l *link) asyncError(_ *nats.Conn, _ *nats.Subscription, err error) {
	l.net.complain("client of the own server", "account", accountNames[l.acct], "error", err)
}

func (l *link) disconnected(_ *nats.Conn, err error) {
	l.net.count.reconnects.Add(1)
	l.net.complain("client of the own server was cut off", "account", accountNames[l.acct], "error", err)
}

// Send hands m to the network and returns at once. A message to all (To 0) is
// published once. A message that fits into no queue, or is larger than
// wire.MaxFrame, is dropped and counted. m is not kept.
func (n *Net) Send(m *quorum.Message) {
	if int(m.Type) >= len(accountOf) || n.closed.Load() {
		n.count.dropOut(m.Type)
		return
	}
	n.links[accountOf[m.Type]].push(m)
	if heartbeat(m.Type) {
		n.links[bulk].push(m)
	}
}

func (l *link) push(m *quorum.Message) {
	f := frames.Get().(*[]byte)
	*f = wire.Append((*f)[:0], m)
	if len(*f) > wire.MaxFrame {
		l.net.complain("message too large for the network", "type", m.Type, "bytes", len(*f))
		l.drop(m.Type, f)
		return
	}
	o := outgoing{subject: l.net.names.to(l.acct, m.To), frame: f, typ: m.Type, to: m.To}
	if !l.enqueue(o) {
		l.drop(m.Type, f)
	}
}

func (l *link) drop(t quorum.MsgType, f *[]byte) {
	l.net.count.dropOut(t)
	recycle(f)
}

func recycle(f *[]byte) {
	if cap(*f) <= frameKept {
		frames.Put(f)
	}
}

func (l *link) enqueue(o outgoing) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.queue) >= queueMax || l.bytes+len(*o.frame) > queueBytesMax {
		return false
	}
	l.queue = append(l.queue, o)
	l.bytes += len(*o.frame)
	signal(l.wake)
	return true
}

// publish hands the queue to the own server, which may make it wait; so it has
// a goroutine of its own. When the queue is closed it sends the rest and ends.
func (l *link) publish() {
	defer close(l.done)
	var spare []outgoing
	for {
		batch, closed := l.take(spare)
		if len(batch) == 0 && closed {
			_ = l.conn.FlushTimeout(drainWithin)
			return
		}
		for i := range batch {
			l.publishOne(&batch[i])
		}
		spare = batch
		if len(batch) == 0 {
			<-l.wake
		}
	}
}

// take returns everything queued and leaves spare in its place.
func (l *link) take(spare []outgoing) (batch []outgoing, closed bool) {
	clear(spare)
	l.mu.Lock()
	defer l.mu.Unlock()
	batch, l.queue = l.queue, spare[:0]
	return batch, l.closed
}

func (l *link) publishOne(o *outgoing) {
	size := len(*o.frame)
	*o.frame = l.net.seals.add(*o.frame, o.subject)
	if err := l.conn.Publish(o.subject, *o.frame); err != nil {
		l.net.count.dropOut(o.typ)
	} else {
		l.net.count.sent(o.typ, size)
	}
	recycle(o.frame)
	l.mu.Lock()
	l.bytes -= size
	l.mu.Unlock()
}

// closeQueue refuses further messages; publish ends after those queued.
func (l *link) closeQueue() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	signal(l.wake)
}

// receive checks what arrives and puts it into the inbox or to a handler. It
// never blocks, so that the bounds that count are those of the inbox.
func (l *link) receive() {
	for {
		select {
		case <-l.net.stop:
			return
		case msg := <-l.in:
			if msg.Sub == l.asks {
				l.serve(msg)
			} else {
				l.accept(msg)
			}
		}
	}
}

func (l *link) accept(msg *nats.Msg) {
	n := l.net
	frame, ok := n.seals.open(msg.Data, msg.Subject)
	if !ok {
		n.forged(msg)
		return
	}
	m, err := wire.Decode(frame)
	if err != nil {
		n.count.damaged.Add(1)
		n.complain("dropped a frame", "subject", msg.Subject, "bytes", len(frame), "error", err)
		return
	}
	p := n.peer(m.From)
	if p == nil && m.Type == quorum.MsgNotify && m.From != n.opts.ID {
		p = new(peer) // the core may learn from it who the members are
	}
	if p == nil {
		n.count.strangers.Add(1)
		n.complain("dropped a message of a node that is no peer", "type", m.Type, "peer", m.From)
		return
	}
	if err := l.check(&m, msg); err != nil {
		n.count.misdirected.Add(1)
		n.complain("dropped a message", "type", m.Type, "peer", m.From, "error", err)
		return
	}
	now := time.Now().UnixNano()
	p.heard[l.acct].Store(now)
	if l.acct == bulk && heartbeat(m.Type) && now-p.heard[control].Load() < int64(spareAfter) {
		n.count.spare.Add(1)
		return
	}
	size := len(frame)
	p.received.Add(1)
	p.bytes.Add(uint64(size))
	n.count.received(m.Type, size)
	if !n.in.put(&m, size) {
		n.count.dropIn(m.Type)
		p.dropped.Add(1)
	}
}

// forged counts a frame that no holder of the secret made for this subject.
func (n *Net) forged(msg *nats.Msg) {
	n.count.forged.Add(1)
	n.complain("dropped a frame that is not sealed with the cluster's secret", "subject", msg.Subject, "bytes", len(msg.Data))
}

// spareAfter is how long control must have been silent before the second copy
// of a heartbeat, which came over bulk, counts. While control works the copy
// must not: it would overtake the proposals that it speaks of.
const spareAfter = 80 * time.Millisecond

var (
	errAccount = errors.New("came over another account than its type does")
	errTo      = errors.New("is for another node")
	errFrom    = errors.New("came from another node than it says")
)

// check holds the envelope against the way that the message came.
func (l *link) check(m *quorum.Message, msg *nats.Msg) error {
	if accountOf[m.Type] != l.acct && !(heartbeat(m.Type) && l.acct == bulk) {
		return errAccount
	}
	if msg.Sub == l.own {
		if m.To != l.net.opts.ID {
			return errTo
		}
		return nil
	}
	if m.To != 0 {
		return errTo
	}
	if from, ok := l.net.names.sender(msg.Subject); !ok || from != m.From {
		return errFrom
	}
	return nil
}

// signal wakes the one that waits on c, or the next that will.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// complain logs a warning, a few times a second at most.
func (n *Net) complain(text string, args ...any) {
	if ok, missed := n.warn.allow(time.Now()); ok {
		n.log.Warn("natsnet: "+text, append(args, "suppressed", missed)...)
	}
}
