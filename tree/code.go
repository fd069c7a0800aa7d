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
