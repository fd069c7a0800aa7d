package node

import (
	"strings"
	"time"

	"perch/gen/nodepb"
	"perch/lease"
	"perch/quorum"
)

// Each member tells the leader of itself when it reports its disk, and hears of
// all others in the answer. So whichever node is asked at night knows how
// everybody stands. These facts are for people: nothing is decided on them.

// Bounds of what a member tells; longer texts are cut.
const (
	versionMost = 128
	reasonMost  = 512
)

// told is what the leader of an epoch said last.
type told struct {
	epoch    quorum.Epoch
	at       time.Time
	leaderMs uint64
	members  []*nodepb.MemberNews
}

// reign is since when a leader has been established, as this node saw it.
type reign struct {
	epoch quorum.Epoch // 0: nobody leads
	since time.Time
}

// crowned notes who leads since when; the loop calls it with every change.
func (n *Node) crowned(old, s quorum.Soft, now time.Time) {
	if old.Established == s.Established && old.Epoch == s.Epoch && old.State == s.State {
		return
	}
	n.metrics.turned(old, s)
	switch at := n.reign.Load(); {
	case !s.Established:
		n.reign.Store(&reign{})
	case at.epoch != s.Epoch:
		n.reign.Store(&reign{epoch: s.Epoch, since: now})
	}
}

// leaderFor is how long the leader has been established: by its own word where it
// has been heard, since it knows better than one who came later.
func (n *Node) leaderFor(s quorum.Soft, now time.Time) time.Duration {
	at := n.reign.Load()
	if at.epoch == 0 {
		return 0
	}
	seen := now.Sub(at.since)
	n.space.mu.Lock()
	defer n.space.mu.Unlock()
	if t := &n.space.told; t.epoch == s.Epoch && s.Leader != n.cfg.ID {
		seen = max(seen, time.Duration(t.leaderMs)*time.Millisecond+now.Sub(t.at))
	}
	return seen
}

// facts are what this node tells of itself.
func (n *Node) facts(s quorum.Soft) *nodepb.Facts {
	disk := n.space.measured.Load()
	return &nodepb.Facts{
		Version: cut(n.cfg.Version, versionMost), Level: n.cfg.Level, Applied: uint64(n.positions.now()),
		Snapshot: n.snaps.newest.Load(), SnapshotAgeMs: uint64(n.snaps.age().Milliseconds()), LogBytes: uint64(n.wal.Size()),
		DiskFree: disk.free, DiskSize: disk.size, DiskLow: n.space.low.Load(),
		UptimeMs: uint64(time.Since(n.began).Milliseconds()), NotReady: cut(n.notReady(s), reasonMost),
	}
}

// cut bounds a text, also one of another's making, where it comes in.
func cut(text string, most int) string { return strings.ToValidUTF8(text[:min(len(text), most)], "") }

// news is what the leader knows of every member.
func (s *space) news(soft quorum.Soft, now time.Time) []*nodepb.MemberNews {
	n := s.node
	list := []*nodepb.MemberNews{{
		Node: uint32(n.cfg.ID), Facts: n.facts(soft), Connected: true, Synced: true, Durable: uint64(soft.Durable), Lag: lag(&soft, soft.Durable),
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range *n.peers.Load() {
		if p.ID == n.cfg.ID {
			continue
		}
		one := &nodepb.MemberNews{
			Node: uint32(p.ID), Connected: p.Connected, Synced: p.Synced, Durable: uint64(p.Durable), Lag: lag(&soft, p.Durable),
		}
		if r := s.reports[p.ID]; r.facts != nil && now.Sub(r.at) < spaceStale {
			one.Facts, one.AgeMs = r.facts, uint64(now.Sub(r.at).Milliseconds())
		}
		list = append(list, one)
	}
	return list
}

// hear keeps what the leader has answered.
func (s *space) hear(soft quorum.Soft, a *nodepb.SpaceAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = told{epoch: soft.Epoch, at: time.Now(), leaderMs: a.GetLeaderMs(), members: a.GetMembers()}
}

// known is what this node knows of the members: as their leader, or from the
// leader's last word. Of itself it knows more (Node.memberStatus).
func (s *space) known(soft quorum.Soft, now time.Time) (list []*nodepb.MemberNews, ago time.Duration) {
	if leads(soft) {
		return s.news(soft, now), 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ago = now.Sub(s.told.at); !soft.Established || s.told.epoch != soft.Epoch || ago >= spaceStale {
		return nil, 0
	}
	return s.told.members, ago
}

// memberFacts turns what was told into what the edge shows.
func memberFacts(f *nodepb.Facts, ago time.Duration) lease.MemberFacts {
	if f == nil {
		return lease.MemberFacts{}
	}
	return lease.MemberFacts{
		Known: true, Reported: ago, Version: cut(f.GetVersion(), versionMost), Level: f.GetLevel(), Applied: quorum.Zxid(f.GetApplied()),
		Snapshot: quorum.Zxid(f.GetSnapshot()), SnapshotAge: millis(f.GetSnapshotAgeMs()), LogBytes: int64(f.GetLogBytes()),
		DiskFree: f.GetDiskFree(), DiskSize: f.GetDiskSize(), DiskLow: f.GetDiskLow(),
		Uptime: millis(f.GetUptimeMs()), NotReady: cut(f.GetNotReady(), reasonMost),
	}
}

func millis(ms uint64) time.Duration { return time.Duration(ms) * time.Millisecond }
