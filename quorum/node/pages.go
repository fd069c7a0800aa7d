package node

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/seam"
	"perch/tree"
)

// pagePatience bounds a question to the node that pins a page.
const pagePatience = 2 * time.Second

// pages pins the states that unfinished lists are read from. A state is pinned
// once however many lists use it, until nobody has asked for lifetime.
type pages struct {
	node     quorum.NodeID
	cluster  func() quorum.ClusterID
	key      []byte
	lifetime time.Duration
	limit    int

	mu   sync.Mutex
	pins map[quorum.Zxid]*pin
}

type pin struct {
	view *lease.View
	used time.Time
}

const (
	pageLifetime = 60 * time.Second
	pageTagBytes = 8
)

func newPages(cfg Config, cluster func() quorum.ClusterID) *pages {
	key := sha256.Sum256(append([]byte("page token\x00"), cfg.Secret...))
	return &pages{
		node: cfg.ID, cluster: cluster, key: key[:], lifetime: pageLifetime, limit: cfg.Pins,
		pins: make(map[quorum.Zxid]*pin),
	}
}

// pin keeps view and returns the token of the page that follows.
func (p *pages) pin(view *lease.View, q lease.Read, at lease.Cursor) string {
	p.keep(view)
	return p.seal(&nodepb.PageToken{
		Node: uint32(p.node), Zxid: uint64(view.Zxid()), Kind: uint32(q.Kind), Path: q.Path,
		After: at.Name, AfterId: uint64(at.ID), Principal: q.Caller.GetPrincipal(), Depth: uint32(q.Depth),
		Name: q.Name, Of: q.Of,
	})
}

// keep pins view. When too many states are pinned the one longest unused goes:
// its lists start over.
func (p *pages) keep(view *lease.View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.expire(now)
	if at := p.pins[view.Zxid()]; at != nil {
		at.used = now
		return
	}
	if len(p.pins) >= p.limit {
		var oldest quorum.Zxid
		for z, at := range p.pins {
			if o := p.pins[oldest]; o == nil || at.used.Before(o.used) {
				oldest = z
			}
		}
		delete(p.pins, oldest)
	}
	p.pins[view.Zxid()] = &pin{view: view, used: now}
}

// use returns a pinned state; nil when it is gone.
func (p *pages) use(z quorum.Zxid) *lease.View {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.expire(now)
	at := p.pins[z]
	if at == nil {
		return nil
	}
	at.used = now
	return at.view
}

// expire unpins what was not used for lifetime; the caller holds mu.
func (p *pages) expire(now time.Time) {
	for z, at := range p.pins {
		if now.Sub(at.used) >= p.lifetime {
			delete(p.pins, z)
		}
	}
}

// sweep unpins what is due; without it a state would stay pinned until the next
// page is asked for.
func (p *pages) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(time.Now())
}

// seal makes t opaque. The tag only keeps a mangled token from being taken for
// another; a page shows nothing that its reader may not read.
func (p *pages) seal(t *nodepb.PageToken) string {
	id := p.cluster()
	t.Cluster = id[:]
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(t)
	if err != nil {
		return "" // only a path that is not UTF-8, and such a path is no node's
	}
	return base64.RawURLEncoding.EncodeToString(append(p.tag(body), body...))
}

func (p *pages) tag(body []byte) []byte {
	mac := hmac.New(sha256.New, p.key)
	_, _ = mac.Write(body)
	return mac.Sum(nil)[:pageTagBytes:pageTagBytes]
}

// open reads a token of any node of this cluster. Total: false for everything
// else; with what the token says if another cluster made it under this secret.
func (p *pages) open(token string) (*nodepb.PageToken, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < pageTagBytes {
		return nil, false
	}
	tag, body := raw[:pageTagBytes], raw[pageTagBytes:]
	if !hmac.Equal(tag, p.tag(body)) {
		return nil, false
	}
	t := new(nodepb.PageToken)
	if err := proto.Unmarshal(body, t); err != nil {
		return nil, false
	}
	id := p.cluster()
	return t, string(t.GetCluster()) == string(id[:])
}

// readPage continues a list where its state is pinned. A list that is older than
// the caller demands has to start over.
func (n *Node) readPage(ctx context.Context, q lease.Read) (lease.Answer, error) {
	t, ok := n.pages.open(q.PageToken)
	if !ok && n.view().InGap(quorum.Zxid(t.GetZxid())) {
		return lease.Answer{Zxid: n.positions.now()}, tree.ErrHistoryLost
	}
	if !ok || quorum.Zxid(t.GetZxid()) == 0 || !continues(t, q) || quorum.Zxid(t.GetZxid()) < q.At.Floor {
		return lease.Answer{Zxid: n.positions.now()}, lease.ErrPageExpired
	}
	if q.Token != "" {
		if view, _, err := n.sessionAt(ctx, n.view(), q.Caller, q.Token); err != nil {
			return lease.Answer{Zxid: view.Zxid()}, err
		}
	}
	if quorum.NodeID(t.GetNode()) == n.cfg.ID {
		return n.pinnedPage(ctx, q, t)
	}
	if n.net == nil {
		return lease.Answer{Zxid: n.positions.now()}, lease.ErrPageExpired
	}
	return n.distantPage(ctx, q, quorum.NodeID(t.GetNode()))
}

// continues says whether t is a page of the list that q asks for.
func continues(t *nodepb.PageToken, q lease.Read) bool {
	return lease.ReadKind(t.GetKind()) == q.Kind && t.GetPath() == q.Path && t.GetPrincipal() == q.Caller.GetPrincipal() &&
		t.GetOf() == q.Of && t.GetName() == q.Name &&
		(q.Depth == 0 || int(t.GetDepth()) == q.Depth)
}

// pinnedPage answers from a state pinned here. The page is of the past; who may
// see what of it is decided now, at a linearizable position if this node does not
// know the caller yet.
func (n *Node) pinnedPage(ctx context.Context, q lease.Read, t *nodepb.PageToken) (lease.Answer, error) {
	view := n.pages.use(quorum.Zxid(t.GetZxid()))
	if view == nil || n.inDoubt() != nil {
		return lease.Answer{Zxid: n.positions.now()}, lease.ErrPageExpired
	}
	now := n.view()
	if now.Access(q.Caller, wall()) != tree.OK {
		fresh, err := n.linearizable(ctx)
		if err != nil {
			return lease.Answer{Zxid: n.positions.now()}, err
		}
		now = fresh
	}
	q.Depth = int(t.GetDepth())
	return n.evaluate(view, now, q, lease.Cursor{Name: t.GetAfter(), ID: quorum.Zxid(t.GetAfterId())})
}

// distantPage has the node that pins the state answer. One that cannot be
// reached counts as one that has forgotten: the list starts over.
func (n *Node) distantPage(ctx context.Context, q lease.Read, to quorum.NodeID) (lease.Answer, error) {
	gone := lease.Answer{Zxid: n.positions.now()}
	body, err := seam.MarshalRead(&q)
	if err != nil {
		return gone, lease.ErrPageExpired
	}
	wait, cancel := context.WithTimeout(ctx, pagePatience)
	defer cancel()
	raw, err := n.net.Ask(wait, to, natsnet.KindPage, body)
	if err != nil {
		if ctx.Err() != nil {
			return gone, ctx.Err()
		}
		return gone, lease.ErrPageExpired
	}
	answer, err, ok := seam.UnmarshalAnswer(raw)
	if !ok {
		return gone, lease.ErrPageExpired
	}
	return answer, err
}

// servePage answers distantPage of another node.
func (n *Node) servePage(_ quorum.NodeID, body []byte) ([]byte, error) {
	q, err := seam.UnmarshalRead(body)
	if err != nil {
		return nil, err
	}
	t, ok := n.pages.open(q.PageToken)
	if !ok || quorum.NodeID(t.GetNode()) != n.cfg.ID || !continues(t, q) {
		return seam.MarshalAnswer(&lease.Answer{Zxid: n.positions.now()}, lease.ErrPageExpired)
	}
	ctx, cancel := context.WithTimeout(n.ctx, pagePatience)
	defer cancel()
	answer, err := n.pinnedPage(ctx, q, t)
	return seam.MarshalAnswer(&answer, err)
}
