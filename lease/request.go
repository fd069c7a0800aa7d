package lease

import (
	"context"
	"time"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// This file is the seam between a gateway and a node: the questions that the
// HTTP edge asks and the answers that it gets. A node in the same process
// answers them by a call, a node elsewhere over NATS; so nothing here holds a
// pointer into a state.

// Service is what a gateway needs of a node. All methods may be called
// concurrently. Errors are tree.Code values for outcomes decided on state and
// Unavailable values for everything else; a ctx that ends gives its error.
type Service interface {
	// Write has cmd proposed and answers with its own apply. The session of
	// the command is filled in from token (RULES.md R19). A refusal decided in
	// apply is in Result.Code, not in the error; a token that cannot be one is
	// an error, at Result.Zxid.
	Write(ctx context.Context, cmd *commandpb.Command, token string) (Result, error)
	// Acquire is Write for the commands that may take a place in a queue:
	// Acquire and Claim. It fills in their home, and when apply has given a place
	// it waits for its end, up to wait. When that has passed, ctx has ended or the
	// node drains, it leaves as RULES.md R16 orders it; what apply then says is
	// the Result. A grant is answered only once the leader has confirmed the
	// session (R12, R17): Result.Remaining.
	Acquire(ctx context.Context, cmd *commandpb.Command, token string, wait time.Duration) (Result, error)
	// Read answers one question from one position.
	Read(ctx context.Context, q Read) (Answer, error)
	// Events answers from the event history, at once.
	Events(ctx context.Context, q EventQuery) (EventBatch, error)
	// Await returns nil when an event of the interest after Since has been
	// applied, and ctx's error when ctx ends before. ErrShuttingDown when the
	// node drains.
	Await(ctx context.Context, i Interest) error
	// Touch renews the session of token. It is acknowledged only as RULES.md
	// R12 demands; a ttl other than 0 and the session's own is set first.
	Touch(ctx context.Context, caller *commandpb.Caller, token string, ttl time.Duration) (Held, error)
	// TouchLater renews at best effort and promises nothing.
	TouchLater(caller *commandpb.Caller, token string)
	// Transfer has the leader give way to a voter, 0: to any other. It returns
	// nil once that one leads and this node follows it, at once if it leads
	// already. ErrNoMember, tree.ErrInvalidArgument for an observer,
	// ErrNotCaughtUp when the voter is not in sync or does not get there in time,
	// ErrNoLeader when nobody leads. It needs PermCluster.
	Transfer(ctx context.Context, caller *commandpb.Caller, to quorum.NodeID) error
	// Snapshot hands out the whole state at one position, in the pieces of a backup
	// file. The first question names no node and begins one that holds every write
	// acknowledged before; each further one repeats From of the first answer, and
	// must reach that node. The same piece may be asked for again. ErrPageExpired
	// when the node has let go of the file, which it does some time after the last
	// question; ErrOverloaded when it keeps too many. It needs PermCluster.
	Snapshot(ctx context.Context, q SnapshotQuery) (SnapshotPiece, error)
	// Status describes the cluster as this node sees it.
	Status() Status
	// ChangeMembers brings the members to what c says, and answers at the
	// position of the last change, or of the state that shows that there was
	// nothing to do. New voters are first added as observers and count once they
	// have caught up; an error may leave that half done, and the same call goes
	// on from there. Errors are Refused ones.
	ChangeMembers(ctx context.Context, c MembersChange) (quorum.Zxid, error)
	// Auth says whether authentication is on in this cluster.
	Auth() bool
	// Authenticate finds whose API token has a secret with this SHA-256. It looks
	// at a linearizable position before it says tree.ErrUnauthenticated.
	Authenticate(ctx context.Context, secret [32]byte) (Identity, error)
	// EnableAuth turns authentication on, with an administrator who has a token
	// with that SHA-256, the one with the id FirstToken. Without an error it is
	// on, and turned says that this call did it; it may be called at every start.
	EnableAuth(ctx context.Context, admin string, secret [32]byte) (turned bool, err error)
}

// MembersChange says how some members should be, and who should be none.
type MembersChange struct {
	Caller *commandpb.Caller // needs PermCluster
	Set    []quorum.MemberChange
	Remove []quorum.NodeID
	Force  bool // accept a configuration of two voters
}

// SnapshotQuery asks for a piece of a backup file.
type SnapshotQuery struct {
	Caller *commandpb.Caller // needs PermCluster
	From   SnapshotFrom      // zero: begin
	Offset int64             // of the piece, in bytes
	Limit  int               // most bytes of the piece; 0, and above it: SnapshotPieceBytes
}

// SnapshotFrom names a backup file and the node that keeps it.
type SnapshotFrom struct {
	Node quorum.NodeID
	Zxid quorum.Zxid
	Hash uint64 // of the snapshot in the file
}

// SnapshotPieceBytes bounds a piece.
const SnapshotPieceBytes = 128 << 10

// SnapshotPiece is a piece of a backup file. Data is empty at the end of the file
// and nowhere else.
type SnapshotPiece struct {
	From   SnapshotFrom
	Digest uint64 // of the state
	Size   int64  // of the file, in bytes
	Data   []byte
}

// Refused is an error of this file, or of package tree, with words for people.
type Refused struct {
	Why  error
	Text string
}

func (r *Refused) Error() string { return r.Why.Error() + ": " + r.Text }

// Unwrap is the error that the words are about.
func (r *Refused) Unwrap() error { return r.Why }

// At says how fresh an answer must be.
type At struct {
	Linearizable bool
	Floor        quorum.Zxid   // evaluate only at applied ≥ Floor (R24); ErrHistoryLost in a gap that a restore left (R9)
	Wait         time.Duration // for Floor, at least 2 s; then ErrNotCaughtUp
}

// ReadKind says what a Read asks for.
type ReadKind uint8

const (
	ReadNode     ReadKind = 1 // Answer.Node
	ReadChildren ReadKind = 2 // Answer.Node without data, Answer.Children
	ReadSession  ReadKind = 3 // Answer.Sessions[0]
	ReadSessions ReadKind = 4 // Answer.Sessions

	ReadTree       ReadKind = 5  // Answer.Children: the node and all below it to Depth, parents before children
	ReadACL        ReadKind = 6  // Answer.ACL, Answer.Node without data
	ReadDefaultACL ReadKind = 7  // Answer.ACL, Answer.ETag
	ReadQuota      ReadKind = 8  // Answer.Quota
	ReadMulti      ReadKind = 9  // Answer.Ops, one for each of Ops
	ReadPrincipal  ReadKind = 10 // Answer.Principals[0]
	ReadPrincipals ReadKind = 11 // Answer.Principals
	ReadTokens     ReadKind = 12 // Answer.APITokens
	ReadWhoami     ReadKind = 13 // Answer.Principals[0]: the caller's, with the grants of his roles
	ReadStat       ReadKind = 14 // Answer.Node; with data, and asking for READ of its ACL, WithData alone

	ReadHeld     ReadKind = 15 // Answer.Held[0]: the lock, semaphore, election or run of once Name (and Key; "": the last run)
	ReadHelds    ReadKind = 16 // Answer.Held: those of Of whose names begin with Name
	ReadQueue    ReadKind = 17 // Answer.Queue
	ReadMessages ReadKind = 18 // Answer.Messages
	ReadCounter  ReadKind = 19 // Answer.Counter
	ReadBarrier  ReadKind = 20 // Answer.Barrier, with Token: Mine
	ReadHold     ReadKind = 22 // Answer.Hold: what the session of Token has of the thing Name of the kind Of, by Fencing where that is not 0; else ErrHoldLost
	ReadNames    ReadKind = 21 // Answer.Names: of the elections, queues, counters, barriers or once (Of) whose names begin with Name
)

// Read is one question.
type Read struct {
	Kind      ReadKind
	Caller    *commandpb.Caller // nil: nobody in particular
	Path      string            // canonical, as the caller sees it
	Name      string            // ReadPrincipal; of what is held, counted or queued
	Of        commandpb.Kind    // ReadHeld, ReadHelds, ReadNames
	Key       string            // ReadHeld of once
	Fencing   quorum.Zxid       // ReadHold: the token of the hold that is meant; 0: any
	Depth     int               // ReadTree: levels below Path; 0: all
	Ops       []*commandpb.Op   // ReadMulti: Check and Get alone
	Session   quorum.Zxid
	Token     string // ReadSession with Session 0: the session of this token. Any other kind: a token that is not alive answers ErrSessionExpired
	At        At
	Limit     int    // ReadChildren, ReadSessions: most entries
	PageToken string // continues an earlier page, at its pinned position
	WithData  bool   // ReadStat; ReadChildren, ReadTree: entries carry data (and end a page after 1 MiB)
}

// Answer is the state at Zxid. On an error that was decided on state
// (ErrNoNode, …) Zxid is still set.
type Answer struct {
	Zxid     quorum.Zxid
	Node     tree.Node
	Children []tree.Node // sorted by name; Path is the full path
	Sessions []Info
	NextPage string // "" when this was the last page

	Paths      []string  // ReadSession: of its ephemerals, sorted
	ACL        *tree.ACL // as the caller may see it; nil is the open one
	ETag       quorum.Zxid
	Quota      tree.Quota
	Ops        []OpResult
	Principals []Principal
	Governs    bool // ReadWhoami: he may do what concerns the whole cluster
	APITokens  []APIToken

	Held     []HeldState
	Hold     Hold
	Queue    QueueState
	Messages []Message
	Counter  Counter
	Barrier  Barrier
	Names    []string
	Holds    []string // ReadSession: what it holds, as in a fence: kind/name
}

// OpResult is the outcome of one operation of a multi.
type OpResult struct {
	Path    string
	Node    tree.Node // created, changed or got; data with get alone
	Created bool
	Tagged  bool      // the last operation of the multi on its path (RULES.md R27)
	Code    tree.Code // in a read-only multi: a missing node is a result
	Value   int64     // of a counter
	ID      int64     // of a message
}

// Info is what may be told of a session without its token.
type Info struct {
	ID         quorum.Zxid
	TTL        time.Duration
	Ephemerals int
	Principal  string
}

// EventQuery asks for the events of an interest after Since.
type EventQuery struct {
	Caller *commandpb.Caller
	Path   string
	Scope  tree.Scope
	Since  quorum.Zxid
	Now    bool          // no cursor: an empty batch at a linearizable position
	Floor  time.Duration // how long to wait for Since to be applied here
	Limit  int           // soft: whole zxids, at least one, up to 1 MiB
	Token  string
	Parked bool // the request has parked in Await meanwhile: what is known of the interest since then is new enough
}

// EventBatch holds every matching event in (Since, Cursor]. On an error that was
// decided on state Cursor is the position of that, and on tree.ErrCursorExpired
// Oldest is the first position still kept.
type EventBatch struct {
	Events []tree.Event
	Cursor quorum.Zxid
	More   bool
	Oldest quorum.Zxid
}

// Interest is what a parked request waits for.
type Interest struct {
	State  bool // whoever waits for a state, not for its events: also what the caller may not see wakes him, and a change of the ACL
	Caller *commandpb.Caller
	Path   string
	Scope  tree.Scope
	Since  quorum.Zxid
}

// Held is an acknowledged session. On an error that was decided on state Zxid is
// still set.
type Held struct {
	Info
	Remaining time.Duration
	Zxid      quorum.Zxid // position of the state that it was read from
}

// Result is the outcome of one command, the same on every node.
type Result struct {
	Zxid      quorum.Zxid
	Code      tree.Code
	Node      tree.Node // created or changed: its path and stat, no data; with ErrNodeExists: the holder's
	Created   bool
	Ops       []OpResult    // of a multi
	Failed    int           // of a multi that is refused: which operation; -1 when that is not the fault of one
	ACL       *tree.ACL     // SetDefaultAcl: as it is stored
	Quota     tree.Quota    // SetQuota
	Overrun   tree.Overrun  // with ErrQuotaExceeded: without a path when the quota is above the caller's root
	Principal Principal     // PutPrincipal
	APIToken  APIToken      // CreateToken
	Session   Info          // OpenSession, and commands that opened one
	Opened    bool          // this command opened Session
	Ended     []quorum.Zxid // sessions that this command ended; for the leader's Tracker
	Hold      Hold          // Acquire: what is held, also by an earlier one that it repeats
	Place     Place         // Acquire, Claim: the place that was taken instead
	Held      HeldState     // of what was asked for: what is in the way with a refusal, the state after Revoke, Proclaim, Complete; with ErrFenceStale: kind and name of the fence
	Claimed   []Message     // Claim
	Receipts  Receipts      // Settle, also with ErrReceiptLost
	Queue     QueueState    // ConfigureQueue
	Message   int64         // Enqueue: its id
	Moved     int           // Redrive
	Counter   Counter       // AddCounter, SetCounter; with ErrVersionMismatch: as it is
	Barrier   Barrier       // Enter, Depart, CloseBarrier
	Outcomes  []Outcome     // places whose wait this command ended
	Touched   []quorum.Zxid // sessions whose time begins anew here, for the leader's Tracker
	Replayed  bool          // this is what an earlier command with the same key did
	Fault     string        // with tree.ErrInternal: why, for the node's log; no part of any answer
	Token     string        // drawn by the server for OpenSession without a client's token; never replicated
	Remaining time.Duration // of Session, acknowledged by this commit (R12); 0 when none
}

// Unavailable is why a node could not answer. Which of them mean "not applied"
// and which "unknown" is part of the HTTP contract (API.md rule 13).
type Unavailable string

func (u Unavailable) Error() string { return string(u) }

// The ways in which a node can fail to answer; the texts are the contract's codes.
const (
	ErrNoLeader       Unavailable = "no_leader"
	ErrNoQuorum       Unavailable = "no_quorum"
	ErrNotCaughtUp    Unavailable = "not_caught_up"
	ErrOverloaded     Unavailable = "overloaded"
	ErrStorageFull    Unavailable = "storage_full"
	ErrShuttingDown   Unavailable = "shutting_down"
	ErrStateInDoubt   Unavailable = "state_in_doubt"
	ErrCommitTimeout  Unavailable = "commit_timeout" // outcome unknown
	ErrPageExpired    Unavailable = "page_expired"
	ErrTooManyWaiters Unavailable = "too_many_waiters"
	ErrNoMember       Unavailable = "no_such_member"
)

// Status is the cluster as one node sees it.
type Status struct {
	Node     quorum.NodeID
	Cluster  quorum.ClusterID
	Name     string // --cluster-name
	Soft     quorum.Soft
	Applied  quorum.Zxid
	Digest   uint64      // of the state at Applied
	Oldest   quorum.Zxid // first zxid in the event history
	Ready    bool        // has a leader with a quorum and is caught up
	NotReady string      // why not, for people
	Members  []MemberStatus
	Sessions int
	Nodes    int
	Watches  int // parked interests
	Snapshot quorum.Zxid
	LogStart quorum.Zxid
	Settings Settings
	Level    uint32 // feature level of the state at Applied

	OldestRecord time.Duration // age of the oldest idempotency record; 0: there is none
	Archive      ArchiveStatus

	LeaderFor time.Duration // since the leader was established; 0 without one
	Full      bool          // writes are refused for want of disk

	// Of the state at Applied, besides Sessions and Nodes.
	Holds       int // of locks, semaphores, elections and runs of once
	Places      int // in their queues
	Records     int // idempotency records
	Events      int // in the history
	EventBytes  int64
	OldestEvent time.Duration // age of the oldest of them; 0: there is none
}

// ArchiveStatus is how the archive stands, as one node sees it.
type ArchiveStatus struct {
	State string        // "" without an archive; else as /v1/cluster tells it
	Zxid  quorum.Zxid   // archived up to here, as far as this node knows; 0: unknown, or nothing is
	Lag   time.Duration // age of the oldest transaction that this node has applied and that is not known to be archived
	Error string        // what is wrong, for people, without secrets; "" when nothing is
}

// MemberStatus is one member. What the leader knows of it a follower has from the
// leader's last answer; it is zero where nobody leads.
type MemberStatus struct {
	quorum.Progress
	Addr  string
	Known bool   // Progress and Lag are known here
	Lag   uint64 // transactions that the leader has logged and it has not acknowledged, at least
	Facts MemberFacts
}

// MemberFacts are what a member tells of itself, for people.
type MemberFacts struct {
	Known       bool          // it has told within the last seconds
	Reported    time.Duration // ago
	Version     string        // of its program
	Level       uint32        // highest feature level that it knows
	Applied     quorum.Zxid
	Snapshot    quorum.Zxid   // its newest; 0: none
	SnapshotAge time.Duration // what the cluster has lived since
	LogBytes    int64         // of its log on disk
	DiskFree    uint64        // bytes
	DiskSize    uint64
	DiskLow     bool
	Uptime      time.Duration
	NotReady    string // why it does not serve; "" when it does
}
