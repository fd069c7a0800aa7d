package handlers

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"perch/gen/api"
	"perch/lease"
)

// DownloadSnapshot implements GET /v1/snapshot. The first piece is asked for here,
// so that a refusal is a plain one.
func (e *edge) DownloadSnapshot(ctx context.Context, q api.DownloadSnapshotRequestObject) (api.DownloadSnapshotResponseObject, error) {
	if err := e.requireSession(ctx, q.Params.PerchSession); err != nil {
		return nil, err
	}
	query := lease.SnapshotQuery{Caller: callerOf(ctx)}
	piece, err := e.svc.Snapshot(ctx, query)
	if err != nil {
		return nil, err
	}
	d := &download{edge: e, query: query, piece: piece}
	x := exchangeOf(ctx)
	if x.head {
		return written(func(w http.ResponseWriter) error {
			d.headers(w.Header())
			w.WriteHeader(http.StatusOK)
			return nil
		}), nil
	}
	x.tail = d
	return later, nil
}

// download is the answer that sends a backup, piece by piece.
type download struct {
	edge  *edge
	query lease.SnapshotQuery
	piece lease.SnapshotPiece
}

func (d *download) headers(h http.Header) {
	h["Content-Type"] = []string{"application/octet-stream"}
	h["Content-Length"] = []string{strconv.FormatInt(d.piece.Size, 10)}
	h["Perch-Zxid"] = []string{formatZxid(d.piece.From.Zxid)}
	h["Perch-Digest"] = []string{digestText(d.piece.Digest)}
}

// run sends the file. After its first byte no error can be answered any more: an
// answer that ends early is shorter than it said.
func (d *download) run(x *exchange) error {
	out := http.NewResponseController(x)
	d.headers(x.Header())
	x.WriteHeader(http.StatusOK)
	d.query.From = d.piece.From
	for sent := int64(0); len(d.piece.Data) > 0; {
		// Not every ResponseWriter has deadlines (tests); those of net/http have.
		_ = out.SetWriteDeadline(time.Now().Add(writePatience))
		n, err := x.Write(d.piece.Data)
		if sent += int64(n); err != nil || sent >= d.piece.Size {
			return nil
		}
		d.query.Offset = sent
		if d.piece, err = d.edge.svc.Snapshot(x, d.query); err != nil {
			d.edge.log.Warn("a download of a snapshot ends early", "request_id", x.requestID(), "sent", sent, "error", err)
			return nil
		}
	}
	return nil
}
