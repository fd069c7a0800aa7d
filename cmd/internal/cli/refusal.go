package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

// refusal is an answer that is an error.
type refusal struct {
	client.Problem
	host    string // that answered
	http    int    // status
	foreign bool   // no node or gateway said so
}

// refusalOf reads an answer that is an error, Perch's or that of something in
// between.
func refusalOf(resp *http.Response) *refusal {
	r := &refusal{host: resp.Request.URL.Host, http: resp.StatusCode}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil || json.Unmarshal(body, &r.Problem) != nil || r.Code == "" {
		r.Problem = client.Problem{}
		r.foreign = resp.Header.Get("Perch-Code") == ""
	}
	return r
}

func (r *refusal) Error() string {
	if r.Code == "" {
		return fmt.Sprintf("%s answers %d %s", r.host, r.http, http.StatusText(r.http))
	}
	text := r.Code + ": " + r.Title
	if r.FailedIndex != nil {
		text += fmt.Sprintf(" Nothing was done; operation %d failed.", *r.FailedIndex+1)
	}
	switch {
	case r.Field != nil && r.Detail != nil:
		text += " (" + *r.Field + ": " + *r.Detail + ")"
	case r.Field != nil || r.Detail != nil:
		text += " (" + deref(r.Field) + deref(r.Detail) + ")"
	}
	if h := r.Holder; h != nil {
		text += r.holderText(h)
	}
	if r.Position != nil && *r.Position > 0 {
		text += fmt.Sprintf(" Place in the queue: %d.", *r.Position)
	}
	return text
}

func (r *refusal) holderText(h *client.Holder) string {
	if deref(h.Owner) == "" {
		return fmt.Sprintf(" Its holder: session %d.", h.SessionID)
	}
	text := " Its holder: " + clean(*h.Owner)
	if h.RemainingMs != nil {
		text += fmt.Sprintf(", whose time is over in %v unless it is renewed", (time.Duration(*h.RemainingMs) * time.Millisecond).Round(time.Second))
	}
	return text + "."
}

// exitCode is what a script is told. A code that is not known counts by its
// status (API.md rule 17).
func (r *refusal) exitCode(read bool) int {
	switch r.http {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusGone, http.StatusPreconditionFailed, http.StatusConflict:
		if r.foreign {
			return exit.Failure // it tells nothing of the state
		}
	}
	switch r.http {
	case http.StatusBadRequest:
		return exit.Usage
	case http.StatusUnauthorized, http.StatusForbidden:
		return exit.Refused
	case http.StatusNotFound:
		return exit.NotFound
	case http.StatusGone:
		return exit.Gone
	case http.StatusPreconditionFailed:
		return exit.Precondition
	case http.StatusConflict:
		switch r.Code {
		case "lock_held", "lock_delayed", "no_permits", "barrier_waiting", "once_running", "superseded", "idempotency_in_progress":
			return exit.NotObtained
		}
		return exit.Precondition
	case http.StatusTooManyRequests:
		return exit.Unavailable
	}
	switch {
	case r.http < 500:
		return exit.Failure
	case read, r.Outcome != nil && *r.Outcome == "not_applied":
		return exit.Unavailable
	}
	return exit.Unknown
}

// hints say what to do, where there is something better than what the problem says.
var hints = map[string]string{
	"unauthenticated":         "say who asks: --token-file FILE, or the environment variable PERCH_TOKEN",
	"permission_denied":       "perch whoami shows who you are taken for, and what you may do",
	"reserved_path":           "below /perch is what locks and the like keep; use their commands",
	"no_parent":               "-p makes the parents that are missing",
	"node_exists":             "perch set changes a node that exists",
	"not_empty":               "-r deletes what is below, too",
	"version_mismatch":        "somebody changed it meanwhile: look at it again, and decide anew",
	"etag_mismatch":           "somebody changed it meanwhile: look at it again, and decide anew",
	"fence_stale":             "what was to be held is not held any more, so nothing was done",
	"session_expired":         "what the session held is gone; perch session create opens another (or unset PERCH_SESSION)",
	"cursor_expired":          "read the state anew, then watch on from there",
	"page_expired":            "begin the list anew",
	"no_quorum":               "a majority of the voters must run and reach each other; perch cluster shows who does",
	"no_leader":               "a majority of the voters must run and reach each other; perch cluster shows who does",
	"quota_exceeded":          "perch quota get shows what is used, and how much may be",
	"commit_timeout":          "whether it was done is not known: look, or ask again with the same --idempotency-key",
	"mode_mismatch":           "the session has it in another mode: release it first",
	"limit_mismatch":          "others use the semaphore with another --limit",
	"idempotency_key_reused":  "the key has been used for something else: take another one",
	"too_many_waiters":        "too many wait already; come back later",
	"misdirected_request":     "the cluster does not know itself by the name in --url",
	"idempotency_in_progress": "the same request is under way; ask again with the same --idempotency-key",
}

func (r *refusal) hint(read, verbose bool) string {
	text := hints[r.Code]
	if r.foreign && r.http == http.StatusNotFound {
		text = "no node of Perch answers so: is --url right?"
	}
	if text == "" && r.http >= 500 && !read && (r.Outcome == nil || *r.Outcome != "not_applied") {
		text = hints["commit_timeout"]
	}
	if verbose && r.RequestID != nil {
		if text != "" {
			text += "\n"
		}
		text += "request id: " + *r.RequestID
	}
	return text
}

// refused makes the error of an answer.
func (c *conn) refused(resp *http.Response) error {
	r := refusalOf(resp)
	read := reads(resp.Request)
	return &exit.Error{Code: r.exitCode(read), Err: r, Hint: r.hint(read, c.Verbose)}
}

// codeOf is the code of the problem that err is; "" when it is none.
func codeOf(err error) string {
	var r *refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// lost makes the error of a request that has no answer.
func (c *conn) lost(ctx context.Context, err error) error {
	read := false
	if u := (*url.Error)(nil); errors.As(err, &u) {
		read = u.Op == "Get" || u.Op == "Head"
		err = u.Err
	}
	e := &exit.Error{Code: exit.Unknown, Err: fmt.Errorf("no answer from %s: %w", c.URL, err), Hint: hints["commit_timeout"]}
	switch {
	case isTrustFault(err):
		e.Code, e.Hint = exit.Failure, "the node's certificate is not trusted: --ca-file names the certificates that sign it"
	case notSent(err):
		e.Code, e.Hint = exit.Unavailable, "no node listens there: start one with perch serve, or name another with --url or PERCH_URL"
	case read:
		e.Code, e.Hint = exit.Unavailable, ""
	}
	if ctx.Err() != nil {
		if e.Err = errors.New("told to end before an answer came"); e.Code == exit.Unavailable {
			e.Code, e.Hint = exit.Interrupted, ""
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		e.Err = fmt.Errorf("no answer from %s within %v", c.URL, c.Timeout)
	}
	return e
}

// isTrustFault says whether the other side is not who it should be.
func isTrustFault(err error) bool {
	var (
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		record  tls.RecordHeaderError
		alert   tls.AlertError
	)
	return errors.As(err, &verify) || errors.As(err, &unknown) || errors.As(err, &record) || errors.As(err, &alert)
}
