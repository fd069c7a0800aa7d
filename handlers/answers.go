package handlers

import (
	"net/http"
	"strconv"
)

// written is an answer of an operation that may have waited. It stands for the
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

// VisitAcquireLockResponse writes the answer of POST /v1/locks/{name}/acquire.
func (f written) VisitAcquireLockResponse(w http.ResponseWriter) error { return f(w) }

// VisitAcquireLockSetResponse writes the answer of POST /v1/lock-sets/acquire.
func (f written) VisitAcquireLockSetResponse(w http.ResponseWriter) error { return f(w) }

// VisitAcquireSemaphoreResponse writes the answer of POST /v1/semaphores/{name}/acquire.
func (f written) VisitAcquireSemaphoreResponse(w http.ResponseWriter) error { return f(w) }

// VisitCampaignResponse writes the answer of POST /v1/elections/{name}/campaign.
func (f written) VisitCampaignResponse(w http.ResponseWriter) error { return f(w) }

// VisitBeginOnceResponse writes the answer of POST /v1/once/{name}/begin.
func (f written) VisitBeginOnceResponse(w http.ResponseWriter) error { return f(w) }

// VisitClaimMessagesResponse writes the answer of POST /v1/queues/{name}/claim.
func (f written) VisitClaimMessagesResponse(w http.ResponseWriter) error { return f(w) }

// VisitEnterBarrierResponse writes the answer of POST /v1/barriers/{name}/enter.
func (f written) VisitEnterBarrierResponse(w http.ResponseWriter) error { return f(w) }

// VisitLeaveBarrierResponse writes the answer of POST /v1/barriers/{name}/leave.
func (f written) VisitLeaveBarrierResponse(w http.ResponseWriter) error { return f(w) }

// VisitGetLockResponse writes the answer of GET /v1/locks/{name}.
func (f written) VisitGetLockResponse(w http.ResponseWriter) error { return f(w) }

// VisitGetSemaphoreResponse writes the answer of GET /v1/semaphores/{name}.
func (f written) VisitGetSemaphoreResponse(w http.ResponseWriter) error { return f(w) }

// VisitGetLeaderResponse writes the answer of GET /v1/elections/{name}.
func (f written) VisitGetLeaderResponse(w http.ResponseWriter) error { return f(w) }

// VisitGetOnceResponse writes the answer of GET /v1/once/{name}.
func (f written) VisitGetOnceResponse(w http.ResponseWriter) error { return f(w) }

// VisitGetBarrierResponse writes the answer of GET /v1/barriers/{name}.
func (f written) VisitGetBarrierResponse(w http.ResponseWriter) error { return f(w) }

// VisitGetCounterResponse writes the answer of GET /v1/counters/{name}.
func (f written) VisitGetCounterResponse(w http.ResponseWriter) error { return f(w) }

// VisitDownloadSnapshotResponse writes the answer of GET /v1/snapshot.
func (f written) VisitDownloadSnapshotResponse(w http.ResponseWriter) error { return f(w) }

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
