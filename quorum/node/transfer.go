package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/snap"
)

const (
	chunkBytes   = 48 << 10 // larger ones delay pings and move no faster (NATS.md 10)
	chunkWindow  = 8        // questions in flight
	chunkTries   = 10
	chunkTimeout = 2 * time.Second
	chunkPause   = 50 * time.Millisecond // before a chunk is asked for again
)

var errChunkGone = errors.New("the snapshot is gone at its source")

// puller fetches a snapshot from another node and puts it in the place of this
// node's state. One pull runs at a time; another order ends it, and then nobody
// hears of it any more. The same order again lets it go on.
type puller struct {
	node  *Node
	store *snap.Store

	mu     sync.Mutex
	job    quorum.Install
	cancel context.CancelFunc // of the running pull; nil when none runs
}

func newPuller(n *Node, store *snap.Store) *puller { return &puller{node: n, store: store} }

// begin follows an order of the core; the loop calls it.
func (p *puller) begin(job quorum.Install) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil && p.job == job {
		return
	}
	p.end()
	ctx, cancel := context.WithCancel(p.node.ctx)
	p.job, p.cancel = job, cancel
	p.node.spawn(func(context.Context) { p.run(ctx, job) })
}

// turn ends a pull that the core no longer wants: this node looks for a leader,
// or follows another one than the source. (One that stands for leader pulls
// from its voters.) The loop calls it.
func (p *puller) turn(s quorum.Soft) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Leader == 0 || s.State == quorum.StateFollowing && s.Leader != p.job.From {
		p.end()
	}
}

// end ends the running pull; the caller holds mu.
func (p *puller) end() {
	if p.cancel != nil {
		p.cancel()
		p.cancel = nil
	}
}

// finish says whether the pull that ctx belongs to is still wanted, and ends
// it.
func (p *puller) finish(ctx context.Context) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	p.end()
	return true
}

// run pulls, checks and loads, and tells the core how it went. The state is
// loaded before the core hears of it, so that the loop never waits for it.
func (p *puller) run(ctx context.Context, job quorum.Install) {
	log := p.node.log.With(keyPeer, job.From, keyZxid, job.Snap.Zxid.String())
	log.Info("pulling a snapshot", "bytes", job.Snap.Size)
	state, err := p.pull(ctx, job)
	if err != nil && ctx.Err() == nil {
		log.Warn("a snapshot could not be pulled", keyError, err)
	}
	p.node.loop.call(func(core machine) {
		if !p.finish(ctx) || !core.SnapshotInstalled(job.Snap, err) {
			return
		}
		core.SetAge(state.View().Age())
		p.node.snaps.adopt(job.Snap, state.View().Age())
		p.node.snaps.logged.Store(0)
		p.node.snaps.logStart.Store(uint64(job.Snap.Zxid))
		p.node.apply.install(state, job.Snap)
	})
}

func (p *puller) pull(ctx context.Context, job quorum.Install) (*lease.State, error) {
	to, err := p.store.Receive(job.Snap)
	if err != nil {
		return nil, err
	}
	defer to.Abort()
	if err := p.copy(ctx, job, to); err != nil {
		return nil, err
	}
	if err := to.Commit(); err != nil {
		return nil, err
	}
	return load(p.store, job.Snap)
}

// chunk is one piece on its way.
type chunk struct {
	data []byte
	err  error
	done chan struct{}
}

// copy asks for pieces with a window of questions in flight and writes them in
// order.
func (p *puller) copy(ctx context.Context, job quorum.Install, to io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	var window []*chunk
	for off := int64(0); off < job.Snap.Size || len(window) > 0; {
		for ; off < job.Snap.Size && len(window) < chunkWindow; off += chunkBytes {
			c := &chunk{done: make(chan struct{})}
			at, n := off, min(chunkBytes, job.Snap.Size-off)
			work.Go(func() {
				c.data, c.err = p.ask(ctx, job, at, int(n))
				close(c.done)
			})
			window = append(window, c)
		}
		c := window[0]
		window = window[1:]
		<-c.done
		if c.err != nil {
			return c.err
		}
		if _, err := to.Write(c.data); err != nil {
			return err
		}
		p.node.loop.call(func(core machine) { core.InstallProgress() })
	}
	return nil
}

// ask gets one piece, again when it was lost on the way.
func (p *puller) ask(ctx context.Context, job quorum.Install, off int64, n int) ([]byte, error) {
	body, err := proto.Marshal(&nodepb.ChunkRequest{
		Zxid: uint64(job.Snap.Zxid), Hash: job.Snap.Hash, Offset: uint64(off), Length: uint32(n),
	})
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		data, err := p.askOnce(ctx, job.From, body, n)
		if err == nil || errors.Is(err, errChunkGone) || try == chunkTries || ctx.Err() != nil {
			return data, err
		}
		if !pause(ctx, nil, chunkPause) {
			return nil, ctx.Err()
		}
	}
}

func (p *puller) askOnce(ctx context.Context, from quorum.NodeID, body []byte, n int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	raw, err := p.node.net.Ask(ctx, from, natsnet.KindChunk, body)
	if err != nil {
		return nil, err
	}
	answer := new(nodepb.ChunkAnswer)
	if err := proto.Unmarshal(raw, answer); err != nil {
		return nil, err
	}
	switch {
	case answer.GetGone():
		return nil, errChunkGone
	case len(answer.GetData()) != n:
		return nil, fmt.Errorf("a chunk of %d bytes came with %d", n, len(answer.GetData()))
	}
	return answer.GetData(), nil
}

// serveChunk answers ask of another node.
func (s *snapshots) serveChunk(_ quorum.NodeID, body []byte) ([]byte, error) {
	req := new(nodepb.ChunkRequest)
	if err := proto.Unmarshal(body, req); err != nil {
		return nil, err
	}
	n := int(min(req.GetLength(), chunkBytes))
	if err := s.pace.wait(s.node.ctx, n); err != nil {
		return nil, err
	}
	from, err := s.pinned(quorum.Zxid(req.GetZxid()))
	if err != nil || from.Meta().Hash != req.GetHash() {
		return proto.Marshal(&nodepb.ChunkAnswer{Gone: true})
	}
	data := make([]byte, n)
	got, err := from.ReadAt(data, int64(req.GetOffset()))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the snapshot: %w", err)
	}
	return proto.Marshal(&nodepb.ChunkAnswer{Data: data[:got]})
}
