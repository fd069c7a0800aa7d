package node

import (
	"context"

	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/wal"
)

// Transport carries messages between members. natsnet.Net is the real one;
// tests bring one with faults. A quorum of one has none.
type Transport interface {
	// Send hands m to the network and returns at once; m may be lost.
	Send(m *quorum.Message)
	// Inbox holds messages for this node, bounded; an overflow is dropped.
	Inbox() <-chan quorum.Message
	// Hints tell of connections that came or went. They are only hints.
	Hints() <-chan natsnet.Hint
	// Ask sends body to one peer and waits for its answer.
	Ask(ctx context.Context, to quorum.NodeID, kind natsnet.Kind, body []byte) ([]byte, error)
	// SetPeers says who may talk to this node, and where to find them.
	SetPeers(peers []quorum.Peer)
	// Handle sets who answers questions of one kind.
	Handle(kind natsnet.Kind, fn func(from quorum.NodeID, body []byte) ([]byte, error))
	Close()
}

// Log is the durable log. wal.Log is the real one.
type Log interface {
	// Append writes and fsyncs records as one group. After an error the log
	// must not be used again.
	Append(records []quorum.Record) error
	// Read returns entries after a position; concurrent with Append.
	Read(after quorum.Zxid, maxBytes int) ([]quorum.Entry, error)
	// Count is the number of entries in a range of positions.
	Count(after, upTo quorum.Zxid) int
	// Mark writes the idle mark of RULES.md R7.
	Mark() error
	// Purge deletes what no longer is needed up to a position and says where
	// the log begins now.
	Purge(upTo quorum.Zxid) (quorum.Zxid, error)
	// Size is the bytes that the log takes on disk.
	Size() int64
	Close() error
}

// machine is quorum.Core as the loop uses it.
type machine interface {
	Step(m quorum.Message)
	Tick(elapsedMs int)
	SetWall(unixMs int64)
	SetAge(ms uint64)
	Backlog(bytes int)
	Submit(id uint64, data []byte) error
	SubmitChange(id uint64, ch quorum.Change) error
	Forget(id uint64) (left bool)
	Read(id uint64)
	Stable(seq uint64)
	DiskFailed(err error)
	SnapshotTaken(m quorum.SnapMeta)
	Digest(z quorum.Zxid, d uint64)
	Compacted(start quorum.Zxid)
	InstallProgress()
	SnapshotInstalled(m quorum.SnapMeta, err error) bool
	Fetched(job quorum.FetchJob, entries []quorum.Entry, err error)
	PeerHint(id quorum.NodeID, up bool)
	StepDown()
	Transfer(to quorum.NodeID) error
	HasReady() bool
	Ready() quorum.Ready
	Soft() quorum.Soft
	Peers() []quorum.Progress
	Members() []quorum.Member
	Configuration() quorum.Configuration
	Control() quorum.Control
}

var _ Log = (*wal.Log)(nil)
