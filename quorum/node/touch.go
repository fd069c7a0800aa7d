package node

import (
	"context"
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

// touches brings renewals from this node to the leader. One question is in
// flight at a time; what comes in meanwhile goes with the next, so that a touch
// which somebody waits for leaves at once when nothing is in flight.
type touches struct {
	node *Node

	mu     sync.Mutex
	flying bool
	next   *touchBatch
	later  map[quorum.Zxid]struct{} // best effort
}

// touchBatch is one question. Everything below done is written before done is
// closed.
type touchBatch struct {
	began time.Time
	ids   []quorum.Zxid
	index map[quorum.Zxid]int
	done  chan struct{}

	sent    time.Time // of the attempt that was answered
	zxid    quorum.Zxid
	touched []*nodepb.Touched
	err     error
}

func newTouches(n *Node) *touches {
	return &touches{node: n, later: make(map[quorum.Zxid]struct{})}
}

// join adds a session to the next question and sends it when none is in flight.
func (t *touches) join(id quorum.Zxid) *touchBatch {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.next
	if b == nil || len(b.ids) >= touchIDs {
		b = &touchBatch{began: time.Now(), index: make(map[quorum.Zxid]int), done: make(chan struct{})}
	}
	if _, ok := b.index[id]; !ok {
		b.index[id] = len(b.ids)
		b.ids = append(b.ids, id)
	}
	if t.flying {
		t.next = b
		return b
	}
	t.flying = true
	t.node.spawn(func(ctx context.Context) { t.fly(ctx, b) })
	return b
}

// fly asks b and whatever gathered meanwhile, until nothing is left.
func (t *touches) fly(ctx context.Context, b *touchBatch) {
	for b != nil {
		b.err = t.deliver(ctx, b)
		close(b.done)
		t.mu.Lock()
		b, t.next = t.next, nil
		t.flying = b != nil
		t.mu.Unlock()
	}
}

// deliver asks until a leader has confirmed, at most for leaderPatience.
func (t *touches) deliver(ctx context.Context, b *touchBatch) error {
	ctx, cancel := context.WithDeadline(ctx, b.began.Add(leaderPatience))
	defer cancel()
	for {
		turned := t.node.turns.wait()
		soft := t.node.Soft()
		if soft.Established && soft.Leader != 0 {
			b.sent = time.Now()
			answer, err := t.ask(ctx, turned, soft, b.ids, true)
			if err == nil && !answer.GetNotLeader() && len(answer.GetTouched()) == len(b.ids) {
				b.zxid, b.touched = quorum.Zxid(answer.GetZxid()), answer.GetTouched()
				return nil
			}
		}
		if !pause(ctx, turned, touchRetry) {
			return lease.ErrNoLeader
		}
	}
}

// ask puts one question to the leader of soft. It gives up when the leadership
// turns.
func (t *touches) ask(ctx context.Context, turned <-chan struct{}, soft quorum.Soft, ids []quorum.Zxid, confirm bool) (*nodepb.TouchAnswer, error) {
	req := &nodepb.TouchRequest{Epoch: uint32(soft.Epoch), Confirm: confirm, Ids: make([]uint64, len(ids))}
	for i, id := range ids {
		req.Ids[i] = uint64(id)
	}
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
	ids := make([]quorum.Zxid, 0, len(t.later))
	for id := range t.later {
		ids = append(ids, id)
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
		if _, err := t.ask(ctx, t.node.turns.wait(), soft, ids[:n], false); err != nil {
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
	b := n.touches.join(id)
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
	return b.held(id)
}

// held is what the leader said of one session. The leader has counted the TTL
// from no earlier than the sending of the question, so counting from there
// promises no more than it keeps.
func (b *touchBatch) held(id quorum.Zxid) (lease.Held, error) {
	at := b.touched[b.index[id]]
	if !at.GetAlive() {
		return lease.Held{Zxid: b.zxid}, tree.ErrSessionExpired
	}
	ttl := time.Duration(at.GetTtlMs()) * time.Millisecond
	return lease.Held{
		Info:      lease.Info{ID: id, TTL: ttl, Ephemerals: int(at.GetEphemerals())},
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
