package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"perch/gen/api"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// codeSpec is one row of the table of errors in API.md.
type codeSpec struct {
	code      string
	status    int
	title     string
	zk        int32 // ZooKeeper's number; 0 where it has none
	retryable bool
	outcome   string // "" below 500 but for 429
}

// The outcomes of API.md rule 13.
const (
	notApplied = "not_applied"
	unknown    = "unknown"
)

// retryAfterMs is what retryable refusals ask a client to wait.
const retryAfterMs = 1000

// specs is the table of codes; errors that are not in it become internal.
var specs = map[string]*codeSpec{}

func row(code string, status int, title string, zk int32) string {
	s := &codeSpec{code: code, status: status, title: title, zk: zk}
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		s.retryable, s.outcome = true, notApplied
	case http.StatusGatewayTimeout:
		s.retryable, s.outcome = true, unknown
	case http.StatusInternalServerError:
		s.outcome = unknown
	}
	specs[code] = s
	return code
}

// waits is the row of a refusal that the same request may outlive.
func waits(code tree.Code, title string) string {
	row(code.String(), http.StatusConflict, title, 0)
	specs[code.String()].retryable = true
	return code.String()
}

// The codes that the edge itself gives. Those of state and of nodes are
// sentinels of tree and lease, and stand here for their status and title.
var (
	_                    = row(tree.ErrInvalidPath.String(), 400, "The path is not a path of a node.", 0)
	codeInvalidArgument  = row(tree.ErrInvalidArgument.String(), 400, "An argument is not allowed.", -8)
	codeUnknownParameter = row("unknown_parameter", 400, "The operation does not have this parameter.", 0)
	codeInvalidJSON      = row("invalid_json", 400, "The body is not the JSON of this operation.", 0)
	codeInvalidACL       = row(tree.ErrInvalidACL.String(), 400, "The ACL is not valid.", -114)
	codeUnauthenticated  = row(tree.ErrUnauthenticated.String(), 401, "The request does not prove who it is from.", -115)
	codeForbidden        = row(tree.ErrPermissionDenied.String(), 403, "The request is not allowed.", -102)
	_                    = row(tree.ErrReservedPath.String(), 403, "The path is reserved.", 0)
	codeNoNode           = row(tree.ErrNoNode.String(), 404, "The node does not exist.", -101)
	_                    = row(tree.ErrNoParent.String(), 404, "The parent does not exist.", 0)
	_                    = row(tree.ErrNoSession.String(), 404, "The session does not exist.", 0)
	_                    = row(tree.ErrNoPrincipal.String(), 404, "The principal does not exist.", 0)
	_                    = row(tree.ErrNoToken.String(), 404, "The API token does not exist.", 0)
	_                    = row(tree.ErrNoQueue.String(), 404, "The queue does not exist.", 0)
	codeNoMember         = row(string(lease.ErrNoMember), 404, "The node is no member of the cluster.", 0)
	codeNoEndpoint       = row("no_such_endpoint", 404, "There is no such operation.", 0)
	codeMethod           = row("method_not_allowed", 405, "The path does not have this method.", 0)
	codeRequestTimeout   = row("request_timeout", 408, "The body did not arrive in time.", 0)
	_                    = row(tree.ErrNodeExists.String(), 409, "The node exists.", -110)
	_                    = row(tree.ErrNotEmpty.String(), 409, "The node has children.", -111)
	_                    = row(tree.ErrNoChildrenForEphemeral.String(), 409, "Ephemerals have no children.", -108)
	_                    = row(tree.ErrQuotaExceeded.String(), 409, "The quota of the subtree is used up.", -125)
	_                    = waits(tree.ErrLockHeld, "It is held by others.")
	_                    = waits(tree.ErrLockDelayed, "The last hold has expired, and had asked for a delay.")
	_                    = waits(tree.ErrNoPermits, "Too few permits are free.")
	_                    = row(tree.ErrLimitMismatch.String(), 409, "Others use it with another limit.", 0)
	_                    = row(tree.ErrModeMismatch.String(), 409, "The session has it, or waits for it, in another mode.", 0)
	_                    = row(tree.ErrSuperseded.String(), 409, "A newer request waits in the same place.", 0)
	_                    = row(tree.ErrNotLeader.String(), 409, "The request is not the leader's.", 0)
	codeBarrierWaiting   = waits(tree.ErrBarrierWaiting, "The others are not there yet.")
	_                    = waits(tree.ErrOnceRunning, "Somebody runs it.")
	_                    = row(tree.ErrOnceDone.String(), 409, "It is done.", 0)
	_                    = row(tree.ErrOnceFailed.String(), 409, "All attempts have failed.", 0)
	_                    = row(tree.ErrCounterOverflow.String(), 409, "The sum does not fit in 64 bits.", 0)
	_                    = waits(tree.ErrKeyInProgress, "An earlier request with the same key is being answered.")
	codeCursorExpired    = row(tree.ErrCursorExpired.String(), 410, "The cursor is older than the kept events.", 0)
	_                    = row(tree.ErrHistoryLost.String(), 410, "The position is not in the history of the cluster.", 0)
	_                    = row(string(lease.ErrPageExpired), 410, "The page token has expired.", 0)
	codeSessionExpired   = row(tree.ErrSessionExpired.String(), 410, "The session is not alive.", -112)
	codeHoldLost         = row(tree.ErrHoldLost.String(), 410, "It is not held any more.", 0)
	_                    = row(tree.ErrReceiptLost.String(), 410, "Some claims are lost.", 0)
	_                    = row(tree.ErrVersionMismatch.String(), 412, "The version is another one.", -103)
	codeETagMismatch     = row(tree.ErrETagMismatch.String(), 412, "The tag is another one.", 0)
	_                    = row(tree.ErrFenceStale.String(), 412, "What the fence names is not held.", 0)
	codeTooLarge         = row(tree.ErrTooLarge.String(), 413, "The request is too large.", 0)
	codeURITooLong       = row("uri_too_long", 414, "The URL is too long.", 0)
	codeEncoding         = row("unsupported_encoding", 415, "Bodies are taken as they are, without Content-Encoding.", 0)
	codeMisdirected      = row("misdirected_request", 421, "The host is not this server.", 0)
	_                    = row(tree.ErrKeyReused.String(), 422, "The key belongs to another request.", 0)
	codeHeadersTooLarge  = row("headers_too_large", 431, "The request headers are too large.", 0)
	codeRateLimited      = row("rate_limited", 429, "Too many requests.", -127)
	codeTooManyWaiters   = row(string(lease.ErrTooManyWaiters), 429, "Too many requests are waiting.", 0)
	_                    = row(tree.ErrTooManySessions.String(), 429, "There are too many sessions.", 0)
	_                    = row(tree.ErrTooManyNodes.String(), 429, "There are too many nodes.", 0)
	codeInternal         = row(tree.ErrInternal.String(), 500, "Perch made a mistake.", 0)
	codeNoLeader         = row(string(lease.ErrNoLeader), 503, "There is no leader.", 0)
	codeNoQuorum         = row(string(lease.ErrNoQuorum), 503, "There is no quorum.", 0)
	codeNotCaughtUp      = row(string(lease.ErrNotCaughtUp), 503, "This node is behind the position asked for.", 0)
	_                    = row(string(lease.ErrOverloaded), 503, "The cluster is overloaded.", 0)
	_                    = row(string(lease.ErrStorageFull), 503, "A disk of the cluster is full.", 0)
	codeShuttingDown     = row(string(lease.ErrShuttingDown), 503, "This node is shutting down.", 0)
	codeStateInDoubt     = row(string(lease.ErrStateInDoubt), 503, "The state of this node may be wrong.", 0)
	codeCommitTimeout    = row(string(lease.ErrCommitTimeout), 504, "The outcome of the write is unknown.", 0)
)

// failure is a refusal on its way to the client.
type failure struct {
	*codeSpec
	detail  string
	field   string // JSON pointer, parameter or header at fault
	zxid    quorum.Zxid
	decided bool // on the state at zxid
	oldest  quorum.Zxid
	holder  quorum.Zxid // session that owns the node in the way
	etag    quorum.Zxid // of the node in the way
	path    string
	limit   int64
	failed  *int32   // of a multi: the operation at fault
	allow   []string // methods of the path, with 405
	tag     string   // of what is in the way, where it is not a node
	about   *inTheWay
	cause   error // for the log only
	aborted bool  // nobody reads the answer
}

func (f *failure) Error() string {
	if f.cause != nil {
		return f.code + ": " + f.cause.Error()
	}
	return f.code + ": " + f.detail
}

// Unwrap lets errors.Is find the sentinel behind the refusal.
func (f *failure) Unwrap() error { return f.cause }

// fail starts a refusal with a code of the table.
func fail(code, detail string) *failure {
	spec := specs[code]
	if spec == nil {
		return &failure{codeSpec: specs[codeInternal], cause: errors.New("unlisted code " + code)}
	}
	return &failure{codeSpec: spec, detail: detail}
}

func badArgument(field, detail string) *failure { return fail(codeInvalidArgument, detail).in(field) }

// outOfRange refuses a number that is not from least to most.
func outOfRange(field string, least, most int64) *failure {
	return badArgument(field, fmt.Sprintf("it is not from %d to %d", least, most)).met(most)
}

func (f *failure) in(field string) *failure { f.field = field; return f }

// at says that the refusal was decided on the state at z.
func (f *failure) at(z quorum.Zxid) *failure { f.zxid, f.decided = z, true; return f }

func (f *failure) met(limit int64) *failure { f.limit = limit; return f }

// asFailure is the one mapping of errors to HTTP. The state that an error was
// decided on, if any, is added by the caller with at.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var code tree.Code
	var gone lease.Unavailable
	switch {
	case errors.As(err, &code):
		f = fail(code.String(), "")
	case errors.As(err, &gone):
		f = fail(string(gone), "")
	default:
		f = mapForeign(err)
	}
	var refused *lease.Refused
	if errors.As(err, &refused) {
		f.detail = refused.Text
	}
	var path *tree.PathError
	if errors.As(err, &path) {
		f.detail, f.field = path.Reason, "path"
	}
	f.cause = err
	return f
}

// mapForeign maps the errors of the generated code and of net/http.
func mapForeign(err error) *failure {
	var format *api.InvalidParamFormatError
	var many *api.TooManyValuesForParamError
	var tooLarge *http.MaxBytesError
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &format):
		return badArgument(format.ParamName, "the value does not have the form of the parameter")
	case errors.As(err, &many):
		return badArgument(many.ParamName, "it is given more than once")
	case errors.As(err, &tooLarge):
		return fail(codeTooLarge, "the body is too large").met(tooLarge.Limit)
	case errors.As(err, &kind), errors.As(err, &syntax):
		return fail(codeInvalidJSON, "the body does not have the form of the operation")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fail(codeRequestTimeout, "")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fail(codeInvalidArgument, "the body ended before it was whole")
	case errors.Is(err, context.Canceled):
		f := fail(codeRequestTimeout, "the client went away")
		f.aborted = true
		return f
	case errors.Is(err, context.DeadlineExceeded):
		return fail(codeCommitTimeout, "")
	case errors.Is(err, errBody):
		return fail(codeInvalidArgument, "the body is not well-formed")
	}
	return fail(codeInternal, "")
}
