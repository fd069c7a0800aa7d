package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/tree"
)

const (
	gatherTouches = 40 * time.Millisecond // best-effort touches only (R12)
	touchRetry    = 20 * time.Millisecond // pause after an attempt that the same leader failed
	touchIDs      = 4096                  // in one question
)

// touches brings renewals from this node to the leader.
type touches struct {
	node *Node

	rounds lane // acknowledged by a quorum round
	quick  lane // acknowledged by the commit of a grant

	mu    sync.Mutex
	later map[quorum.Zxid]struct{} // best effort
}

// lane has one question in flight at a time; what comes in meanwhile goes with
// the next, so that a touch which somebody waits for leaves at once when nothing
// is in flight.
type lane struct {
	mu     sync.Mutex
	flying bool
	next   *touchBatch
}

// renewal is what a touch concerns: a session, and the grant that it confirms.
type renewal struct {
	session quorum.Zxid
	grant   grantRef
}

// grantRef names a grant of a hold; the zero one none.
type grantRef struct {
	place quorum.Zxid // 0: not known
	token quorum.Zxid
	zxid  quorum.Zxid // the transaction that granted it
}

// touchBatch is one question. Everything below done is written before done is
// closed.
type touchBatch struct {
	quick bool
	began time.Time
	asked []renewal
	index map[renewal]int
	done  chan struct{}

	sent    time.Time // of the attempt that was answered
	zxid    quorum.Zxid
	touched []*nodepb.Touched
	err     error
}

func newBatch(quick bool) *touchBatch {
	return &touchBatch{quick: quick, began: time.Now(), index: make(map[renewal]int), done: make(chan struct{})}
}

func (b *touchBatch) add(r renewal) {
	if _, ok := b.index[r]; !ok {
		b.index[r] = len(b.asked)
		b.asked = append(b.asked, r)
	}
}

func newTouches(n *Node) *touches {
	return &touches{node: n, later: make(map[quorum.Zxid]struct{})}
}

// join adds a renewal to the next question of a lane and sends it when none is
// in flight.
func (t *touches) join(l *lane, r renewal) *touchBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.next
	if b == nil || len(b.asked) >= touchIDs {
		b = newBatch(l == &t.quick)
	}
	b.add(r)
	if l.flying {
		l.next = b
		return b
	}
	l.flying = true
	t.node.spawn(func(ctx context.Context) { t.fly(ctx, l, b) })
	return b
}

// fly asks b and whatever gathered meanwhile, until nothing is left.
func (t *touches) fly(ctx context.Context, l *lane, b *touchBatch) {
	for b != nil {
		b.err = t.deliver(ctx, b)
		close(b.done)
		l.mu.Lock()
		b, l.next = l.next, nil
		l.flying = b != nil
		l.mu.Unlock()
	}
}

// deliver asks until a leader has confirmed, at most for leaderPatience; once
// only when it is to be quick, since a round does it too.
func (t *touches) deliver(ctx context.Context, b *touchBatch) error {
	ctx, cancel := context.WithDeadline(ctx, b.began.Add(leaderPatience))
	defer cancel()
	for {
		turned := t.node.turns.wait()
		soft := t.node.Soft()
		if soft.Established && soft.Leader != 0 {
			b.sent = time.Now()
			answer, err := t.ask(ctx, turned, soft, b.request(soft.Epoch))
			if err == nil && !answer.GetNotLeader() && len(answer.GetTouched()) == len(b.asked) {
				b.zxid, b.touched = quorum.Zxid(answer.GetZxid()), answer.GetTouched()
				return nil
			}
		}
		if b.quick || !pause(ctx, turned, touchRetry) {
			return lease.ErrNoLeader
		}
	}
}

// request is the question of b to the leader of an epoch.
func (b *touchBatch) request(epoch quorum.Epoch) *nodepb.TouchRequest {
	req := &nodepb.TouchRequest{Epoch: uint32(epoch), Confirm: !b.quick, Quick: b.quick, Ids: make([]uint64, len(b.asked))}
	granted := false
	for i, r := range b.asked {
		req.Ids[i] = uint64(r.session)
		granted = granted || r.grant.token != 0
	}
	if !granted {
		return req
	}
	req.Grants = make([]*nodepb.Grant, len(b.asked))
	for i, r := range b.asked {
		req.Grants[i] = &nodepb.Grant{Place: uint64(r.grant.place), Token: uint64(r.grant.token), Zxid: uint64(r.grant.zxid)}
	}
	return req
}

// ask puts one question to the leader of soft. It gives up when the leadership
// turns.
func (t *touches) ask(ctx context.Context, turned <-chan struct{}, soft quorum.Soft, req *nodepb.TouchRequest) (*nodepb.TouchAnswer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := cancelOn(turned, ctx, cancel)
	defer stop()
	if soft.Leader == t.node.cfg.ID {
		return t.node.keeper.touch(ctx, req), nil
	}
	body, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	raw, err := t.node.net.Ask(ctx, soft.Leader, natsnet.KindTouch, body)
	if err != nil {
		return nil, err
	}
	answer := new(nodepb.TouchAnswer)
	return answer, proto.Unmarshal(raw, answer)
}

// serveTouch answers the question of another node.
func (n *Node) serveTouch(_ quorum.NodeID, body []byte) ([]byte, error) {
	req := new(nodepb.TouchRequest)
	if err := proto.Unmarshal(body, req); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(n.ctx, leaderPatience)
	defer cancel()
	return proto.Marshal(n.keeper.touch(ctx, req))
}

// gather notes a best-effort touch; the first one sets the clock.
func (t *touches) gather(id quorum.Zxid) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.later) == 0 {
		time.AfterFunc(gatherTouches, func() { t.node.spawn(t.flush) })
	}
	t.later[id] = struct{}{}
}

// flush sends the gathered touches once, whatever comes of it.
func (t *touches) flush(ctx context.Context) {
	t.mu.Lock()
	ids := make([]uint64, 0, len(t.later))
	for id := range t.later {
		ids = append(ids, uint64(id))
	}
	clear(t.later)
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	soft := t.node.Soft()
	if !soft.Established || soft.Leader == 0 {
		return
	}
	for len(ids) > 0 {
		n := min(len(ids), touchIDs)
		req := &nodepb.TouchRequest{Epoch: uint32(soft.Epoch), Ids: ids[:n]}
		if _, err := t.ask(ctx, t.node.turns.wait(), soft, req); err != nil {
			return
		}
		ids = ids[n:]
	}
}

// Touch implements lease.Service.
func (n *Node) Touch(ctx context.Context, caller *commandpb.Caller, token string, ttl time.Duration) (lease.Held, error) {
	if n.draining() {
		return lease.Held{}, lease.ErrShuttingDown
	}
	if err := n.inDoubt(); err != nil {
		return lease.Held{}, err
	}
	view, info, err := n.sessionAt(ctx, n.view(), caller, token)
	if err != nil {
		return lease.Held{Zxid: view.Zxid()}, err
	}
	if ttl != 0 && ttl != info.TTL {
		if z, err := n.setTTL(ctx, caller, token, ttl); err != nil {
			return lease.Held{Zxid: z}, err
		}
	}
	held, err := n.hold(ctx, info.ID)
	held.Principal = info.Principal
	return held, err
}

// hold renews a session and waits until that is acknowledged.
func (n *Node) hold(ctx context.Context, id quorum.Zxid) (lease.Held, error) {
	return n.renew(ctx, &n.touches.rounds, renewal{session: id})
}

// renew has the leader acknowledge a renewal in a lane. A grant that it names and
// that has ended is tree.ErrHoldLost.
func (n *Node) renew(ctx context.Context, l *lane, r renewal) (lease.Held, error) {
	b := n.touches.join(l, r)
	select {
	case <-b.done:
	case <-ctx.Done():
		return lease.Held{}, ctx.Err()
	case <-n.ctx.Done():
		return lease.Held{}, lease.ErrShuttingDown
	}
	if b.err != nil {
		return lease.Held{}, b.err
	}
	return b.held(r)
}

// renewQuick has the leader acknowledge the renewal of a grant by its commit; a
// leader in this process by a call.
func (n *Node) renewQuick(ctx context.Context, r renewal) (lease.Held, error) {
	if n.Soft().Leader != n.cfg.ID {
		return n.renew(ctx, &n.touches.quick, r)
	}
	b := newBatch(true)
	b.add(r)
	if err := n.touches.deliver(ctx, b); err != nil {
		return lease.Held{}, err
	}
	return b.held(r)
}

// errRound says that only a quorum round can acknowledge a renewal.
var errRound = errors.New("a quorum round is needed")

// held is what the leader said of one renewal. The leader has counted the TTL
// from no earlier than the sending of the question, so counting from there
// promises no more than it keeps.
func (b *touchBatch) held(r renewal) (lease.Held, error) {
	at := b.touched[b.index[r]]
	switch {
	case at.GetRound():
		return lease.Held{}, errRound
	case !at.GetAlive():
		return lease.Held{Zxid: b.zxid}, tree.ErrSessionExpired
	case at.GetLost():
		return lease.Held{Zxid: b.zxid}, tree.ErrHoldLost
	}
	ttl := time.Duration(at.GetTtlMs()) * time.Millisecond
	return lease.Held{
		Info:      lease.Info{ID: r.session, TTL: ttl, Ephemerals: int(at.GetEphemerals())},
		Remaining: max(0, ttl-time.Since(b.sent)),
		Zxid:      b.zxid,
	}, nil
}

// setTTL commits another TTL before the touch that is to use it, and says where.
func (n *Node) setTTL(ctx context.Context, caller *commandpb.Caller, token string, ttl time.Duration) (quorum.Zxid, error) {
	res, err := n.Write(ctx, &commandpb.Command{
		Caller: caller,
		Op:     &commandpb.Command_SetTtl{SetTtl: &commandpb.SetTtl{TtlMs: uint64(ttl.Milliseconds())}},
	}, token)
	if err == nil && res.Code != tree.OK {
		err = res.Code
	}
	return res.Zxid, err
}

// TouchLater implements lease.Service.
func (n *Node) TouchLater(caller *commandpb.Caller, token string) {
	if n.draining() || n.inDoubt() != nil {
		return
	}
	if info, known := n.known(n.view(), caller.GetPrincipal(), token); known == lease.KnownAlive {
		n.touches.gather(info.ID)
	}
}
