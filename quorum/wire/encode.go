package wire

import (
	"encoding/binary"

	"perch/gen/wirepb"
	"perch/quorum"
)

// toProto is m without its entries.
func toProto(m *quorum.Message) *wirepb.Message {
	high, low := halves(m.Cluster)
	return &wirepb.Message{
		Type: uint32(m.Type), From: uint32(m.From), To: uint32(m.To),
		ClusterHigh: high, ClusterLow: low,
		FromBoot: bootToProto(&m.FromBoot), ToBoot: bootToProto(&m.ToBoot),
		Epoch: uint32(m.Epoch), Session: m.Session, Seq: m.Seq,
		Commit: uint64(m.Commit), Prev: uint64(m.Prev), Chain: m.Chain,
		Durable: uint64(m.Durable), Last: uint64(m.Last),
		Cred: credToProto(&m.Cred), Table: tableToProto(m.Table),
		State: uint32(m.State), Round: m.Round, Vote: voteToProto(&m.Vote),
		Reach: reachToProto(m.Reach), Forming: uint32(m.Forming),
		ConfigHash: m.ConfigHash, Founding: membersToProto(m.Founding),
		Counts: m.Counts, Mode: uint32(m.Mode), Common: uint64(m.Common),
		Base: uint64(m.Base), Snap: snapToProto(&m.Snap), More: m.More,
		Heard: heardToProto(m.Heard), Timeout: m.Timeout, Stall: m.Stall,
		Digests: digestsToProto(m.Digests), Disputed: uint64(m.Disputed),
		Low: m.Low, Requests: requestsToProto(m.Requests), Ids: m.IDs, Cause: uint32(m.Cause),
		Config: configToProto(&m.Config), Via: uint32(m.Via), Seen: bootToProto(&m.Seen),
		Member: uint32(m.Member), Past: pastToProto(m.Past),
	}
}

func pastToProto(p quorum.Past) *wirepb.Past {
	if p == (quorum.Past{}) {
		return nil
	}
	return &wirepb.Past{Zxid: uint64(p.Zxid), Digest: p.Digest, Epoch: uint32(p.Epoch)}
}

func configToProto(cf *quorum.Configuration) []byte {
	if len(cf.Members) == 0 {
		return nil
	}
	return cf.Encode()
}

// halves are 16 bytes read as two big-endian numbers.
func halves(b [16]byte) (high, low uint64) {
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

func bootToProto(b *quorum.Boot) *wirepb.Boot {
	if *b == (quorum.Boot{}) {
		return nil
	}
	high, low := halves(b.Incarnation)
	return &wirepb.Boot{IncarnationHigh: high, IncarnationLow: low, Counter: b.Counter, Nonce: b.Nonce}
}

func credToProto(c *quorum.Credentials) *wirepb.Credentials {
	if *c == (quorum.Credentials{}) {
		return nil
	}
	return &wirepb.Credentials{
		AcceptedEpoch: uint32(c.AcceptedEpoch), CurrentEpoch: uint32(c.CurrentEpoch),
		Last: uint64(c.Last), LogStart: uint64(c.LogStart), SnapZxid: uint64(c.SnapZxid),
		NeedsRebuild: c.NeedsRebuild, Level: c.Level,
	}
}

func tableToProto(table []quorum.EpochEnd) []*wirepb.EpochEnd {
	return convert(table, func(e *quorum.EpochEnd) *wirepb.EpochEnd {
		return &wirepb.EpochEnd{Epoch: uint32(e.Epoch), Last: e.Last, Chain: e.Chain}
	})
}

func voteToProto(v *quorum.Vote) *wirepb.Vote {
	if *v == (quorum.Vote{}) {
		return nil
	}
	return &wirepb.Vote{Leader: uint32(v.Leader), Epoch: uint32(v.Epoch), Last: uint64(v.Last)}
}

func reachToProto(ids []quorum.NodeID) []uint32 {
	return convert(ids, func(id *quorum.NodeID) uint32 { return uint32(*id) })
}

func membersToProto(members []quorum.Member) []*wirepb.Member {
	return convert(members, func(m *quorum.Member) *wirepb.Member {
		high, low := halves(m.Incarnation)
		return &wirepb.Member{Id: uint32(m.ID), IncarnationHigh: high, IncarnationLow: low, Role: uint32(m.Role), Addr: m.Addr}
	})
}

func snapToProto(s *quorum.SnapMeta) *wirepb.Snapshot {
	if *s == (quorum.SnapMeta{}) {
		return nil
	}
	return &wirepb.Snapshot{Zxid: uint64(s.Zxid), Chain: s.Chain, Digest: s.Digest, Size: uint64(s.Size), Hash: s.Hash, Config: []byte(s.Config)}
}

func heardToProto(heard []quorum.Heard) []*wirepb.Heard {
	return convert(heard, func(h *quorum.Heard) *wirepb.Heard {
		return &wirepb.Heard{Id: uint32(h.ID), Seq: h.Seq}
	})
}

func digestsToProto(digests []quorum.Checkpoint) []*wirepb.Checkpoint {
	return convert(digests, func(c *quorum.Checkpoint) *wirepb.Checkpoint {
		return &wirepb.Checkpoint{Zxid: uint64(c.Zxid), Digest: c.Digest}
	})
}

func requestsToProto(requests []quorum.Request) []*wirepb.Request {
	return convert(requests, func(r *quorum.Request) *wirepb.Request {
		return &wirepb.Request{Id: r.ID, Kind: uint32(r.Kind), Data: r.Data}
	})
}

// convert maps a list; an empty one becomes nil.
func convert[A, B any](in []A, one func(*A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i := range in {
		out[i] = one(&in[i])
	}
	return out
}
