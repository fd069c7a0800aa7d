package handlers

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"perch/gen/api"
	"perch/quorum"
)

// absentTag is the entity tag of a node that does not exist (API.md rule 7).
const absentTag = "absent"

// statusClientGone stands in logs and metrics, never on the wire.
const statusClientGone = 499

// problem is the hook of the generated code and the router for errors.
func (e *edge) problem(_ http.ResponseWriter, r *http.Request, err error) {
	e.refuse(exchangeOf(r.Context()), err)
}

// refuse writes err as RFC 9457. It is the only place that writes errors: all
// hooks, gates and tails end here.
func (e *edge) refuse(x *exchange, err error) {
	f := asFailure(err)
	x.code = f.code
	if f.code == codeInternal {
		e.log.LogAttrs(x, slog.LevelError, "request failed",
			slog.String("request_id", x.requestID()), slog.String("error", f.Error()))
	}
	if x.status != 0 {
		return // the answer has begun; a second one would be noise in its body
	}
	// net/http ends the context also when a body fails to arrive; that client may
	// well be there.
	if f.aborted || x.Err() != nil && !errors.Is(f, errBody) {
		x.status = statusClientGone
		return
	}
	body, err := json.Marshal(render(x, f))
	if err != nil {
		body = nil // cannot happen: the type holds only strings and numbers
	}
	body = append(body, '\n') // for terminals
	h := x.Header()
	problemHeaders(h, f)
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.WriteHeader(f.status)
	if !x.head {
		_, _ = x.Write(body) // the client is gone if this fails
	}
}

func problemHeaders(h http.Header, f *failure) {
	for _, name := range []string{"Location", "Etag", "Perch-Data-Version"} {
		delete(h, name) // of an answer that failed on its way
	}
	h["Content-Type"] = []string{"application/problem+json"}
	h["Perch-Code"] = []string{f.code}
	if f.onState() {
		h["Perch-Zxid"] = []string{formatZxid(f.zxid)}
	}
	if f.code == codeNoNode && f.about == nil { // a counter that is missing has another tag
		h["Etag"] = []string{`"` + absentTag + `"`}
	}
	if f.waits() {
		h["Retry-After"] = []string{strconv.Itoa(retryAfterMs / 1000)}
	}
	if f.status == http.StatusUnauthorized {
		h["Www-Authenticate"] = []string{"Bearer"}
	}
	if f.allow != nil {
		h["Allow"] = []string{strings.Join(f.allow, ", ")}
	}
}

// onState says whether the refusal tells of a position: every 404, 409, 410 and
// 412 decided on state does (API.md rule 8), whatever the position, and any
// other that has one.
func (f *failure) onState() bool {
	switch f.status {
	case http.StatusNotFound, http.StatusConflict, http.StatusGone, http.StatusPreconditionFailed:
		return f.decided
	}
	return f.zxid != 0
}

// waits says whether the client is to ask again after a while: what was not
// applied may be then, and what others hold may be free. A write of unknown
// outcome is for the client to judge.
func (f *failure) waits() bool {
	return f.outcome == notApplied || f.retryable && f.status == http.StatusConflict
}

func render(x *exchange, f *failure) api.Problem {
	p := api.Problem{
		Type: "urn:perch:" + f.code, Title: f.title, Status: int32(f.status),
		Code: f.code, Retryable: f.retryable,
		Detail: some(f.detail), Field: some(f.field), Path: some(f.path),
		Outcome: some(f.outcome), ZkCode: some(f.zk), Limit: some(f.limit), FailedIndex: f.failed,
		Zxid: some(int64(f.zxid)), OldestZxid: some(int64(f.oldest)), RequestID: some(x.requestID()),
	}
	if f.etag != 0 {
		p.CurrentEtag = some(formatZxid(f.etag))
	}
	if f.holder != 0 {
		p.Holder = &api.Holder{SessionID: int64(f.holder)}
	}
	if f.tag != "" {
		p.CurrentEtag = &f.tag
	}
	if f.about != nil {
		f.about.render(&p)
	}
	if f.waits() {
		p.RetryAfterMs = some(int64(retryAfterMs))
	}
	return p
}

// some is a pointer to v, or nil for the zero value: an optional JSON field.
func some[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func formatZxid(z quorum.Zxid) string { return strconv.FormatUint(uint64(z), 10) }
