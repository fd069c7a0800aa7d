package node

import (
	"fmt"
	"slices"
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
	view, soft := n.view(), n.Soft()
	why := n.notReady(soft)
	return lease.Status{
		Node: n.cfg.ID, Cluster: n.cluster(), Name: n.cfg.Name, Soft: soft,
		Applied: view.Zxid(), Digest: view.Digest(), Oldest: view.Oldest(),
		Ready: why == "", NotReady: why, Members: n.memberStatus(soft),
		Sessions: view.Sessions(), Nodes: view.Nodes(), Watches: n.watches.count(),
		Snapshot: quorum.Zxid(n.snaps.newest.Load()), LogStart: quorum.Zxid(n.snaps.logStart.Load()),
		Settings: view.Settings(), Level: view.Level(),
		OldestRecord: time.Duration(view.OldestRecord()) * time.Millisecond,
		Archive:      n.archiveStatus(),
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

// memberStatus joins what the core knows of its peers with their addresses.
func (n *Node) memberStatus(s quorum.Soft) []lease.MemberStatus {
	known, all := *n.peers.Load(), n.members.Load().all
	out := make([]lease.MemberStatus, len(all))
	for j, at := range all {
		m := &out[j]
		if i := slices.IndexFunc(known, func(k quorum.Progress) bool { return k.ID == at.ID }); i >= 0 {
			m.Progress = known[i]
		}
		m.ID, m.Role, m.Addr = at.ID, at.Role, at.Addr
		if at.ID == n.cfg.ID {
			m.Connected, m.Synced, m.Durable = true, s.Established, s.Durable
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
