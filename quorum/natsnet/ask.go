package natsnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"perch/quorum"
)

// Handler answers one question of a peer. Body must not be changed. An error
// reaches the asker as text. It runs in a goroutine of its own; Close waits
// for it.
type Handler = func(from quorum.NodeID, body []byte) ([]byte, error)

const (
	handlersMax = 512 // that run at once; a question beyond is refused
	askHead     = 6
	askBytesMax = maxPayload - 4<<10
	askWithin   = 10 * time.Second // for a context without a deadline
)

// RemoteError is what the peer's handler returned.
type RemoteError struct {
	Peer quorum.NodeID
	Text string
}

func (e *RemoteError) Error() string { return fmt.Sprintf("natsnet: peer %d: %s", e.Peer, e.Text) }

// status is how a question ended at the peer.
type status uint8

const (
	answered status = iota
	failed          // by its handler; the body is the text
	refused         // never handed to a handler: busy, or there is none
	tooLarge        // the answer does not fit
)

// Ask sends body to the node to and waits for its answer. Errors:
// ErrUnreachable (the question was never taken up), ErrTooLarge, *RemoteError
// (the peer's handler failed), ErrLost, ErrClosed, or that of ctx; after the
// last three it is unknown whether the peer acted. Without a deadline in ctx it
// waits 10 s.
func (n *Net) Ask(ctx context.Context, to quorum.NodeID, kind Kind, body []byte) ([]byte, error) {
	if len(body) > askBytesMax {
		return nil, fmt.Errorf("%w: question of %d bytes", ErrTooLarge, len(body))
	}
	if n.closed.Load() {
		return nil, ErrClosed
	}
	p := n.peer(to)
	if p == nil {
		return nil, fmt.Errorf("%w: %d is no peer", ErrUnreachable, to)
	}
	ctx, done := p.begin(ctx)
	defer done()
	n.count.asked.Add(1)
	subject := n.names.ask(to, kind)
	question := n.seals.add(askFrame(byte(kind), n.opts.ID, body), subject)
	msg, err := n.links[kind.account()].conn.RequestWithContext(ctx, subject, question)
	if err != nil {
		n.count.askFailed.Add(1)
		return nil, askError(ctx, to, err)
	}
	frame, ok := n.seals.open(msg.Data, sealOf(question))
	if !ok {
		n.forged(msg)
		return nil, fmt.Errorf("natsnet: answer of node %d: not sealed with the cluster's secret", to)
	}
	answer, err := openAnswer(to, frame)
	if errors.Is(err, errFrom) || errors.Is(err, errAskFrame) {
		n.count.damaged.Add(1)
	}
	return answer, err
}

// asking is a question under way, known by its address.
type asking struct{ cancel context.CancelCauseFunc }

// begin is the context of a question to p: it ends with ctx, after askWithin if
// ctx has no deadline, with ErrLost when p is lost, and with done.
func (p *peer) begin(ctx context.Context) (_ context.Context, done func()) {
	stop := func() {}
	if _, ok := ctx.Deadline(); !ok {
		ctx, stop = context.WithTimeout(ctx, askWithin)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a := &asking{cancel}
	p.mu.Lock()
	if p.asked == nil {
		p.asked = map[*asking]struct{}{}
	}
	p.asked[a] = struct{}{}
	p.mu.Unlock()
	return ctx, func() {
		p.mu.Lock()
		delete(p.asked, a)
		p.mu.Unlock()
		cancel(nil)
		stop()
	}
}

// lose ends every question to p.
func (p *peer) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a := range p.asked {
		a.cancel(ErrLost)
	}
}

func askError(ctx context.Context, to quorum.NodeID, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), ErrLost):
		return fmt.Errorf("%w: node %d", ErrLost, to)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrReconnectBufExceeded):
		return fmt.Errorf("%w: node %d", ErrUnreachable, to)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: question to node %d", ErrTooLarge, to)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("natsnet: ask node %d: %w", to, err)
}

// openAnswer is what the unsealed answer b of the node to says.
func openAnswer(to quorum.NodeID, b []byte) ([]byte, error) {
	s, from, body, err := openAsk(b)
	if err == nil && from != to {
		err = errFrom
	}
	if err != nil {
		return nil, fmt.Errorf("natsnet: answer of node %d: %w", to, err)
	}
	switch status(s) {
	case answered:
		return body, nil
	case failed:
		return nil, &RemoteError{Peer: to, Text: string(body)}
	case refused:
		return nil, fmt.Errorf("%w: node %d: %s", ErrUnreachable, to, body)
	case tooLarge:
		return nil, fmt.Errorf("%w: answer of node %d", ErrTooLarge, to)
	}
	return nil, fmt.Errorf("natsnet: answer of node %d: status %d", to, s)
}

// Handle sets who answers questions of one kind; nil removes him. Until then
// they are refused, which the asker sees as ErrUnreachable.
func (n *Net) Handle(kind Kind, fn func(from quorum.NodeID, body []byte) ([]byte, error)) {
	if fn == nil {
		n.handlers[kind].Store(nil)
		return
	}
	n.handlers[kind].Store(&fn)
}

// serve starts the handler of a question.
func (l *link) serve(msg *nats.Msg) {
	n := l.net
	frame, ok := n.seals.open(msg.Data, msg.Subject)
	if !ok {
		n.forged(msg)
		return
	}
	k, from, body, err := openAsk(frame)
	if err == nil {
		err = l.checkAsk(Kind(k), msg)
	}
	if err != nil || n.peer(from) == nil {
		n.count.damaged.Add(1)
		n.complain("dropped a question", "subject", msg.Subject, "peer", from, "error", err)
		return
	}
	fn := n.handlers[k].Load()
	if fn == nil {
		n.reply(msg, refused, []byte("nobody answers this kind"))
		return
	}
	select {
	case n.serving <- struct{}{}:
	default:
		n.count.busy.Add(1)
		n.reply(msg, refused, []byte("busy"))
		return
	}
	n.wg.Go(func() {
		defer func() { <-n.serving }()
		n.count.served.Add(1)
		n.respond(msg, *fn, from, body)
	})
}

// checkAsk holds the kind in the frame against the subject and the account.
func (l *link) checkAsk(k Kind, msg *nats.Msg) error {
	if last := msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]; last != strconv.Itoa(int(k)) {
		return errTo
	}
	if k.account() != l.acct {
		return errAccount
	}
	return nil
}

func (n *Net) respond(msg *nats.Msg, fn Handler, from quorum.NodeID, body []byte) {
	answer, err := fn(from, body)
	switch {
	case err != nil:
		n.reply(msg, failed, []byte(err.Error()))
	case len(answer) > askBytesMax:
		n.reply(msg, tooLarge, nil)
	default:
		n.reply(msg, answered, answer)
	}
}

// reply is best effort: an asker without an answer knows that he knows nothing.
func (n *Net) reply(msg *nats.Msg, s status, body []byte) {
	answer := n.seals.add(askFrame(byte(s), n.opts.ID, body), sealOf(msg.Data))
	if err := msg.Respond(answer); err != nil {
		n.complain("answer not sent", "subject", msg.Subject, "error", err)
	}
}

// A question or answer is, before its seal,
//
//	bytes 0-1  "PA"
//	byte  2    version, 1
//	byte  3    kind of a question, status of an answer
//	bytes 4-5  the node that speaks, little endian
//	bytes 6-   body
//
// A question is sealed for its subject, an answer for its question.

func askFrame(code byte, from quorum.NodeID, body []byte) []byte {
	b := make([]byte, askHead, askHead+len(body)+sealBytes)
	b[0], b[1], b[2], b[3] = 'P', 'A', 1, code
	binary.LittleEndian.PutUint16(b[4:], uint16(from))
	return append(b, body...)
}

var errAskFrame = errors.New("no question or answer of a known version")

func openAsk(b []byte) (code byte, from quorum.NodeID, body []byte, err error) {
	if len(b) < askHead || b[0] != 'P' || b[1] != 'A' || b[2] != 1 {
		return 0, 0, nil, errAskFrame
	}
	return b[3], quorum.NodeID(binary.LittleEndian.Uint16(b[4:])), b[askHead:], nil
}
