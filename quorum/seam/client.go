package seam

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
)

// Client is lease.Service for a gateway: it asks nodes elsewhere.
type Client struct {
	link Link
	log  *slog.Logger

	reads      flights[lease.Answer]
	events     flights[lease.EventBatch]
	identities flights[lease.Identity]
	paces      chan struct{} // holds one for each question that is paced

	ids     atomic.Uint64 // of questions
	asking  atomic.Int64  // questions under way
	told    atomic.Uint64 // the floor: highest zxid that anybody was told
	authOff atomic.Bool   // nodes have said so, and none the contrary

	ctx    context.Context // ends with Close; for its goroutines only
	cancel context.CancelFunc
	work   sync.WaitGroup

	drained context.Context // ends with Drain
	drain   context.CancelFunc

	mu        sync.Mutex
	nodes     map[quorum.NodeID]*remote
	cluster   quorum.ClusterID // of the first node; zero before that
	changed   chan struct{}    // closed and replaced when a node may be asked that could not be
	links     uint64           // numbers given to links
	follows   uint64           // ids given to interests
	interests map[interestKey]*interest
	kept      int // bytes of events
	authOn    bool
	closed    bool
}

var _ lease.Service = (*Client)(nil)

// remote is a node as the gateway knows it. The client's mu guards it.
type remote struct {
	id       quorum.NodeID
	beat     time.Time // zero while it is lost
	status   lease.Status
	draining bool
	foreign  bool // of another cluster

	lost context.Context // ends when the node is lost
	lose context.CancelCauseFunc

	link     uint64               // number of the link with it
	life     uint64               // that the node has named in this link; 0: none yet
	seq      uint64               // of the last push with batches
	followed map[uint64]*interest // by id
	unwanted []uint64             // ids that it need not follow any more
}

// errLost is why a question ends whose node is not heard of any more.
var errLost = errors.New("seam: the node is lost")

// The bounds of a gateway.
const (
	askingMax = 65_536 // questions under way
	pacedMax  = 512    // of them, of those that may come in crowds
)

// New is a client of the nodes that link reaches. It asks from now on, until
// Close; link is closed by whoever made it, after that.
func New(link Link, log *slog.Logger) *Client {
	c := &Client{
		link: link, log: log, paces: make(chan struct{}, pacedMax), nodes: make(map[quorum.NodeID]*remote),
		changed: make(chan struct{}), interests: make(map[interestKey]*interest),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.drained, c.drain = context.WithCancel(c.ctx)
	c.reads = flights[lease.Answer]{work: &c.work, ctx: c.ctx}
	c.events = flights[lease.EventBatch]{work: &c.work, ctx: c.ctx}
	c.identities = flights[lease.Identity]{work: &c.work, ctx: c.ctx}
	link.OnPush(c.pushed)
	link.OnChange(c.relink)
	c.work.Go(c.run)
	c.relink()
	return c
}

// Drain ends what waits for its turn in a queue, and tells no node: the place stays
// for a while, and whoever asks again elsewhere finds it (RULES.md R16). What was
// asked in a name that nobody else knows is given back.
func (c *Client) Drain() { c.drain() }

// Close ends what is under way and waits for it. Who waits is told
// lease.ErrShuttingDown.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	for _, in := range c.interests {
		c.finish(in, lease.ErrShuttingDown)
	}
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
}

// run speaks to all nodes, and finds those that are lost.
func (c *Client) run() {
	hello, look := time.NewTicker(helloEvery), time.NewTicker(helloEvery/5)
	defer hello.Stop()
	defer look.Stop()
	for {
		select {
		case <-hello.C:
			c.relink()
			c.tidy()
		case <-look.C:
			c.lookAround()
		case <-c.ctx.Done():
			return
		}
	}
}

// relink looks which nodes are connected, and says hello to them.
func (c *Client) relink() {
	connected := c.link.Nodes()
	c.mu.Lock()
	here := make(map[quorum.NodeID]bool, len(connected))
	numbers := make([]uint64, len(connected))
	for i, id := range connected {
		here[id], numbers[i] = true, c.remote(id).link
	}
	for id, r := range c.nodes {
		if !here[id] {
			c.forsake(r)
			delete(c.nodes, id)
		}
	}
	c.mu.Unlock()
	for i, id := range connected {
		c.tell(id, &seampb.ToNode{Say: &seampb.ToNode_Hello{Hello: &seampb.Hello{Link: numbers[i]}}})
	}
}

// lookAround finds nodes that do not beat any more.
func (c *Client) lookAround() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.nodes {
		if !r.beat.IsZero() && time.Since(r.beat) >= lostAfter {
			c.log.Warn("a node is silent: others are asked", "node", r.id)
			c.forsake(r)
		}
	}
}

// remote is the node id, made when it is not known; the caller holds mu.
func (c *Client) remote(id quorum.NodeID) *remote {
	r := c.nodes[id]
	if r == nil {
		r = &remote{id: id, followed: make(map[uint64]*interest)}
		r.lost, r.lose = context.WithCancelCause(c.ctx)
		c.nodes[id] = r
		c.renumber(r)
	}
	return r
}

// forsake ends everything with a node that is lost; the caller holds mu.
func (c *Client) forsake(r *remote) {
	r.lose(errLost)
	r.lost, r.lose = context.WithCancelCause(c.ctx)
	r.beat = time.Time{}
	c.renumber(r)
}

// renumber begins a new link: what was pushed in the one before counts no more,
// and its interests are followed anew; the caller holds mu.
func (c *Client) renumber(r *remote) {
	c.links++
	r.link, r.life, r.seq, r.unwanted = c.links, 0, 0, nil
	for id, in := range r.followed {
		delete(r.followed, id)
		c.refollow(in)
	}
}

// healthy says whether a node may be asked; the caller holds mu.
func (c *Client) healthy(r *remote) bool {
	return r != nil && !r.beat.IsZero() && time.Since(r.beat) < lostAfter && !r.foreign && !r.draining &&
		!r.status.Soft.Outside && r.status.Soft.Doubt == quorum.DoubtNone
}

// pick is the nearest node that may be asked, but for those to be avoided; only
// that one, if only names one. One that has no leader is taken when all have none. nil: there is none; then
// changed is closed when there may be one.
func (c *Client) pick(only quorum.NodeID, avoid map[quorum.NodeID]bool) (r *remote, lost context.Context, changed <-chan struct{}) {
	near := c.link.Nodes()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range near {
		at := c.nodes[id]
		if only != 0 && id != only || avoid[id] || !c.healthy(at) || r != nil && !at.status.Ready {
			continue
		}
		if r = at; at.status.Ready {
			break
		}
	}
	if r != nil {
		lost = r.lost
	}
	return r, lost, c.changed
}

// pinned is the cluster that the gateway belongs to.
func (c *Client) pinned() quorum.ClusterID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cluster
}

// tell sends what needs no answer.
func (c *Client) tell(to quorum.NodeID, m *seampb.ToNode) {
	cluster := c.pinned()
	m.Cluster = cluster[:]
	body, err := proto.Marshal(m)
	if err == nil {
		err = c.link.Tell(to, body)
	}
	if err != nil {
		c.log.Debug("a word to a node was lost", "node", to, "error", err)
	}
}

// pushed takes what a node pushes.
func (c *Client) pushed(from quorum.NodeID, body []byte) {
	in := new(seampb.ToGateway)
	if proto.Unmarshal(body, in) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.nodes[from]
	if r == nil {
		return // not connected any more, or not known yet: it beats again
	}
	if b := in.GetBeat(); b != nil && !c.heard(r, b) {
		return
	}
	c.advance(r, in)
}

// heard takes a beat of a node; false when it is of another cluster. The caller
// holds mu.
func (c *Client) heard(r *remote, b *seampb.Beat) bool {
	status := fromStatus(b.GetStatus())
	if c.cluster == (quorum.ClusterID{}) {
		c.cluster = status.Cluster
	}
	foreign := status.Cluster != c.cluster
	if foreign && !r.foreign && status.Cluster != (quorum.ClusterID{}) {
		c.log.Error("a node of another cluster is not asked: take its address off the list of nodes, or restart this gateway if the cluster was restored",
			"node", r.id, "its cluster", hex.EncodeToString(status.Cluster[:]), "cluster", hex.EncodeToString(c.cluster[:]))
	}
	could := c.healthy(r) && r.status.Ready
	r.beat, r.status, r.foreign, r.draining = time.Now(), status, foreign, b.GetDraining()
	if !foreign {
		c.authOn = c.authOn || b.GetAuth() // for good; a node that is behind does not know it yet
		c.authOff.Store(!c.authOn)
	}
	if !could && c.healthy(r) {
		close(c.changed)
		c.changed = make(chan struct{})
	}
	if r.draining && len(r.followed) > 0 {
		c.renumber(r) // its interests go elsewhere before it stops
	}
	return !foreign
}

// raise moves the floor.
func (c *Client) raise(z quorum.Zxid) {
	for {
		now := c.told.Load()
		if uint64(z) <= now || c.told.CompareAndSwap(now, uint64(z)) {
			return
		}
	}
}

// Status implements lease.Service: that of the nearest node, as it was at its
// last beat.
func (c *Client) Status() lease.Status {
	near := c.link.Nodes()
	c.mu.Lock()
	defer c.mu.Unlock()
	var last lease.Status
	why := "no node answers"
	for _, id := range near {
		r := c.nodes[id]
		if r != nil && r.foreign {
			why = "the nodes that answer are of another cluster; restart this gateway if the cluster was restored"
		}
		if c.healthy(r) && r.status.Ready {
			return r.status
		}
		if r != nil && last.Node == 0 && !r.foreign {
			last = r.status
		}
	}
	if last.Ready || last.NotReady == "" {
		last.Ready, last.NotReady = false, why
	}
	if last.Cluster == (quorum.ClusterID{}) {
		last.Cluster = c.cluster
	}
	return last
}

// Auth implements lease.Service. Before a node has told, it is on.
func (c *Client) Auth() bool { return !c.authOff.Load() }
