package node

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
)

// leftPatience bounds the question of what sessions have left: an answer
// without that is as good as none.
const leftPatience = 200 * time.Millisecond

// fillHeld fills in what the sessions of holders have left, at best effort: only
// the leader knows it.
func (n *Node) fillHeld(ctx context.Context, h *lease.HeldState) {
	var ids []uint64
	seen := make(map[quorum.Zxid]time.Duration)
	for _, at := range h.Holders {
		if _, known := seen[at.Session]; !known && len(ids) < touchIDs {
			seen[at.Session] = 0
			ids = append(ids, uint64(at.Session))
		}
	}
	if len(ids) == 0 {
		return
	}
	left := n.askLeft(ctx, ids)
	for i, ms := range left {
		seen[quorum.Zxid(ids[i])] = time.Duration(ms) * time.Millisecond
	}
	for i := range h.Holders {
		h.Holders[i].Remaining = seen[h.Holders[i].Session]
	}
}

// askLeft asks the leader what sessions have left; nil when it does not answer.
func (n *Node) askLeft(ctx context.Context, ids []uint64) []uint64 {
	soft := n.Soft()
	if !soft.Established || soft.Leader == 0 {
		return nil
	}
	req := &nodepb.RemainingRequest{Epoch: uint32(soft.Epoch), Ids: ids}
	answer := new(nodepb.RemainingAnswer)
	if soft.Leader == n.cfg.ID {
		answer = n.keeper.left(req)
	} else {
		body, err := proto.Marshal(req)
		if err != nil || n.net == nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, leftPatience)
		defer cancel()
		raw, err := n.net.Ask(ctx, soft.Leader, natsnet.KindLeft, body)
		if err != nil || proto.Unmarshal(raw, answer) != nil {
			return nil
		}
	}
	if answer.GetNotLeader() || len(answer.GetRemainingMs()) != len(ids) {
		return nil
	}
	return answer.GetRemainingMs()
}

// serveLeft answers askLeft of another node.
func (n *Node) serveLeft(_ quorum.NodeID, body []byte) ([]byte, error) {
	req := new(nodepb.RemainingRequest)
	if err := proto.Unmarshal(body, req); err != nil {
		return nil, err
	}
	return proto.Marshal(n.keeper.left(req))
}

// left says what sessions have left, and renews none.
func (k *keeper) left(req *nodepb.RemainingRequest) *nodepb.RemainingAnswer {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reign == 0 || k.reign != quorum.Epoch(req.GetEpoch()) {
		return &nodepb.RemainingAnswer{NotLeader: true}
	}
	now := k.now()
	answer := &nodepb.RemainingAnswer{RemainingMs: make([]uint64, len(req.GetIds()))}
	for i, id := range req.GetIds() {
		left, _ := k.tracker.Remaining(quorum.Zxid(id), now)
		answer.RemainingMs[i] = uint64(left.Milliseconds())
	}
	return answer
}
