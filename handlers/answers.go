package handlers

import (
	"net/http"
	"strconv"
)

// This file has the answers of the hot path. They are what the generated types
// would write, without formatting and canonicalizing every header on the way:
// a fifth of what a read costs at the edge.

// nodeAnswer is the 200 of GET and HEAD /v1/nodes/{path}.
type nodeAnswer struct {
	got  *polled
	head bool
}

// VisitReadNodeResponse writes the answer of GET.
func (a nodeAnswer) VisitReadNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// VisitHeadNodeResponse writes the answer of HEAD.
func (a nodeAnswer) VisitHeadNodeResponse(w http.ResponseWriter) error { return a.write(w) }

func (a nodeAnswer) write(w http.ResponseWriter) error {
	node := &a.got.Node
	v := [...]string{
		"application/octet-stream", strconv.Itoa(len(node.Data)), quoted(a.got.tag),
		formatZxid(a.got.Zxid), strconv.FormatInt(node.Stat.Version, 10),
	}
	h := w.Header()
	// Full slice expressions, so that nobody who adds a value writes into the next.
	h["Content-Type"], h["Content-Length"] = v[0:1:1], v[1:2:2]
	h["Etag"], h["Perch-Zxid"], h["Perch-Data-Version"] = v[2:3:3], v[3:4:4], v[4:5:5]
	w.WriteHeader(http.StatusOK)
	if a.head {
		return nil
	}
	_, err := w.Write(node.Data)
	return err
}

// sameAnswer is the 304 of every read that takes If-None-Match.
type sameAnswer struct{ got *polled }

// VisitReadNodeResponse writes the answer of GET.
func (a sameAnswer) VisitReadNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// VisitHeadNodeResponse writes the answer of HEAD.
func (a sameAnswer) VisitHeadNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// VisitStatNodeResponse writes the answer of /v1/stat.
func (a sameAnswer) VisitStatNodeResponse(w http.ResponseWriter) error { return a.write(w) }

// VisitListChildrenResponse writes the answer of /v1/children.
func (a sameAnswer) VisitListChildrenResponse(w http.ResponseWriter) error { return a.write(w) }

func (a sameAnswer) write(w http.ResponseWriter) error {
	v := [...]string{quoted(a.got.tag), formatZxid(a.got.Zxid)}
	h := w.Header()
	h["Etag"], h["Perch-Zxid"] = v[0:1:1], v[1:2:2]
	w.WriteHeader(http.StatusNotModified)
	return nil
}
