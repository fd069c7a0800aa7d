package handlers

import (
	"context"
	"math"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
)

// The bounds of requests about queues.
const (
	claimCountMax   = 100
	claimTTLMin     = 1_000
	claimTTLMax     = 43_200_000
	claimTTLDefault = 30_000
	delayMsMax      = 2_592_000_000
	receiptsMax     = 100
	receiptBytesMax = 128
	deadSuffix      = ".dead" // of the queue for dead letters, unless it has another name
)

// ListQueues implements GET /v1/queues.
func (e *edge) ListQueues(ctx context.Context, q api.ListQueuesRequestObject) (api.ListQueuesResponseObject, error) {
	p := &q.Params
	page, err := e.names(ctx, commandpb.Kind_KIND_QUEUE,
		listOptions{p.Prefix, pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession}})
	if err != nil {
		return nil, err
	}
	return api.ListQueues200JSONResponse{Body: page, Headers: api.ListQueues200ResponseHeaders{PerchZxid: page.Zxid}}, nil
}

// GetQueue implements GET /v1/queues/{name}.
func (e *edge) GetQueue(ctx context.Context, q api.GetQueueRequestObject) (api.GetQueueResponseObject, error) {
	p := &q.Params
	if err := checkThing("name", q.Name); err != nil {
		return nil, err
	}
	read := lease.Read{Kind: lease.ReadQueue, Of: commandpb.Kind_KIND_QUEUE, Name: q.Name}
	var err error
	if read.At, err = readAt(p.Consistency, p.MinZxid); err != nil {
		return nil, err
	}
	if read.Token, err = e.session(ctx, p.PerchSession); err != nil {
		return nil, err
	}
	answer, err := e.read(ctx, read)
	if err != nil {
		return nil, about(err, q.Name)
	}
	return api.GetQueue200JSONResponse{Body: renderQueue(&answer.Queue),
		Headers: api.GetQueue200ResponseHeaders{PerchZxid: int64(answer.Zxid)}}, nil
}

func renderQueue(s *lease.QueueState) api.QueueState {
	tag := thingTag(commandpb.Kind_KIND_QUEUE, s.Tag)
	return api.QueueState{
		Name: s.Name, Ready: s.Ready, Leased: s.Leased, Delayed: s.Delayed, DeadLetter: some(s.DeadLetter),
		MaxAttempts: some(int32(min(s.MaxAttempts, math.MaxInt32))), OldestMs: some(milliseconds(s.Oldest)), Etag: &tag,
	}
}

// ConfigureQueue implements PUT /v1/queues/{name}.
func (e *edge) ConfigureQueue(ctx context.Context, q api.ConfigureQueueRequestObject) (api.ConfigureQueueResponseObject, error) {
	configure := &commandpb.ConfigureQueue{Queue: q.Name}
	attempts, err := within("/max_attempts", q.Body.MaxAttempts, 0, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	if q.Body.DeadLetter != nil {
		configure.DeadLetter = *q.Body.DeadLetter
		if err := checkThing("/dead_letter", configure.DeadLetter); err != nil {
			return nil, err
		}
	}
	if err := checkDeadLetter(configure, attempts > 0); err != nil {
		return nil, err
	}
	configure.MaxAttempts = uint64(attempts)
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{
		Op: &commandpb.Command_ConfigureQueue{ConfigureQueue: configure}})
	if err != nil {
		return nil, err
	}
	return api.ConfigureQueue200JSONResponse{Body: renderQueue(&res.Queue),
		Headers: api.ConfigureQueue200ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// checkDeadLetter refuses a queue that would be its own dead letters', and one
// that needs another for them whose name would be too long.
func checkDeadLetter(c *commandpb.ConfigureQueue, bounded bool) error {
	switch {
	case c.DeadLetter == c.Queue:
		return badArgument("/dead_letter", "it is the queue itself")
	case bounded && c.DeadLetter == "" && len(c.Queue)+len(deadSuffix) > nameBytesMax:
		return badArgument("/dead_letter", "it is missing, and the name with "+deadSuffix+" behind it is too long").met(nameBytesMax)
	}
	return nil
}

// DeleteQueue implements DELETE /v1/queues/{name}.
func (e *edge) DeleteQueue(ctx context.Context, q api.DeleteQueueRequestObject) (api.DeleteQueueResponseObject, error) {
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{
		Op: &commandpb.Command_DeleteQueue{DeleteQueue: &commandpb.DeleteQueue{Queue: q.Name, Force: is(q.Params.Force)}}})
	if err != nil {
		return nil, err
	}
	return api.DeleteQueue204Response{Headers: api.DeleteQueue204ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// RedriveMessages implements POST /v1/queues/{name}/redrive.
func (e *edge) RedriveMessages(ctx context.Context, q api.RedriveMessagesRequestObject) (api.RedriveMessagesResponseObject, error) {
	if err := checkThing("/to", q.Body.To); err != nil {
		return nil, err
	}
	if q.Body.To == q.Name {
		return nil, badArgument("/to", "it is the queue itself")
	}
	limit, err := within("/limit", q.Body.Limit, 1, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	exchangeOf(ctx).concerns(q.Body.To)
	res, err := e.aboutThing(ctx, q.Name, q.Params.PerchSession, &commandpb.Command{
		Op: &commandpb.Command_Redrive{Redrive: &commandpb.Redrive{Queue: q.Name, To: q.Body.To, Limit: uint64(limit)}}})
	if err != nil {
		return nil, err
	}
	return api.RedriveMessages200JSONResponse{Body: api.Redriven{Moved: int64(res.Moved)},
		Headers: api.RedriveMessages200ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}
