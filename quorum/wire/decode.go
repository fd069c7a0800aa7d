package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"perch/gen/wirepb"
	"perch/quorum"
)

const maxNode = math.MaxUint16

// fromProto is the message without its entries. Every value is checked here
// against what package quorum names, so that nothing is cut off silently.
func fromProto(pb *wirepb.Message) (quorum.Message, error) {
	c := checker{}
	m := quorum.Message{
		Type:     quorum.MsgType(c.within("type", pb.Type, 1, uint32(quorum.MsgStepDown))),
		Cluster:  join(pb.ClusterHigh, pb.ClusterLow),
		From:     c.node("from", pb.From),
		To:       quorum.NodeID(c.within("to", pb.To, 0, maxNode)),
		FromBoot: bootFromProto(pb.FromBoot), ToBoot: bootFromProto(pb.ToBoot),
		Epoch: quorum.Epoch(pb.Epoch), Session: pb.Session, Seq: pb.Seq,
		Cred: credFromProto(pb.Cred), Table: tableFromProto(&c, pb.Table),
		State: quorum.State(c.within("state", pb.State, 0, uint32(quorum.StateObserving))),
		Round: pb.Round, Vote: voteFromProto(&c, pb.Vote),
		Reach:      reachFromProto(&c, pb.Reach),
		Forming:    quorum.FormState(c.within("forming", pb.Forming, 0, uint32(quorum.Rebuild))),
		ConfigHash: pb.ConfigHash, Founding: membersFromProto(&c, pb.Founding),
		Counts: pb.Counts, Mode: quorum.SyncMode(c.within("mode", pb.Mode, 0, uint32(quorum.SyncSnap))),
		Common: quorum.Zxid(pb.Common), Base: quorum.Zxid(pb.Base), Chain: pb.Chain,
		Snap: snapFromProto(&c, pb.Snap), Prev: quorum.Zxid(pb.Prev), More: pb.More,
		Commit: quorum.Zxid(pb.Commit), Last: quorum.Zxid(pb.Last), Durable: quorum.Zxid(pb.Durable),
		Heard: heardFromProto(&c, pb.Heard), Timeout: pb.Timeout, Stall: pb.Stall,
		Digests: digestsFromProto(&c, pb.Digests), Disputed: quorum.Zxid(pb.Disputed),
		Low: pb.Low, Requests: requestsFromProto(&c, pb.Requests), IDs: idsFromProto(&c, pb.Ids),
		Cause: quorum.Cause(c.within("cause", pb.Cause, 0, uint32(quorum.CauseNoQuorum))), Config: configFromProto(&c, pb.Config),
		Via:    quorum.NodeID(c.within("via", pb.Via, 0, maxNode)),
		Seen:   bootFromProto(pb.Seen),
		Past:   pastFromProto(pb.Past),
		Member: quorum.NodeID(c.within("member", pb.Member, 0, maxNode)),
	}
	if c.err != nil {
		return quorum.Message{}, c.err
	}
	return m, nil
}

func pastFromProto(pb *wirepb.Past) quorum.Past {
	return quorum.Past{Zxid: quorum.Zxid(pb.GetZxid()), Digest: pb.GetDigest(), Epoch: quorum.Epoch(pb.GetEpoch())}
}

func configFromProto(c *checker, b []byte) quorum.Configuration {
	if len(b) == 0 {
		return quorum.Configuration{}
	}
	cf, err := quorum.DecodeConfiguration(b)
	if err != nil {
		c.fail("%v", err)
	}
	return cf
}

// checker keeps the first fault that it is shown.
type checker struct{ err error }

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
}

func (c *checker) within(what string, v, low, high uint32) uint32 {
	if v < low || v > high {
		c.fail("%s %d", what, v)
	}
	return v
}

// node is the number of somebody: never 0.
func (c *checker) node(what string, v uint32) quorum.NodeID {
	return quorum.NodeID(c.within(what, v, 1, maxNode))
}

func (c *checker) length(what string, n int) {
	if n > MaxList {
		c.fail("%d %s", n, what)
	}
}

func join(high, low uint64) (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], high)
	binary.BigEndian.PutUint64(b[8:], low)
	return b
}

func bootFromProto(b *wirepb.Boot) quorum.Boot {
	if b == nil {
		return quorum.Boot{}
	}
	return quorum.Boot{Incarnation: join(b.IncarnationHigh, b.IncarnationLow), Counter: b.Counter, Nonce: b.Nonce}
}

func credFromProto(p *wirepb.Credentials) quorum.Credentials {
	if p == nil {
		return quorum.Credentials{}
	}
	return quorum.Credentials{
		AcceptedEpoch: quorum.Epoch(p.AcceptedEpoch), CurrentEpoch: quorum.Epoch(p.CurrentEpoch),
		Last: quorum.Zxid(p.Last), LogStart: quorum.Zxid(p.LogStart), SnapZxid: quorum.Zxid(p.SnapZxid),
		NeedsRebuild: p.NeedsRebuild, Level: p.Level,
	}
}

func tableFromProto(c *checker, table []*wirepb.EpochEnd) []quorum.EpochEnd {
	c.length("epochs", len(table))
	return convert(table, func(e **wirepb.EpochEnd) quorum.EpochEnd {
		return quorum.EpochEnd{Epoch: quorum.Epoch((*e).Epoch), Last: (*e).Last, Chain: (*e).Chain}
	})
}

func voteFromProto(c *checker, v *wirepb.Vote) quorum.Vote {
	if v == nil {
		return quorum.Vote{}
	}
	leader := c.within("candidate", v.Leader, 0, maxNode)
	return quorum.Vote{Leader: quorum.NodeID(leader), Epoch: quorum.Epoch(v.Epoch), Last: quorum.Zxid(v.Last)}
}

// rising fails unless every id is larger than the one before, so no node is
// counted twice.
func (c *checker) rising(what string, last *quorum.NodeID, id uint32) quorum.NodeID {
	n := c.node(what, id)
	if n <= *last {
		c.fail("%s %d after %d", what, n, *last)
	}
	*last = n
	return n
}

func reachFromProto(c *checker, ids []uint32) []quorum.NodeID {
	var last quorum.NodeID
	return convert(ids, func(id *uint32) quorum.NodeID { return c.rising("reach", &last, *id) })
}

func membersFromProto(c *checker, members []*wirepb.Member) []quorum.Member {
	var last quorum.NodeID
	return convert(members, func(p **wirepb.Member) quorum.Member {
		m := *p
		if len(m.Addr) > quorum.MaxAddr {
			c.fail("an address of %d bytes", len(m.Addr))
		}
		return quorum.Member{
			Addr:        m.Addr,
			ID:          c.rising("founder", &last, m.Id),
			Incarnation: join(m.IncarnationHigh, m.IncarnationLow),
			Role:        quorum.Role(c.within("role", m.Role, uint32(quorum.RoleVoter), uint32(quorum.RoleObserver))),
		}
	})
}

func snapFromProto(c *checker, s *wirepb.Snapshot) quorum.SnapMeta {
	if s == nil {
		return quorum.SnapMeta{}
	}
	if s.Size > math.MaxInt64 {
		c.fail("snapshot of %d bytes", s.Size)
	}
	return quorum.SnapMeta{Zxid: quorum.Zxid(s.Zxid), Chain: s.Chain, Digest: s.Digest, Size: int64(s.Size), Hash: s.Hash, Config: string(s.Config)}
}

func heardFromProto(c *checker, heard []*wirepb.Heard) []quorum.Heard {
	c.length("heard", len(heard))
	return convert(heard, func(h **wirepb.Heard) quorum.Heard {
		return quorum.Heard{ID: c.node("heard", (*h).Id), Seq: (*h).Seq}
	})
}

func digestsFromProto(c *checker, digests []*wirepb.Checkpoint) []quorum.Checkpoint {
	c.length("digests", len(digests))
	return convert(digests, func(p **wirepb.Checkpoint) quorum.Checkpoint {
		return quorum.Checkpoint{Zxid: quorum.Zxid((*p).Zxid), Digest: (*p).Digest}
	})
}

func requestsFromProto(c *checker, requests []*wirepb.Request) []quorum.Request {
	c.length("requests", len(requests))
	return convert(requests, func(r **wirepb.Request) quorum.Request {
		data := (*r).Data
		if len(data) == 0 {
			data = nil
		}
		kind := c.within("request kind", (*r).Kind, uint32(quorum.EntryCommand), uint32(quorum.EntryConfig))
		return quorum.Request{ID: (*r).Id, Kind: quorum.EntryKind(kind), Data: data}
	})
}

func idsFromProto(c *checker, ids []uint64) []uint64 {
	c.length("ids", len(ids))
	if len(ids) == 0 {
		return nil
	}
	return ids
}
