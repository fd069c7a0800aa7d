package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"perch/cmd/internal/exit"
)

const (
	answerBytesMax = 64 << 20
	tryWithin      = 10 * time.Second       // of one request, beside what it is to wait: above the server's own 5 s
	readWithin     = 3 * time.Second        // of one that reads, while another server is left to ask: above the 2 s that one waits for a leader
	dialWithin     = 3 * time.Second        // how long nobody may listen before that is the answer
	againFirst     = 100 * time.Millisecond // pause before the first repetition, where no Retry-After says more
	againLast      = time.Second
	pollFor        = 25 * time.Second // that one request waits: below the time-outs of common proxies
)

// ctxKey is of what a context tells the asker about a request.
type ctxKey int

const (
	repetition ctxKey = iota
	waiting           // how long the server is to wait with its answer, a time.Duration
	streaming         // not nil: what is no refusal is left on the connection, for however long it takes
)

// repeats is what makes a request safe to repeat.
type repeats int

const (
	byKey   repeats = iota // an Idempotency-Key, unless it reads
	byPlace                // the session and the owner, which name its place; or that it reads
	never                  // nothing does, unless it was certainly not applied
	single                 // nothing at all: the first answer counts
)

// placed marks requests that may be repeated without a key, which what hands out
// or renews a hold has no use for.
func placed(ctx context.Context) context.Context { return repeatedBy(ctx, byPlace) }

func repeatedBy(ctx context.Context, by repeats) context.Context {
	return context.WithValue(ctx, repetition, by)
}

// repeatsOf says how r may be repeated.
func repeatsOf(r *http.Request) repeats {
	by, _ := r.Context().Value(repetition).(repeats)
	if by == byKey && reads(r) {
		return byPlace
	}
	return by
}

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// asker sends requests, and sends them again while that is safe and there is
// time. Its answers have been read whole, unless their request says otherwise.
type asker struct {
	http    *http.Client
	bases   []*url.URL
	verbose bool
	printer *printer

	at   int  // base that is asked
	told bool // that it tries again
}

// Do returns the last answer when the time is over, so that it can be said why.
func (a *asker) Do(r *http.Request) (*http.Response, error) {
	began, pause := time.Now(), againFirst
	for {
		resp, err := a.try(r)
		if !a.again(r, resp, err, time.Since(began)) {
			return resp, err
		}
		wait := max(pause, retryAfter(resp))
		if deadline, ok := r.Context().Deadline(); ok && time.Until(deadline) <= wait || r.Context().Err() != nil {
			return resp, err
		}
		a.tell(resp, err)
		pauseFor(r.Context(), wait)
		pause = min(2*pause, againLast)
		if resp == nil || resp.StatusCode >= 500 {
			a.at = (a.at + 1) % len(a.bases)
		}
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// try sends once, to the base of the moment.
func (a *asker) try(r *http.Request) (*http.Response, error) {
	streams := r.Context().Value(streaming) != nil
	one := r.WithContext(r.Context()) // the address of r stays
	if !streams {
		within := tryWithin
		if reads(r) && len(a.bases) > 1 {
			within = readWithin
		}
		if wait, ok := r.Context().Value(waiting).(time.Duration); ok {
			within += wait
		}
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		one = r.WithContext(ctx)
	}
	address := *r.URL
	address.Scheme, address.Host = a.bases[a.at].Scheme, a.bases[a.at].Host
	one.URL, one.Host = &address, ""
	sent := time.Now()
	resp, err := a.http.Do(one)
	if err == nil && !(streams && resp.StatusCode == http.StatusOK) {
		err = readWhole(resp)
	}
	if a.verbose {
		a.verbosely(one, resp, err, time.Since(sent))
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// readWhole takes the body off the connection.
func readWhole(resp *http.Response) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax+1))
	if err == nil && len(body) > answerBytesMax {
		err = fmt.Errorf("the answer has more than %d bytes", answerBytesMax)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return err
}

// again says whether the request is safe to be sent once more, and might then
// have another answer.
func (a *asker) again(r *http.Request, resp *http.Response, err error, after time.Duration) bool {
	by := repeatsOf(r)
	if by == single {
		return false
	}
	safe := by != never
	if err != nil {
		var wrong *net.DNSError
		switch {
		case isTrustFault(err):
			return false // it will be wrong in a second, too
		case errors.As(err, &wrong) && wrong.IsNotFound:
			return a.at+1 < len(a.bases) // as the name of a container that is down
		case notSent(err):
			return after < dialWithin || a.at+1 < len(a.bases)
		}
		return safe
	}
	ours := resp.Header.Get("Perch-Code")
	switch resp.StatusCode {
	case http.StatusServiceUnavailable:
		return safe || ours != "" // ours was not applied; what a proxy says may have been
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return safe
	case http.StatusTooManyRequests:
		return ours == "rate_limited"
	case http.StatusConflict:
		return ours == "idempotency_in_progress"
	}
	return false
}

func retryAfter(resp *http.Response) time.Duration {
	if resp == nil {
		return 0
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return time.Duration(seconds) * time.Second
}

// tell says once that it goes on trying: somebody may sit and wait.
func (a *asker) tell(resp *http.Response, err error) {
	if a.told || a.verbose || !a.printer.watched {
		return
	}
	a.told = true
	if err == nil {
		err = refusalOf(resp)
	}
	a.printer.note("%v; trying again", err)
}

func (a *asker) verbosely(r *http.Request, resp *http.Response, err error, took time.Duration) {
	end := ""
	if err != nil {
		end = err.Error()
	} else {
		end = resp.Status
		if id := resp.Header.Get("X-Request-ID"); id != "" {
			end += " " + id
		}
	}
	a.printer.note("%s %s: %s (%v)", r.Method, r.URL, end, took.Round(100*time.Microsecond))
}

// notSent says whether nothing of the request has left.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// answer is what was answered, with any status that is no error.
type answer struct {
	status int
	header http.Header
	body   []byte
	sent   time.Time // what the server counts began no earlier
}

// tag is what If-None-Match takes.
func (a *answer) tag() string { return a.header.Get("ETag") }

// call sends one request.
type call func(ctx context.Context) (*http.Response, error)

// ask has a request answered within --timeout, into v unless that is nil.
func (c *conn) ask(ctx context.Context, v any, do call) (*answer, error) {
	return c.askFor(ctx, 0, v, do)
}

// askFor is ask of a request with which the server waits so long.
func (c *conn) askFor(ctx context.Context, wait time.Duration, v any, do call) (*answer, error) {
	within, cancel := context.WithTimeout(context.WithValue(ctx, waiting, wait), c.Timeout+wait)
	defer cancel()
	a := &answer{sent: time.Now()}
	resp, err := do(within)
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	a.status, a.header = resp.StatusCode, resp.Header
	if a.status/100 != 2 && a.status != http.StatusNotModified {
		return nil, c.refused(resp)
	}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	if v == nil || a.status == http.StatusNotModified {
		return a, nil
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		return nil, fmt.Errorf("%s answers something else than Perch would: %w", resp.Request.URL.Host, err)
	}
	return a, nil
}

// follow asks until the answer is another than the one with tag, however long
// that takes and whoever is down meanwhile.
func (c *conn) follow(ctx context.Context, tag string, do func(ctx context.Context, tag string, waitMs int32) (*http.Response, error)) (*answer, error) {
	told := false
	for {
		a, err := c.askFor(ctx, pollFor, nil, func(ctx context.Context) (*http.Response, error) {
			return do(ctx, tag, int32(pollFor.Milliseconds()))
		})
		switch {
		case err == nil && a.status != http.StatusNotModified:
			return a, nil
		case err != nil && (exit.CodeOf(err) != exit.Unavailable || ctx.Err() != nil):
			return nil, err
		case err != nil && !told:
			told = true
			c.note("%v; waiting on", err)
		}
	}
}

// pauseFor waits for d, or until ctx ends.
func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
