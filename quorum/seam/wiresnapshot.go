package seam

import (
	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
)

func toSnapshotQuery(q *lease.SnapshotQuery) *seampb.SnapshotQuery {
	return &seampb.SnapshotQuery{
		Caller: q.Caller, From: toSnapshotFrom(&q.From), Offset: q.Offset, Limit: int64(q.Limit),
	}
}

func fromSnapshotQuery(in *seampb.SnapshotQuery) lease.SnapshotQuery {
	return lease.SnapshotQuery{
		Caller: in.GetCaller(), From: fromSnapshotFrom(in.GetFrom()), Offset: in.GetOffset(), Limit: int(in.GetLimit()),
	}
}

func toSnapshotFrom(f *lease.SnapshotFrom) *seampb.SnapshotFrom {
	return &seampb.SnapshotFrom{Node: uint32(f.Node), Zxid: uint64(f.Zxid), Hash: f.Hash}
}

func fromSnapshotFrom(in *seampb.SnapshotFrom) lease.SnapshotFrom {
	return lease.SnapshotFrom{Node: quorum.NodeID(in.GetNode()), Zxid: quorum.Zxid(in.GetZxid()), Hash: in.GetHash()}
}

func toSnapshotPiece(p *lease.SnapshotPiece) *seampb.SnapshotPiece {
	return &seampb.SnapshotPiece{From: toSnapshotFrom(&p.From), Digest: p.Digest, Size: p.Size, Data: p.Data}
}

func fromSnapshotPiece(in *seampb.SnapshotPiece) lease.SnapshotPiece {
	return lease.SnapshotPiece{From: fromSnapshotFrom(in.GetFrom()), Digest: in.GetDigest(), Size: in.GetSize(), Data: in.GetData()}
}
