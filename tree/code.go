package tree

// Code is the outcome of an operation as the HTTP contract names it. The zero
// Code is success. A Code is an error, so that it can be wrapped and matched
// with errors.Is.
type Code uint16

// The codes that apply or a read can answer. Numbers are stored in the log's
// results and never change their meaning.
const (
	OK                        Code = 0
	ErrInvalidPath            Code = 1
	ErrInvalidArgument        Code = 2
	ErrReservedPath           Code = 3
	ErrNoNode                 Code = 4
	ErrNoParent               Code = 5
	ErrNoSession              Code = 6 // no_such_session
	ErrNodeExists             Code = 7
	ErrNotEmpty               Code = 8
	ErrNoChildrenForEphemeral Code = 9
	ErrSessionExpired         Code = 10
	ErrVersionMismatch        Code = 11
	ErrETagMismatch           Code = 12
	ErrTooLarge               Code = 13
	ErrTooManyNodes           Code = 14
	ErrTooManySessions        Code = 15
	ErrInternal               Code = 16
	ErrCursorExpired          Code = 17
	ErrHistoryLost            Code = 18
	ErrPermissionDenied       Code = 19
	ErrInvalidACL             Code = 20
	ErrQuotaExceeded          Code = 21
	ErrNoPrincipal            Code = 22 // no_such_principal
	ErrNoToken                Code = 23 // no_such_token
	ErrUnauthenticated        Code = 24

	// Of what is held, and of exactly once.
	ErrLockHeld        Code = 25
	ErrLockDelayed     Code = 26
	ErrNoPermits       Code = 27
	ErrLimitMismatch   Code = 28
	ErrModeMismatch    Code = 29
	ErrSuperseded      Code = 30
	ErrNotLeader       Code = 31
	ErrBarrierWaiting  Code = 32
	ErrOnceRunning     Code = 33
	ErrOnceDone        Code = 34
	ErrOnceFailed      Code = 35
	ErrCounterOverflow Code = 36
	ErrNoQueue         Code = 37 // no_such_queue
	ErrHoldLost        Code = 38
	ErrReceiptLost     Code = 39
	ErrFenceStale      Code = 40
	ErrKeyReused       Code = 41 // idempotency_key_reused
	ErrKeyInProgress   Code = 42 // idempotency_in_progress
	ErrTooManyWaiters  Code = 43
	ErrOverloaded      Code = 44
)

var codeNames = [...]string{
	OK: "ok", ErrInvalidPath: "invalid_path", ErrInvalidArgument: "invalid_argument",
	ErrReservedPath: "reserved_path", ErrNoNode: "no_node", ErrNoParent: "no_parent",
	ErrNoSession: "no_such_session", ErrNodeExists: "node_exists", ErrNotEmpty: "not_empty",
	ErrNoChildrenForEphemeral: "no_children_for_ephemerals", ErrSessionExpired: "session_expired",
	ErrVersionMismatch: "version_mismatch", ErrETagMismatch: "etag_mismatch", ErrTooLarge: "too_large",
	ErrTooManyNodes: "too_many_nodes", ErrTooManySessions: "too_many_sessions", ErrInternal: "internal",
	ErrCursorExpired: "cursor_expired", ErrHistoryLost: "history_lost",
	ErrPermissionDenied: "permission_denied", ErrInvalidACL: "invalid_acl", ErrQuotaExceeded: "quota_exceeded",
	ErrNoPrincipal: "no_such_principal", ErrNoToken: "no_such_token", ErrUnauthenticated: "unauthenticated",
	ErrLockHeld: "lock_held", ErrLockDelayed: "lock_delayed", ErrNoPermits: "no_permits",
	ErrLimitMismatch: "limit_mismatch", ErrModeMismatch: "mode_mismatch", ErrSuperseded: "superseded",
	ErrNotLeader: "not_leader", ErrBarrierWaiting: "barrier_waiting", ErrOnceRunning: "once_running",
	ErrOnceDone: "once_done", ErrOnceFailed: "once_failed", ErrCounterOverflow: "counter_overflow",
	ErrNoQueue: "no_such_queue", ErrHoldLost: "hold_lost", ErrReceiptLost: "receipt_lost",
	ErrFenceStale: "fence_stale", ErrKeyReused: "idempotency_key_reused",
	ErrKeyInProgress: "idempotency_in_progress", ErrTooManyWaiters: "too_many_waiters", ErrOverloaded: "overloaded",
}

// String is the code as it stands in problem+json.
func (c Code) String() string {
	if int(c) < len(codeNames) && codeNames[c] != "" {
		return codeNames[c]
	}
	return "internal"
}

// Error makes a Code an error.
func (c Code) Error() string { return c.String() }
