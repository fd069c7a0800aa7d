package quorum

// MsgType names a protocol message. docs/protocol names each beside the words
// of the Zab paper and of ZooKeeper.
type MsgType uint8

const (
	MsgNotify     MsgType = 1  // any to any: vote, credentials, forming
	MsgJoin       MsgType = 2  // learner to leader: CEPOCH, FOLLOWERINFO
	MsgLeaderInfo MsgType = 3  // leader to learner: NEWEPOCH, LEADERINFO
	MsgAckEpoch   MsgType = 4  // learner to leader
	MsgNack       MsgType = 5  // any to leader: a higher epoch was promised
	MsgSync       MsgType = 6  // leader to learner: how to reach the initial history
	MsgFetch      MsgType = 7  // learner to leader: entries after Prev, please
	MsgEntries    MsgType = 8  // leader to learner: the answer
	MsgNewLeader  MsgType = 9  // leader to learner
	MsgAckLD      MsgType = 10 // learner to leader
	MsgUpToDate   MsgType = 11 // leader to learner: COMMIT-LD, UPTODATE
	MsgPropose    MsgType = 12 // leader to all
	MsgAck        MsgType = 13 // follower to leader, cumulative
	MsgCommit     MsgType = 14 // leader to all
	MsgPing       MsgType = 15 // leader to all
	MsgPong       MsgType = 16 // learner to leader
	MsgRequest    MsgType = 17 // home node to leader: forwarded commands
	MsgRefuse     MsgType = 18 // leader to home node: these will never be proposed
	MsgRead       MsgType = 19 // home node to leader: a read position, please
	MsgReadPos    MsgType = 20 // leader to home node: the answer
	MsgStepDown   MsgType = 21 // leader to all: hint that it has stopped leading, and who should (Vote.Leader)
)

// Phase is where a node stands in the protocol.
type Phase uint8

const (
	PhaseForming   Phase = 0 // not formed yet, or may not vote and knows no leader
	PhaseLooking   Phase = 1
	PhaseDiscovery Phase = 2
	PhaseSync      Phase = 3
	PhaseBroadcast Phase = 4
)

// State is a node's role as it tells others.
type State uint8

const (
	StateLooking   State = 1
	StateFollowing State = 2
	StateLeading   State = 3
	StateObserving State = 4
)

// FormState is how far a store has come in founding its cluster (R8).
type FormState uint8

const (
	Unformed FormState = 0 // empty; has an incarnation and nothing else
	Founding FormState = 1 // holds a founding list
	Formed   FormState = 2 // every founder reported the same list
	Rebuild  FormState = 3 // needs rebuild; may not vote
)

// Credentials say how much history a node holds. Better ones have the higher
// current epoch, then the higher last zxid.
type Credentials struct {
	AcceptedEpoch Epoch
	CurrentEpoch  Epoch
	Last          Zxid
	LogStart      Zxid // its log holds entries after this
	SnapZxid      Zxid // its newest snapshot; it cannot be truncated below it
	NeedsRebuild  bool
	Level         uint32 // highest feature level that the node's program knows (R6)
}

// Vote names a candidate and the credentials it was chosen for.
type Vote struct {
	Leader NodeID
	Epoch  Epoch // its current epoch; after synchronization the epoch it leads
	Last   Zxid
}

// SyncMode is how a learner reaches the leader's history (ZAB.md 2.4).
type SyncMode uint8

const (
	SyncDiff  SyncMode = 1 // fetch what follows the common point
	SyncTrunc SyncMode = 2 // first cut back to the common point
	SyncSnap  SyncMode = 3 // install a snapshot, then fetch
)

// Heard tells a peer the newest number that was received from it.
type Heard struct {
	ID  NodeID
	Seq uint64
}

// Request is a command, or a change of the members, on its way from its home node to the leader.
type Request struct {
	ID   uint64    // Origin.ID
	Kind EntryKind // EntryConfig: Data is an encoded Change
	Data []byte
}

// Message is every protocol message; which fields a type uses stands beside
// the code that makes it. A zero To means all peers, a zero ToBoot any life.
type Message struct {
	Type     MsgType
	Cluster  ClusterID // zero only from stores that are not formed or need rebuild
	From     NodeID
	FromBoot Boot
	To       NodeID
	ToBoot   Boot
	Epoch    Epoch
	Session  uint64 // nonce of the synchronization session, drawn by the learner
	Seq      uint64 // NOTIFY, JOIN: rises per life; PING, PONG: number of the ping; READ, READPOS: number of the read

	Cred  Credentials // NOTIFY, JOIN, ACKEPOCH
	Table []EpochEnd  // JOIN, ACKEPOCH

	State      State // NOTIFY
	Round      uint64
	Vote       Vote
	Reach      []NodeID // peers heard directly of late, sorted
	Forming    FormState
	ConfigHash uint64        // of --peers, compared while unformed
	Founding   []Member      // NOTIFY of founding and formed stores, sorted by ID
	Past       Past          // NOTIFY: what the store, or its cluster, was restored from
	Config     Configuration // NOTIFY of formed stores: the newest that is known to be committed
	Seen       Boot          // NOTIFY to a store that is refused: the life of it that the sender has seen (R3)

	Counts bool // ACKEPOCH: this is a promise to this leader; UPTODATE, PROPOSE, COMMIT, PING: the leader is established; STEPDOWN: it is leaving for good

	Mode    SyncMode // SYNC; FETCH to a feeder: SyncSnap asks for a snapshot of at least Common
	Common  Zxid     // SYNC: the common point; truncate to it
	Base    Zxid     // SYNC, NEWLEADER: last zxid of the initial history
	Chain   uint64   // SYNC: leader's hash at Common; NEWLEADER: at Base; PROPOSE, ENTRIES: at Prev
	Snap    SnapMeta // SYNC with SyncSnap
	Via     NodeID   // SYNC to an observer: a follower to fetch from; 0: the leader
	Prev    Zxid     // PROPOSE, ENTRIES, FETCH: the position before the first entry
	Entries []Entry  // PROPOSE, ENTRIES; Chain of each is recomputed by the receiver
	More    bool     // ENTRIES: the leader has more

	Commit  Zxid    // UPTODATE, PROPOSE, COMMIT, PING: the leader's commit position
	Last    Zxid    // PING: last zxid proposed; READPOS: the read position
	Durable Zxid    // ACKLD, ACK, PONG: everything up to here is on disk
	Heard   []Heard // PING: the newest PONG of each learner
	Timeout uint32  // PONG: the sender's follower time-out in ticks
	Stall   uint32  // PONG: ticks for which the sender's log has been waiting for its disk

	Digests  []Checkpoint // PONG: of the sender's state; PING: those of a quorum; rising by zxid
	Disputed Zxid         // PING: voters differ here and nothing has a quorum; nobody may serve

	Low      uint64    // REQUEST: every ID below is finished at its home
	Requests []Request // REQUEST
	IDs      []uint64  // REFUSE
	Cause    Cause     // REFUSE: of all IDs
	Member   NodeID    // REFUSE: whom the cause is about, or 0
}

// Outbound is a message and the durable step it vouches for: it may leave the
// node only when every record up to AfterSeq is on stable storage. 0 leaves at
// once.
type Outbound struct {
	Msg      Message
	AfterSeq uint64
}
