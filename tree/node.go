package tree

import "perch/quorum"

// Stat is ZooKeeper's Stat: what is known of a node besides its bytes.
type Stat struct {
	Czxid          quorum.Zxid // created by
	Mzxid          quorum.Zxid // last data change; the ETag of the node
	Pzxid          quorum.Zxid // last change of the list of children
	Ctime          int64       // Unix milliseconds, of the leader's wall clock
	Mtime          int64
	Version        int64       // data changes
	Cversion       int64       // changes of the list of children, as ZooKeeper counts
	Aversion       int64       // ACL changes
	EphemeralOwner quorum.Zxid // session id; 0 for persistent nodes
	DataLength     int
	NumChildren    int
	Mode           Mode
	TTLMs          int64 // of ModeTTL
}

// Mode is what ends a node besides a request.
type Mode uint8

const (
	ModePersistent Mode = 0 // nothing
	ModeEphemeral  Mode = 1 // the end of its session
	ModeContainer  Mode = 2 // the deletion of its last child
	ModeTTL        Mode = 3 // TTLMs without a change and without a child
)

// Quota bounds a subtree, its root included, and says what it holds. A nil bound
// is none.
type Quota struct {
	MaxNodes *int64
	MaxBytes *int64 // of data
	Nodes    int64
	Bytes    int64
}

// Node is one znode at one position. Data must not be changed.
type Node struct {
	Path string // canonical: "/" or "/a/b"
	Data []byte
	Stat Stat
}

// EventType says what happened to a path.
type EventType uint8

const (
	EventCreated EventType = 1
	EventChanged EventType = 2
	EventDeleted EventType = 3
	// EventACL is told to no watcher, as in ZooKeeper. It wakes who waits for a
	// stat to move.
	EventACL EventType = 4
)

// Cause says why it happened. It is an open set (API.md rule 9).
type Cause uint8

const (
	CauseRequest        Cause = 1
	CauseSessionExpired Cause = 2
	CauseSessionClosed  Cause = 3
	CauseTTL            Cause = 4
	CauseContainer      Cause = 5
)

// Event is one change of one node. Stat is that after the change; for a
// deletion it is zero. ACL is that of the node at the change, of a deletion that
// before it; who may read it then may see the event.
type Event struct {
	Zxid  quorum.Zxid
	Type  EventType
	Cause Cause
	Path  string
	Stat  Stat
	ACL   *ACL
}

// Scope says which events a watch sees (API.md rule 9).
type Scope uint8

const (
	ScopeNode     Scope = 1 // created, changed, deleted of the path
	ScopeChildren Scope = 2 // created and deleted of direct children; deletion of the path
	ScopeSubtree  Scope = 3 // everything at and below the path
)
