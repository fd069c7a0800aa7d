package node

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/nodepb"
	"perch/quorum"
	"perch/quorum/natsnet"
)

const (
	spaceEvery  = time.Second    // between two looks at the disk
	spaceStale  = 4 * spaceEvery // a report older than this says nothing
	spaceBytes  = 64 << 20       // low below this …
	spaceShare  = 50             // … or below one part in so many (2 %)
	spaceMargin = 16             // recovered at one part in so many above that
)

// space refuses writes while a needed disk is nearly full (DESIGN.md, limits).
// Every node looks at its own disk and tells the leader; the leader decides
// whether enough voters have room, and its answer tells the others. It is a
// courtesy, not a guarantee: a log that cannot be written stops its node.
type space struct {
	node *Node
	low  atomic.Bool // this node's disk
	full atomic.Bool // writes are refused

	measured atomic.Pointer[diskSpace] // at the last look

	mu      sync.Mutex
	free    func() (free, total uint64, err error)
	reports map[quorum.NodeID]spaceReport
	told    told // by the leader
}

// diskSpace is how much a disk has, in bytes.
type diskSpace struct{ free, size uint64 }

// setFree replaces how the disk is measured.
func (s *space) setFree(f func() (free, total uint64, err error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = f
}

type spaceReport struct {
	low   bool
	facts *nodepb.Facts // nil: of a member that does not tell them
	at    time.Time
}

func newSpace(n *Node, dir string) *space {
	s := &space{
		node: n, reports: make(map[quorum.NodeID]spaceReport),
		free: func() (uint64, uint64, error) {
			var s syscall.Statfs_t
			err := syscall.Statfs(dir, &s)
			return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), err
		},
	}
	s.measured.Store(&diskSpace{})
	return s
}

// run looks once in a while until ctx ends.
func (s *space) run(ctx context.Context) {
	ticker := time.NewTicker(spaceEvery)
	defer ticker.Stop()
	for {
		s.look()
		s.report(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look measures this node's disk. It recovers a little above the mark, so that
// writes do not flap.
func (s *space) look() {
	s.mu.Lock()
	measure := s.free
	s.mu.Unlock()
	free, total, err := measure()
	if err != nil {
		return // the log will tell
	}
	s.measured.Store(&diskSpace{free: free, size: total})
	mark := max(spaceBytes, total/spaceShare)
	was := s.low.Load()
	low := free < mark || was && free < mark+mark/spaceMargin
	s.low.Store(low)
	if low != was {
		s.node.log.Warn("free disk", "bytes", free, "of", total, "low", low)
	}
}

// report tells the leader, or decides when this node is the leader.
func (s *space) report(ctx context.Context) {
	soft := s.node.Soft()
	switch {
	case !soft.Established:
		return // nothing is written without a leader
	case soft.Leader == s.node.cfg.ID:
		s.full.Store(s.decide(time.Now()))
		return
	}
	body, err := proto.Marshal(&nodepb.SpaceReport{Low: s.low.Load(), Facts: s.node.facts(soft)})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, spaceEvery)
	defer cancel()
	raw, err := s.node.net.Ask(ctx, soft.Leader, natsnet.KindSpace, body)
	answer := new(nodepb.SpaceAnswer)
	if err == nil && proto.Unmarshal(raw, answer) == nil && !answer.GetNotLeader() {
		s.full.Store(answer.GetFull())
		s.hear(soft, answer)
	}
}

// serve takes the report of another node.
func (s *space) serve(from quorum.NodeID, body []byte) ([]byte, error) {
	req := new(nodepb.SpaceReport)
	if err := proto.Unmarshal(body, req); err != nil {
		return nil, err
	}
	soft, now := s.node.Soft(), time.Now()
	if !leads(soft) {
		return proto.Marshal(&nodepb.SpaceAnswer{NotLeader: true})
	}
	s.mu.Lock()
	s.reports[from] = spaceReport{low: req.GetLow(), facts: req.GetFacts(), at: now}
	s.mu.Unlock()
	return proto.Marshal(&nodepb.SpaceAnswer{
		Full: s.full.Load(), LeaderMs: uint64(s.node.leaderFor(soft, now).Milliseconds()), Members: s.news(soft, now),
	})
}

// decide says whether a member that every quorum needs is low: the leader
// itself, or so many voters that those with room are no majority.
func (s *space) decide(now time.Time) bool {
	if s.low.Load() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	voters, low := 0, 0
	for _, m := range s.node.members.Load().all {
		if m.Role == quorum.RoleObserver {
			continue
		}
		voters++
		if r := s.reports[m.ID]; r.low && now.Sub(r.at) < spaceStale {
			low++
		}
	}
	return voters-low < voters/2+1
}

// frees says whether cmd is let through on a full disk: what removes.
func frees(cmd *commandpb.Command) bool {
	switch op := cmd.GetOp().(type) {
	case *commandpb.Command_Delete, *commandpb.Command_CloseSession, *commandpb.Command_ExpireSessions,
		*commandpb.Command_Reap, *commandpb.Command_DeletePrincipal, *commandpb.Command_RevokeToken,
		*commandpb.Command_Leave, *commandpb.Command_Release, *commandpb.Command_Break, *commandpb.Command_Forget,
		*commandpb.Command_DeleteCounter, *commandpb.Command_DeleteQueue, *commandpb.Command_Depart:
		return true
	case *commandpb.Command_Settle:
		return op.Settle.GetHow() == commandpb.Settle_HOW_ACK
	case *commandpb.Command_Multi:
		return !slices.ContainsFunc(op.Multi.GetOps(), func(o *commandpb.Op) bool {
			return o.GetCreate() != nil || o.GetPut() != nil || o.GetAdd() != nil || o.GetEnqueue() != nil
		})
	}
	return false
}
