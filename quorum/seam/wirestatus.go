package seam

import (
	"time"

	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
)

func toStatus(s *lease.Status) *seampb.Status {
	return &seampb.Status{
		Node: uint32(s.Node), Cluster: s.Cluster[:], Name: s.Name, Soft: toSoft(&s.Soft), Applied: uint64(s.Applied),
		Digest: s.Digest, Oldest: uint64(s.Oldest), Ready: s.Ready, NotReady: s.NotReady,
		Members: each(s.Members, toMemberStatus), Sessions: int64(s.Sessions), Nodes: int64(s.Nodes), Watches: int64(s.Watches),
		Snapshot: uint64(s.Snapshot), LogStart: uint64(s.LogStart), Settings: toSettings(&s.Settings), Level: s.Level,
		OldestRecordNs: int64(s.OldestRecord), LeaderForNs: int64(s.LeaderFor), Full: s.Full,
		Holds: int64(s.Holds), Places: int64(s.Places), Records: int64(s.Records), Events: int64(s.Events),
		EventBytes: s.EventBytes, OldestEventNs: int64(s.OldestEvent),
		Archive: toArchiveStatus(&s.Archive),
	}
}

func fromStatus(in *seampb.Status) lease.Status {
	s := lease.Status{
		Node: quorum.NodeID(in.GetNode()), Name: in.GetName(), Soft: fromSoft(in.GetSoft()),
		Applied: quorum.Zxid(in.GetApplied()), Digest: in.GetDigest(), Oldest: quorum.Zxid(in.GetOldest()), Ready: in.GetReady(),
		NotReady: in.GetNotReady(), Members: back(in.GetMembers(), fromMemberStatus), Sessions: int(in.GetSessions()),
		Nodes: int(in.GetNodes()), Watches: int(in.GetWatches()), Snapshot: quorum.Zxid(in.GetSnapshot()),
		LogStart: quorum.Zxid(in.GetLogStart()), Settings: fromSettings(in.GetSettings()), Level: in.GetLevel(),
		OldestRecord: time.Duration(in.GetOldestRecordNs()), LeaderFor: time.Duration(in.GetLeaderForNs()), Full: in.GetFull(),
		Holds: int(in.GetHolds()), Places: int(in.GetPlaces()), Records: int(in.GetRecords()), Events: int(in.GetEvents()),
		EventBytes: in.GetEventBytes(), OldestEvent: time.Duration(in.GetOldestEventNs()),
		Archive: fromArchiveStatus(in.GetArchive()),
	}
	copy(s.Cluster[:], in.GetCluster())
	return s
}

func toArchiveStatus(a *lease.ArchiveStatus) *seampb.ArchiveStatus {
	return &seampb.ArchiveStatus{State: a.State, Zxid: uint64(a.Zxid), LagNs: int64(a.Lag), Error: a.Error}
}

func fromArchiveStatus(in *seampb.ArchiveStatus) lease.ArchiveStatus {
	return lease.ArchiveStatus{
		State: in.GetState(), Zxid: quorum.Zxid(in.GetZxid()), Lag: time.Duration(in.GetLagNs()), Error: in.GetError(),
	}
}

func toSoft(s *quorum.Soft) *seampb.Soft {
	return &seampb.Soft{
		State: uint32(s.State), Phase: uint32(s.Phase), Forming: uint32(s.Forming), Leader: uint32(s.Leader),
		Epoch: uint32(s.Epoch), Heir: uint32(s.Heir), Established: s.Established, Commit: uint64(s.Commit), Told: uint64(s.Told),
		Last: uint64(s.Last), Durable: uint64(s.Durable), Emitted: uint64(s.Emitted), Base: uint64(s.Base), LeaseMs: s.LeaseMs,
		AgeMs: s.AgeMs, Membership: s.Membership, Outside: s.Outside, Halted: s.Halted, Spoiled: s.Spoiled,
		Refusal: s.Refusal, Doubt: uint32(s.Doubt), Agreed: uint64(s.Agreed),
	}
}

func fromSoft(in *seampb.Soft) quorum.Soft {
	return quorum.Soft{
		State: quorum.State(in.GetState()), Phase: quorum.Phase(in.GetPhase()), Forming: quorum.FormState(in.GetForming()),
		Leader: quorum.NodeID(in.GetLeader()), Epoch: quorum.Epoch(in.GetEpoch()), Heir: quorum.NodeID(in.GetHeir()),
		Established: in.GetEstablished(), Commit: quorum.Zxid(in.GetCommit()), Told: quorum.Zxid(in.GetTold()),
		Last: quorum.Zxid(in.GetLast()), Durable: quorum.Zxid(in.GetDurable()), Emitted: quorum.Zxid(in.GetEmitted()),
		Base: quorum.Zxid(in.GetBase()), LeaseMs: in.GetLeaseMs(), AgeMs: in.GetAgeMs(), Membership: in.GetMembership(),
		Outside: in.GetOutside(), Halted: in.GetHalted(), Spoiled: in.GetSpoiled(), Refusal: in.GetRefusal(),
		Doubt: quorum.Doubt(in.GetDoubt()), Agreed: quorum.Zxid(in.GetAgreed()),
	}
}

func toMemberStatus(m *lease.MemberStatus) *seampb.MemberStatus {
	return &seampb.MemberStatus{
		Id: uint32(m.ID), Role: uint32(m.Role), Connected: m.Connected, Synced: m.Synced, Durable: uint64(m.Durable),
		Level: m.Level, Addr: m.Addr, Known: m.Known, Lag: m.Lag, Facts: toMemberFacts(&m.Facts),
	}
}

func fromMemberStatus(in *seampb.MemberStatus) lease.MemberStatus {
	return lease.MemberStatus{Addr: in.GetAddr(), Known: in.GetKnown(), Lag: in.GetLag(), Facts: fromMemberFacts(in.GetFacts()), Progress: quorum.Progress{
		ID: quorum.NodeID(in.GetId()), Role: quorum.Role(in.GetRole()), Connected: in.GetConnected(), Synced: in.GetSynced(),
		Durable: quorum.Zxid(in.GetDurable()), Level: in.GetLevel(),
	}}
}

func toMemberFacts(f *lease.MemberFacts) *seampb.MemberFacts {
	return &seampb.MemberFacts{
		Known: f.Known, ReportedNs: int64(f.Reported), Version: f.Version, Level: f.Level, Applied: uint64(f.Applied),
		Snapshot: uint64(f.Snapshot), SnapshotAgeNs: int64(f.SnapshotAge), LogBytes: f.LogBytes, DiskFree: f.DiskFree,
		DiskSize: f.DiskSize, DiskLow: f.DiskLow, UptimeNs: int64(f.Uptime), NotReady: f.NotReady,
	}
}

func fromMemberFacts(in *seampb.MemberFacts) lease.MemberFacts {
	return lease.MemberFacts{
		Known: in.GetKnown(), Reported: time.Duration(in.GetReportedNs()), Version: in.GetVersion(), Level: in.GetLevel(),
		Applied: quorum.Zxid(in.GetApplied()), Snapshot: quorum.Zxid(in.GetSnapshot()), SnapshotAge: time.Duration(in.GetSnapshotAgeNs()),
		LogBytes: in.GetLogBytes(), DiskFree: in.GetDiskFree(), DiskSize: in.GetDiskSize(), DiskLow: in.GetDiskLow(),
		Uptime: time.Duration(in.GetUptimeNs()), NotReady: in.GetNotReady(),
	}
}

func toSettings(s *lease.Settings) *seampb.Settings {
	return &seampb.Settings{
		ValueBytes: int64(s.ValueBytes), PathBytes: int64(s.PathBytes), PathSegments: int64(s.PathSegments),
		TxnNodes: int64(s.TxnNodes), SessionEphemerals: int64(s.SessionEphemerals), Sessions: int64(s.Sessions),
		TtlMinMs: s.TTLMinMs, TtlMaxMs: s.TTLMaxMs, EventAgeMs: s.EventAgeMs, EventBytes: s.EventBytes,
		ClosedAgeMs: s.ClosedAgeMs, PrincipalSessions: int64(s.PrincipalSessions), PrincipalNodes: s.PrincipalNodes,
		PrincipalBytes: s.PrincipalBytes, RecordBytes: s.RecordBytes, RecordAgeMs: s.RecordAgeMs,
		RecordLeastMs: s.RecordLeastMs, OverAgeMs: s.OverAgeMs, Waiting: int64(s.Waiting), SessionHolds: int64(s.SessionHolds),
		QueueMessages: s.QueueMessages, QueueBytes: s.QueueBytes,
	}
}

func fromSettings(in *seampb.Settings) lease.Settings {
	return lease.Settings{
		ValueBytes: int(in.GetValueBytes()), PathBytes: int(in.GetPathBytes()), PathSegments: int(in.GetPathSegments()),
		TxnNodes: int(in.GetTxnNodes()), SessionEphemerals: int(in.GetSessionEphemerals()), Sessions: int(in.GetSessions()),
		TTLMinMs: in.GetTtlMinMs(), TTLMaxMs: in.GetTtlMaxMs(), EventAgeMs: in.GetEventAgeMs(), EventBytes: in.GetEventBytes(),
		ClosedAgeMs: in.GetClosedAgeMs(), PrincipalSessions: int(in.GetPrincipalSessions()),
		PrincipalNodes: in.GetPrincipalNodes(), PrincipalBytes: in.GetPrincipalBytes(), RecordBytes: in.GetRecordBytes(),
		RecordAgeMs: in.GetRecordAgeMs(), RecordLeastMs: in.GetRecordLeastMs(), OverAgeMs: in.GetOverAgeMs(),
		Waiting: int(in.GetWaiting()), SessionHolds: int(in.GetSessionHolds()), QueueMessages: in.GetQueueMessages(),
		QueueBytes: in.GetQueueBytes(),
	}
}
