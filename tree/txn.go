package tree

import "perch/quorum"

// Limits are those that the operations read. They are replicated state
// (RULES.md R5).
type Limits struct {
	Path         PathLimits
	ValueBytes   int   // largest value
	TxnNodes     int   // nodes that one operation may create or delete
	OwnerNodes   int   // ephemerals of one owner
	TTLMinMs     int64 // of ModeTTL
	TTLMaxMs     int64
	CreatorNodes int64 // nodes of one creator; 0: no limit
	CreatorBytes int64 // of data of one creator; 0: no limit
}

// Txn is one transaction on a tree: where and when it happens, for whom, and
// the events that it gathers, in the order of operations.
type Txn struct {
	Zxid    quorum.Zxid
	Wall    int64       // Unix milliseconds, from the command (RULES.md R20)
	Age     uint64      // cluster age in milliseconds, from the command (RULES.md R20)
	Owner   quorum.Zxid // session of the request; 0 without one
	Creator string      // principal whose nodes those are that it makes; "" nobody
	Caller  Identities  // what "auth" stands for in an ACL
	Guard   Guard       // nil allows everything
	Cause   Cause
	Limits  Limits
	Events  []Event
	Overrun Overrun // of an operation that was refused with ErrQuotaExceeded
}

func (x *Txn) emit(typ EventType, z *znode, why Cause) {
	e := Event{Zxid: x.Zxid, Type: typ, Cause: why, Path: z.path, ACL: z.acl()}
	if typ != EventDeleted {
		e.Stat = z.stat()
	}
	x.Events = append(x.Events, e)
}

// CondKind says what a Condition compares.
type CondKind uint8

const (
	CondNone    CondKind = 0
	CondVersion CondKind = 1 // Version, -1 is any existing
	CondETag    CondKind = 2 // mzxid; 0 matches nothing
	CondAbsent  CondKind = 3
	CondPresent CondKind = 4
	CondBoth    CondKind = 5 // Version, then ETag
)

// Condition is what must hold of a node before a change.
type Condition struct {
	Kind    CondKind
	Version int64
	ETag    quorum.Zxid
}

// missing is the outcome of the condition on a node that does not exist
// (API.md rule 5). OK: the node may be created.
func (c Condition) missing() Code {
	switch c.Kind {
	case CondVersion, CondBoth:
		return ErrNoNode
	case CondETag, CondPresent:
		return ErrETagMismatch
	}
	return OK
}

// existing is the outcome of the condition on z.
func (c Condition) existing(z *znode) Code {
	version := c.Kind == CondVersion || c.Kind == CondBoth
	etag := c.Kind == CondETag || c.Kind == CondBoth
	switch {
	case c.Kind == CondAbsent:
		return ErrETagMismatch
	case version && c.Version != -1 && c.Version != z.version:
		return ErrVersionMismatch
	case etag && (c.ETag == 0 || c.ETag != z.mzxid):
		return ErrETagMismatch
	}
	return OK
}

func (c Condition) valid() bool {
	return c.Kind != CondVersion && c.Kind != CondBoth || c.Version >= -1
}
