package handlers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// A body may take this long, and a second more for every so many bytes.
const (
	bodyPatience       = 5 * time.Second
	bodyBytesPerSecond = 64 << 10
)

// boundBody makes reading the body end with an error when it is longer than
// limit or slower than the deadline for its size. A body of no bytes costs
// nothing.
func boundBody(x *exchange, r *http.Request, limit int64) *failure {
	if x.length == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if x.length > limit {
		return fail(codeTooLarge, "the body is too large").met(limit)
	}
	size := x.length
	if size < 0 {
		size = limit
	}
	patience := bodyPatience + time.Duration(size/bodyBytesPerSecond)*time.Second
	// Not every ResponseWriter has deadlines (tests); those of net/http have.
	_ = http.NewResponseController(x.ResponseWriter).SetReadDeadline(x.begun.Add(patience))
	// The writer of net/http itself, so that it closes the connection of a
	// client that keeps sending.
	r.Body = http.MaxBytesReader(x.ResponseWriter, r.Body, limit)
	return nil
}

// checkBody bounds the body of the operation. A JSON body is read, checked and
// put back for the generated code, which would pass over its faults.
func checkBody(x *exchange, op *operation, r *http.Request) *failure {
	switch {
	case op.raw:
		return boundBody(x, r, valueBytesMax)
	case op.json == nil:
		return nil
	}
	if f := boundBody(x, r, jsonBytesMax); f != nil {
		return f
	}
	body, err := readAll(r.Body, x.length)
	if err != nil {
		return asFailure(err)
	}
	if op.json.needed && len(bytes.Trim(body, " \t\r\n")) == 0 {
		if op.json.wholly {
			return fail(codeInvalidArgument, "the operation takes a body")
		}
		body = []byte("{}") // for the operation to find fault with, after it has looked at the session
	}
	if f := checkJSON(body, op.json); f != nil {
		return f
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if x.key != nil {
		x.key.noteJSON(body)
	}
	return nil
}

// readAll reads a bounded body whose length may be known.
func readAll(body io.Reader, length int64) ([]byte, error) {
	if body == nil || length == 0 {
		return nil, nil
	}
	var b []byte
	var err error
	if length < 0 {
		b, err = io.ReadAll(body)
	} else {
		b = make([]byte, length)
		_, err = io.ReadFull(body, b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBody, err)
	}
	return b, nil
}

// errBody stands before every error of reading a body. Where nothing better is
// known of it the fault is in the framing of the body, and thus the client's.
var errBody = errors.New("reading the body")
