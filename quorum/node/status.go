package node

import (
	"fmt"
	"time"

	"perch/lease"
	"perch/quorum"
)

// catchUp is how many entries a node may be behind its leader's commit and
// still count as caught up.
const catchUp = 1024

// Soft is the core's present state, as last published by the loop.
func (n *Node) Soft() quorum.Soft { return *n.soft.Load() }

// Status implements lease.Service.
func (n *Node) Status() lease.Status {
	view, soft, now := n.view(), n.Soft(), time.Now()
	why := n.notReady(soft)
	return lease.Status{
		Node: n.cfg.ID, Cluster: n.cluster(), Name: n.cfg.Name, Soft: soft,
		Applied: view.Zxid(), Digest: view.Digest(), Oldest: view.Oldest(),
		Ready: why == "", NotReady: why, Members: n.memberStatus(soft, now),
		Sessions: view.Sessions(), Nodes: view.Nodes(), Watches: n.watches.count(),
		Snapshot: quorum.Zxid(n.snaps.newest.Load()), LogStart: quorum.Zxid(n.snaps.logStart.Load()),
		Settings: view.Settings(), Level: view.Level(), OldestRecord: millis(view.OldestRecord()),
		LeaderFor: n.leaderFor(soft, now), Full: n.space.full.Load(),
		Holds: view.Held(), Places: view.Places(), Records: view.Records(),
		Events: view.KeptEvents(), EventBytes: view.EventBytes(), OldestEvent: millis(view.OldestEvent()),
		Archive: n.archiveStatus(),
	}
}

// ShowArchive has Status tell how the archive stands, by asking status, which
// must not block.
func (n *Node) ShowArchive(status func() lease.ArchiveStatus) { n.archive.Store(&status) }

func (n *Node) archiveStatus() lease.ArchiveStatus {
	if status := n.archive.Load(); status != nil {
		return (*status)()
	}
	return lease.ArchiveStatus{}
}

// notReady tells people why this node does not serve; "" when it does.
func (n *Node) notReady(s quorum.Soft) string {
	switch {
	case n.draining():
		return "shutting down"
	case s.Refusal != "":
		return s.Refusal
	case s.Leader == 0:
		return "no leader"
	case !s.Established:
		return fmt.Sprintf("the leader, node %d, is not established yet", s.Leader)
	case n.inPast():
		return pastText
	case s.Told > n.positions.now()+catchUp:
		return fmt.Sprintf("catching up: applied %v, committed %v", n.positions.now(), s.Told)
	}
	return ""
}

// memberStatus joins what is known of the members with their addresses.
func (n *Node) memberStatus(s quorum.Soft, now time.Time) []lease.MemberStatus {
	all := n.members.Load().all
	news, ago := n.space.known(s, now)
	out := make([]lease.MemberStatus, len(all))
	for j, at := range all {
		m := &out[j]
		m.ID, m.Role, m.Addr = at.ID, at.Role, at.Addr
		for _, one := range news {
			if quorum.NodeID(one.GetNode()) == at.ID {
				m.Known, m.Connected, m.Synced = true, one.GetConnected(), one.GetSynced()
				m.Durable, m.Lag = quorum.Zxid(one.GetDurable()), one.GetLag()
				m.Facts = memberFacts(one.GetFacts(), millis(one.GetAgeMs())+ago)
			}
		}
		if at.ID == n.cfg.ID {
			m.Connected, m.Synced, m.Durable = true, s.Established, s.Durable
			m.Facts = memberFacts(n.facts(s), 0)
		}
	}
	return out
}

// publishPeers lets Status see the peers and the control state; the loop calls
// it.
func (n *Node) publishPeers(core machine) {
	peers := core.Peers()
	n.peers.Store(&peers)
	ctl := core.Control()
	n.control.Store(&ctl)
}

// cluster is the cluster's id; zero until the cluster has formed.
func (n *Node) cluster() quorum.ClusterID { return n.control.Load().Cluster }
