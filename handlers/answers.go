package handlers

import (
	"net/http"
	"strconv"
)

// written is an answer of a read that may have waited. It stands for the
// generated types where those do not do: they cannot be written later, and they
// format and canonicalize every header, which was a fifth of what a read cost
// at the edge.
type written func(w http.ResponseWriter) error

// VisitReadNodeResponse writes the answer of GET /v1/nodes/{path}.
func (f written) VisitReadNodeResponse(w http.ResponseWriter) error { return f(w) }

// VisitHeadNodeResponse writes the answer of HEAD /v1/nodes/{path}.
func (f written) VisitHeadNodeResponse(w http.ResponseWriter) error { return f(w) }

// VisitStatNodeResponse writes the answer of GET /v1/stat/{path}.
func (f written) VisitStatNodeResponse(w http.ResponseWriter) error { return f(w) }

// VisitListChildrenResponse writes the answer of GET /v1/children/{path}.
func (f written) VisitListChildrenResponse(w http.ResponseWriter) error { return f(w) }

// VisitWatchNodeResponse writes the answer of GET /v1/watch/{path}.
func (f written) VisitWatchNodeResponse(w http.ResponseWriter) error { return f(w) }

// VisitStreamNodeResponse writes the answer of GET /v1/stream/{path}.
func (f written) VisitStreamNodeResponse(w http.ResponseWriter) error { return f(w) }

// later is the answer that the tail of the exchange will write.
var later written = func(http.ResponseWriter) error { return nil }

// nodeAnswer is the 200 of GET and HEAD /v1/nodes/{path}.
func nodeAnswer(got *polled, head bool) written {
	return func(w http.ResponseWriter) error {
		node := &got.Node
		v := [...]string{
			"application/octet-stream", strconv.Itoa(len(node.Data)), quoted(got.tag),
			formatZxid(got.Zxid), strconv.FormatInt(node.Stat.Version, 10),
		}
		h := w.Header()
		// Full slice expressions, so that nobody who adds a value writes into the next.
		h["Content-Type"], h["Content-Length"] = v[0:1:1], v[1:2:2]
		h["Etag"], h["Perch-Zxid"], h["Perch-Data-Version"] = v[2:3:3], v[3:4:4], v[4:5:5]
		w.WriteHeader(http.StatusOK)
		if head {
			return nil
		}
		_, err := w.Write(node.Data)
		return err
	}
}

// sameAnswer is the 304 of every read that takes If-None-Match.
func sameAnswer(got *polled) written {
	return func(w http.ResponseWriter) error {
		v := [...]string{quoted(got.tag), formatZxid(got.Zxid)}
		h := w.Header()
		h["Etag"], h["Perch-Zxid"] = v[0:1:1], v[1:2:2]
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
}
