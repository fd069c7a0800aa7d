package lease

import (
	"time"

	"perch/gen/commandpb"
	"perch/quorum"
	"perch/tree"
)

// What the seam tells of things that are held, counted and queued. Names are as
// the caller sees them; times of day are Unix milliseconds of replicated wall
// time.

// Hold is a hold as its holder is told of it.
type Hold struct {
	Kind    commandpb.Kind
	Names   []string // one, but of a lock set
	Key     string   // once: of the run
	Owner   string
	Session quorum.Zxid
	Token   quorum.Zxid // fencing token; 0: nothing is held
	Shared  bool
	Permits int64
	Attempt int64 // once: 1 is the first
	Revoked bool  // somebody asks the holder to give it up
	Reason  string
}

// Place is a place in a queue.
type Place struct {
	ID       quorum.Zxid // the command that made it; 0: none
	Attach   uint32      // rises with every request for it (RULES.md R16)
	Position int         // 1: next
}

// Holder is who holds something, as others are told.
type Holder struct {
	Owner     string
	Session   quorum.Zxid
	Token     quorum.Zxid
	Shared    bool
	Permits   int64
	Since     int64
	Remaining time.Duration // known to the leader only; 0: not told
}

// Outcome is how the wait for a place ended by another command: for the home
// that waits for it, and for the leader, who wants a grant confirmed.
type Outcome struct {
	Place   quorum.Zxid
	Attach  uint32
	Node    quorum.NodeID
	Home    uint64    // the node's instance
	Code    tree.Code // OK: granted
	Hold    Hold
	TTL     time.Duration // of the session that was granted
	Claimed []Message     // of a Claim
	Held    HeldState     // with another code than OK: what is in the way
}

// HeldState is a lock, a semaphore, an election or a run of once.
type HeldState struct {
	Kind    commandpb.Kind
	Name    string
	Tag     quorum.Zxid // of the last change; 0: never used, or long ago
	Holders []Holder    // the first of them, by rising token
	Held    int         // how many there are
	Waiting int         // places in the queue
	Limit   int64       // semaphores; 0 while nobody holds or waits
	Value   string      // elections
	Revoked bool
	Reason  string
	Run     RunState // once
}

// RunState is a run of once.
type RunState struct {
	Key       string
	State     string // idle, running, done, failed
	Attempts  int64
	Data      []byte
	Completed int64 // 0: not
	Next      int64 // a run of a period: when the next window begins; 0: none
}

// QueueState counts a queue.
type QueueState struct {
	Name        string
	Tag         quorum.Zxid
	Ready       int64
	Leased      int64
	Delayed     int64
	MaxAttempts int64
	DeadLetter  string
	Oldest      time.Duration // age of the oldest message
}

// Message is a message of a queue.
type Message struct {
	ID        int64
	Receipt   string // of a claim
	Data      []byte
	State     string // ready, leased, delayed
	Attempts  int64
	Priority  int32
	Token     quorum.Zxid // fencing token of a claim
	Enqueued  int64
	DeadFrom  string        // a dead letter: the queue that it comes from
	Remaining time.Duration // of a claim, at the zxid of the answer
}

// Counter is a counter before and after a change.
type Counter struct {
	Name     string
	Value    int64
	Previous int64
	Tag      quorum.Zxid // 0: it does not exist
}

// Barrier is a barrier.
type Barrier struct {
	Name       string
	Tag        quorum.Zxid // 0: never used
	Entered    int64       // of the present generation
	Leaving    int64       // of the one that opened last, still inside
	Count      int64       // that open it; 0: unknown
	Open       bool
	Generation int64 // rises with every opening
	Mine       int64 // Enter, Depart: the generation that the session is in
}

// Receipts say what became of claims.
type Receipts struct {
	OK   []string
	Lost []string
}
