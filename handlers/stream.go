package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"perch/gen/api"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

const (
	heartbeat      = 15 * time.Second
	writePatience  = 10 * time.Second
	streamBytesMax = 64 << 10 // gathered before they are written
)

// StreamNode implements GET /v1/stream/{path}. The first question to the
// history is asked here, so that a cursor that is too old is a plain 410.
func (e *edge) StreamNode(ctx context.Context, q api.StreamNodeRequestObject) (api.StreamNodeResponseObject, error) {
	p := &q.Params
	cursor, field := p.Since, "since"
	if p.LastEventID != nil && *p.LastEventID != "" {
		cursor, field = p.LastEventID, "Last-Event-ID"
	}
	query, err := e.eventQuery(ctx, q.Path, p.Scope, cursor, field, p.PerchSession)
	if err != nil {
		return nil, err
	}
	if e.drained.Err() != nil {
		return nil, fail(codeShuttingDown, "")
	}
	query.Floor = floorPatience
	since := query.Since
	batch, err := e.events(ctx, &query)
	if err != nil {
		return nil, err
	}
	if cursor == nil {
		since = batch.Cursor
	}
	x := exchangeOf(ctx)
	if x.head {
		return written(func(w http.ResponseWriter) error {
			streamHeaders(w.Header(), since)
			w.WriteHeader(http.StatusOK)
			return nil
		}), nil
	}
	x.tail = &stream{edge: e, query: query, batch: batch, since: since}
	return later, nil
}

// stream is the answer of a stream: it writes events until either side ends.
type stream struct {
	edge  *edge
	query lease.EventQuery
	batch lease.EventBatch
	since quorum.Zxid // where the stream begins
	x     *exchange
	out   *http.ResponseController
	buf   bytes.Buffer
}

func streamHeaders(h http.Header, since quorum.Zxid) {
	h["Content-Type"] = []string{"text/event-stream"}
	h["X-Accel-Buffering"] = []string{"no"}
	h["Perch-Zxid"] = []string{formatZxid(since)}
}

// run writes the stream. After the first byte no error can be answered any
// more: a stream that breaks ends, and the client comes back with
// Last-Event-ID.
func (s *stream) run(x *exchange) error {
	waiting, leave, err := s.edge.park(x, x.begun.Add(streamAgeMax))
	if err != nil {
		return err
	}
	defer leave()
	s.x, s.out = x, http.NewResponseController(x)
	streamHeaders(x.Header(), s.since)
	x.WriteHeader(http.StatusOK)
	s.writeID(s.since)
	if s.flush() == nil {
		s.follow(waiting)
	}
	return nil
}

// streamAgeMax ends a stream that nobody else ended; clients resume.
const streamAgeMax = 24 * time.Hour

// follow writes what happens until waiting ends.
func (s *stream) follow(waiting context.Context) {
	beat := time.Now().Add(heartbeat)
	for waiting.Err() == nil {
		if !s.writeBatch() {
			return
		}
		if len(s.batch.Events) > 0 {
			beat = time.Now().Add(heartbeat)
		} else if !time.Now().Before(beat) {
			s.writeID(s.query.Since)
			beat = time.Now().Add(heartbeat)
		}
		if s.flush() != nil || !s.next(waiting, beat) {
			return
		}
	}
}

// next gets the next batch, at the latest when a heartbeat is due.
func (s *stream) next(waiting context.Context, beat time.Time) bool {
	s.query.Parked = !s.batch.More
	if s.query.Parked {
		until, cancel := context.WithDeadline(waiting, beat)
		_, err := s.edge.await(waiting, until, interestsOf(&s.query))
		cancel()
		if err != nil || waiting.Err() != nil {
			return false
		}
	}
	s.query.Floor = 0
	batch, err := s.edge.events(waiting, &s.query)
	if err == nil {
		s.batch = batch
		return true
	}
	if f := asFailure(err); f.status == http.StatusGone {
		s.writeGone(f)
		_ = s.flush()
	}
	return false
}

// writeBatch gathers the events of the batch, each as one message; the last of
// a zxid carries the id from which a client can resume.
func (s *stream) writeBatch() bool {
	events := s.batch.Events
	for i := range events {
		last := i+1 == len(events) || events[i+1].Zxid != events[i].Zxid
		s.writeEvent(&events[i], last)
		if s.buf.Len() > streamBytesMax && s.flush() != nil {
			return false
		}
	}
	return true
}

func (s *stream) writeEvent(ev *tree.Event, last bool) {
	data, err := json.Marshal(renderEvent(ev))
	if err != nil {
		return // cannot happen: numbers, strings and times within years 1 to 9999
	}
	if last {
		s.buf.WriteString("id: " + formatZxid(ev.Zxid) + "\n")
	}
	s.buf.WriteString("data: ")
	s.buf.Write(data)
	s.buf.WriteString("\n\n")
}

// writeID moves the id of the client without an event.
func (s *stream) writeID(z quorum.Zxid) { s.buf.WriteString("id: " + formatZxid(z) + "\n\n") }

func (s *stream) writeGone(f *failure) {
	data, err := json.Marshal(render(s.x, f))
	if err != nil {
		return
	}
	s.buf.WriteString("event: gone\ndata: ")
	s.buf.Write(data)
	s.buf.WriteString("\n\n")
}

// flush sends what was gathered. A client that does not read is given up.
func (s *stream) flush() error {
	if s.buf.Len() == 0 {
		return nil
	}
	// Not every ResponseWriter has deadlines (tests); those of net/http have.
	_ = s.out.SetWriteDeadline(time.Now().Add(writePatience))
	_, err := s.buf.WriteTo(s.x)
	if err == nil {
		err = s.out.Flush()
	}
	// HTTP/2 resets a stream whose deadline passes even when nothing is written.
	_ = s.out.SetWriteDeadline(time.Time{})
	return err
}
