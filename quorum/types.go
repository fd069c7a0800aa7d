package quorum

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Epoch numbers the reigns of leaders; it rises with every leader that is
// established. Epoch 0 precedes every leader.
type Epoch uint32

// Zxid is the position of a transaction: the epoch of the leader that proposed
// it in the high 32 bits, a counter that starts at 1 in the low 32 bits (Zab,
// DSN 2011, section III). Zxids compare as numbers. (e, 0) names the epoch
// itself and is never the position of a transaction.
type Zxid uint64

// MakeZxid joins an epoch and a counter.
func MakeZxid(e Epoch, counter uint32) Zxid { return Zxid(e)<<32 | Zxid(counter) }

// Epoch is the epoch of the leader that proposed the transaction.
func (z Zxid) Epoch() Epoch { return Epoch(z >> 32) }

// Counter is the place of the transaction within its epoch, from 1.
func (z Zxid) Counter() uint32 { return uint32(z) }

// String prints a zxid for people, as (epoch,counter).
func (z Zxid) String() string { return fmt.Sprintf("(%d,%d)", z.Epoch(), z.Counter()) }

// NodeID is a member's number, 1 to 65535, as given by --id. 0 is nobody.
type NodeID uint16

// Incarnation is drawn at random when a store is created, so that a wiped disk
// is never mistaken for its former life (RULES.md R3).
type Incarnation [16]byte

// Boot names one life of one process on one disk. Counters are ordered only
// inside one incarnation.
type Boot struct {
	Incarnation Incarnation
	Counter     uint64 // starts of a process on this disk, from 1
	Nonce       uint64 // random bits of this start
}

// ClusterID is the hash of the founding list (R8); zero until a store knows it.
type ClusterID [16]byte

// Stamp is the leader's time at a proposal. Apply takes time from nowhere else.
type Stamp struct {
	Wall int64  // Unix milliseconds of the leader's wall clock; may go back
	Age  uint64 // cluster age in milliseconds (R20); apply takes the maximum
}

// Origin names the request behind a transaction, so that the node that took it
// from a client recognizes its own. The zero Origin belongs to nobody.
type Origin struct {
	Node NodeID
	Boot uint64 // Nonce of the node's boot
	ID   uint64 // rises with every request of that boot
}

// EntryKind says who interprets the bytes of an entry.
type EntryKind uint8

const (
	EntryCommand EntryKind = 1 // for the replicated state machine
	EntryConfig  EntryKind = 2 // for the quorum itself

	// EntryRestored is the first transaction of a cluster that was restored, and of
	// no other: the state machine leaves the past behind at it (RULES.md R9). It has
	// no data and no origin.
	EntryRestored EntryKind = 3
)

// Entry is one transaction as it stands in the log. Data must not be changed
// once an Entry was handed to anybody.
type Entry struct {
	Zxid   Zxid
	Chain  uint64 // ChainHash over everything else here and the previous entry
	Kind   EntryKind
	Origin Origin
	Stamp  Stamp
	Data   []byte
}

// ChainHash ties an entry to the whole log before it: equal chain hashes at
// one zxid mean equal prefixes. It finds mistakes and damage, not malice.
func ChainHash(prev uint64, e *Entry) uint64 {
	var head [51]byte
	binary.LittleEndian.PutUint64(head[0:], prev)
	binary.LittleEndian.PutUint64(head[8:], uint64(e.Zxid))
	head[16] = byte(e.Kind)
	binary.LittleEndian.PutUint16(head[17:], uint16(e.Origin.Node))
	binary.LittleEndian.PutUint64(head[19:], e.Origin.Boot)
	binary.LittleEndian.PutUint64(head[27:], e.Origin.ID)
	binary.LittleEndian.PutUint64(head[35:], uint64(e.Stamp.Wall))
	binary.LittleEndian.PutUint64(head[43:], e.Stamp.Age)
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(head[:])
	_, _ = d.Write(e.Data)
	return d.Sum64()
}

// Size is what the entry counts against windows and message limits, in bytes.
func (e *Entry) Size() int { return len(e.Data) + 64 }

// Role is what a member is configured to be.
type Role uint8

const (
	RoleVoter    Role = 1
	RoleObserver Role = 2
)

// Member is one line of a configuration: who takes part, on which disk.
type Member struct {
	ID          NodeID
	Incarnation Incarnation // of its disk; any for an observer
	Role        Role
	Addr        string // host:port of its node-to-node listener; "": that of --peers
}

// Peer is one line of --peers: an address to dial, used while forming and for
// first contact; afterwards members come from the committed configuration.
type Peer struct {
	ID   NodeID
	Addr string // host:port of the node-to-node listener
	Role Role
}

// SnapMeta names a snapshot: the whole state at Zxid.
type SnapMeta struct {
	Zxid   Zxid
	Chain  uint64 // chain hash of the log at Zxid
	Digest uint64 // digest of the state at Zxid
	Size   int64  // bytes of the file
	Hash   uint64 // xxhash64 of the whole file
	Config string // encoded Configuration at Zxid; "" for the founding one
}

// Past is the state of a former cluster that a restore put into a store in the
// place of nothing (RULES.md R9); zero in a store that was not restored.
type Past struct {
	Zxid   Zxid   // of that state
	Digest uint64 // of that state
	Epoch  Epoch  // highest that the former cluster is known to have reached
}

// Chain is the chain hash that the log of a restored store begins with: another
// one than the former cluster's at that zxid, since what follows is not the same.
func (p Past) Chain() uint64 {
	b := append(make([]byte, 0, 32), "restored"...)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.Zxid))
	b = binary.LittleEndian.AppendUint64(b, p.Digest)
	b = binary.LittleEndian.AppendUint32(b, uint32(p.Epoch))
	return xxhash.Sum64(b)
}

// Promise says to whom an epoch was promised, so that the same life of the
// same leader can be promised again (ZAB.md 2.3).
type Promise struct {
	Leader NodeID
	Boot   Boot
}

// Life is one start of a process on the disk of a node.
type Life struct {
	ID   NodeID
	Boot Boot
}

// Control is everything durable besides log and snapshots. It is always
// written whole, so that any copy of it suffices (R2).
type Control struct {
	Node          NodeID
	Boot          Boot
	Cluster       ClusterID // zero until Founding is known
	Founding      []Member  // the founding list, by ID, observers without incarnation; fixed once set (R8)
	Past          Past      // what the cluster was restored from, as this store was or was told
	Formed        bool      // every founder reported the same list
	NeedsRebuild  bool      // this store may not vote, nor be counted in any quorum
	Spoiled       bool      // with NeedsRebuild: what this store holds is not to be trusted, so it cannot be granted
	Reason        string    // why NeedsRebuild, for people
	AcceptedEpoch Epoch     // highest epoch promised
	AcceptedFrom  Promise   // to whom
	CurrentEpoch  Epoch     // epoch of the last NEWLEADER accepted
	Seen          []Life    // newest life seen of each disk that a configuration in force counts, by id (R3)
}

// Clone copies c so that the two share nothing.
func (c *Control) Clone() *Control {
	d := *c
	d.Founding = append([]Member(nil), c.Founding...)
	d.Seen = append([]Life(nil), c.Seen...)
	return &d
}
