package quorum

// Ready is everything a Core wants done, in this order: append WAL (as one
// group, fsynced, then Stable(Seq)); send each message whose AfterSeq is
// stable, in order; apply Committed; answer Reads; and so on. Slices belong to
// the receiver.
type Ready struct {
	WAL       []Record
	Seq       uint64 // number of the last record in WAL; 0 when WAL is empty
	Msgs      []Outbound
	Committed []Entry    // next entries to apply, in order; committed and durable here
	Reads     []ReadDone // linearizable reads with a position
	Failed    []Failure  // requests with a definite or unknown end, see Failure
	Install   *Install   // fetch and install this snapshot
	Fetch     []FetchJob // read entries from the old log, then Fetched
	Mismatch  *Mismatch  // a majority has another state: this node has stopped serving
	Soft      Soft
	Halt      error // an invariant is broken or the disk failed: stop the node
}

// ReadDone says that every read up to ID that has no position yet may be
// answered from any state at or after Zxid. Reads that are asked while there is
// no leader wait inside the core; whoever asked bounds the wait.
type ReadDone struct {
	ID   uint64
	Zxid Zxid
}

// Cause is why a submitted request ended without its entry in Committed.
type Cause uint8

const (
	// CauseRefused: the leader will never propose it (its window is full).
	CauseRefused Cause = 1
	// CauseJumped: a snapshot replaced the part of the log that may hold it;
	// the outcome is unknown (R26).
	CauseJumped Cause = 2

	// Of a Change, each refused by the leader and without effect.
	CauseBadChange Cause = 3  // it cannot be read
	CauseChanging  Cause = 4  // another change is not committed yet
	CauseVersion   Cause = 5  // it was made for another version
	CauseNoMember  Cause = 6  // it removes a node that is no member
	CauseBehind    Cause = 7  // a new voter is not connected, or has not caught up
	CauseBounds    Cause = 8  // no voter, more than MaxVoters or than MaxMembers
	CauseTwoVoters Cause = 9  // two voters are left, and it is not forced (R11)
	CauseNoQuorum  Cause = 10 // a majority of the new voters is not in sync

	// CauseStopped: the state of this node is not to be trusted any more; the
	// outcome is unknown.
	CauseStopped Cause = 11
)

// Failure ends a request that was submitted here.
type Failure struct {
	ID    uint64
	Cause Cause
	Node  NodeID // CauseNoMember, CauseBehind: which one; 0: not known
}

// Install asks the driver to pull a snapshot from a peer, make it durable, and
// call SnapshotInstalled. A newer Install, or a Soft without Installing, ends
// an older one.
type Install struct {
	From NodeID
	Boot Boot
	Snap SnapMeta
}

// FetchJob asks the driver to read entries after After from its log and hand
// them to Fetched. The ID comes back unchanged.
type FetchJob struct {
	ID       uint64
	After    Zxid
	MaxBytes int
}

// Soft is the part of a core's state that drivers act on and people look at.
type Soft struct {
	State       State
	Phase       Phase
	Forming     FormState
	Leader      NodeID // 0 when there is none
	Epoch       Epoch  // epoch led or followed; the current epoch otherwise
	Heir        NodeID // to whom this leader transfers just now; 0: to nobody
	Established bool   // leading or following an established leader, synchronized
	Commit      Zxid
	Told        Zxid   // the leader's commit position as last heard; above Commit while this log lacks entries
	Last        Zxid   // last logged
	Durable     Zxid   // last durable
	Emitted     Zxid   // last handed out in Committed (or installed)
	Base        Zxid   // last zxid of the epoch's initial history, once Established
	LeaseMs     uint64 // lease clock of this leader's reign (R23); 0 when not leading
	AgeMs       uint64 // cluster age that the next proposal would carry
	Membership  uint64 // rises with every change of Members
	Outside     bool   // the cluster is formed, and this node is no member of it
	Halted      bool
	Spoiled     bool   // what this store holds is not to be trusted: set it aside and start on an empty one
	Refusal     string // why this node does not take part, for people; "" when it does
	Doubt       Doubt  // why nothing may be answered from this node's state
	Agreed      Zxid   // newest position at which a quorum is known to have one digest
}

// Progress is what a leader knows of one peer.
type Progress struct {
	ID        NodeID
	Role      Role
	Connected bool   // a PONG of this epoch inside the window
	Synced    bool   // has acknowledged the initial history
	Durable   Zxid   // acknowledged
	Level     uint32 // highest feature level that it reported to this leader; 0 when it has not
}

// Gate holds messages back until the records that they vouch for are stable.
// Driver and simulator share it, so that there is one such place. The zero
// Gate is ready for use.
type Gate struct {
	stable uint64
	held   []Outbound
}

// Push adds messages and returns those that may leave now.
func (g *Gate) Push(msgs []Outbound) []Message {
	var out []Message
	for _, m := range msgs {
		if m.AfterSeq <= g.stable {
			out = append(out, m.Msg)
		} else {
			g.held = append(g.held, m)
		}
	}
	return out
}

// Release notes that every record up to seq is stable and returns the messages
// that were waiting for it, in order.
func (g *Gate) Release(seq uint64) []Message {
	g.stable = max(g.stable, seq)
	var out []Message
	kept := g.held[:0]
	for _, m := range g.held {
		if m.AfterSeq <= g.stable {
			out = append(out, m.Msg)
		} else {
			kept = append(kept, m)
		}
	}
	g.held = kept
	return out
}
