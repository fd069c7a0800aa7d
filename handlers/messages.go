package handlers

import (
	"context"
	"strconv"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
)

// Enqueue implements POST /v1/queues/{name}/messages.
func (e *edge) Enqueue(ctx context.Context, q api.EnqueueRequestObject) (api.EnqueueResponseObject, error) {
	p := &q.Params
	delay, err := within("delay_ms", p.DelayMs, 0, delayMsMax)
	if err != nil {
		return nil, err
	}
	enqueue := &commandpb.Enqueue{Queue: q.Name, Priority: deref(p.Priority), DelayMs: uint64(delay)}
	if err := checkThing("name", q.Name); err != nil {
		return nil, err
	}
	if enqueue.Data, err = readAll(q.Body, bodyLength(ctx)); err != nil {
		return nil, err
	}
	res, err := e.writeAs(ctx, p.PerchSession, &commandpb.Command{Op: &commandpb.Command_Enqueue{Enqueue: enqueue}})
	if err != nil {
		return nil, err
	}
	return api.Enqueue201JSONResponse{Body: api.Enqueued{ID: res.Message},
		Headers: api.Enqueue201ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
}

// PeekMessages implements GET /v1/queues/{name}/messages.
func (e *edge) PeekMessages(ctx context.Context, q api.PeekMessagesRequestObject) (api.PeekMessagesResponseObject, error) {
	p := &q.Params
	show, err := showValue(p.Include)
	if err != nil {
		return nil, err
	}
	if err := checkThing("name", q.Name); err != nil {
		return nil, err
	}
	answer, err := e.readOnePage(ctx, lease.Read{Kind: lease.ReadMessages, Of: commandpb.Kind_KIND_QUEUE, Name: q.Name, WithData: true},
		pageOptions{p.Limit, p.PageToken, p.Consistency, p.MinZxid, p.PerchSession})
	if err != nil {
		return nil, about(err, q.Name)
	}
	page := api.MessagePage{
		Messages: make([]api.QueuedMessage, len(answer.Messages)), NextPageToken: some(answer.NextPage), Zxid: int64(answer.Zxid),
	}
	for i := range answer.Messages {
		page.Messages[i] = renderQueued(&answer.Messages[i], show)
	}
	return api.PeekMessages200JSONResponse{Body: page,
		Headers: api.PeekMessages200ResponseHeaders{PerchZxid: int64(answer.Zxid)}}, nil
}

func renderQueued(m *lease.Message, show detail) api.QueuedMessage {
	enqueued := renderTime(m.Enqueued)
	out := api.QueuedMessage{
		ID: m.ID, State: m.State, Attempts: clampInt32(m.Attempts), Priority: &m.Priority, EnqueuedAt: &enqueued, DeadFrom: some(m.DeadFrom),
	}
	out.Data, out.Text = show.value(m.Data)
	return out
}

// ClaimMessages implements POST /v1/queues/{name}/claim. Nothing to be had is
// no refusal.
func (e *edge) ClaimMessages(ctx context.Context, q api.ClaimMessagesRequestObject) (api.ClaimMessagesResponseObject, error) {
	spec := deref(q.Body)
	show, err := showValue(q.Params.Include)
	if err != nil {
		return nil, err
	}
	if err := checkThing("name", q.Name); err != nil {
		return nil, err
	}
	wait, err := e.patience("/wait_ms", spec.WaitMs, q.Params.Prefer)
	if err != nil {
		return nil, err
	}
	claim := &commandpb.Claim{Queue: q.Name, Count: 1, TtlMs: claimTTLDefault, Wait: wait > 0}
	if err := claimSize(claim, &spec); err != nil {
		return nil, err
	}
	token, err := e.session(ctx, q.Params.PerchSession)
	if err != nil {
		return nil, err
	}
	work := &doing[api.ClaimMessagesResponseObject]{
		wait: wait, visit: api.ClaimMessagesResponseObject.VisitClaimMessagesResponse,
		do: func(x *exchange) (api.ClaimMessagesResponseObject, error) {
			res, err := e.take(x, token, wait, &commandpb.Command{Op: &commandpb.Command_Claim{Claim: claim}})
			if err != nil {
				return nil, err
			}
			return api.ClaimMessages200JSONResponse{Body: renderClaim(&res, show),
				Headers: api.ClaimMessages200ResponseHeaders{PerchZxid: int64(res.Zxid)}}, nil
		},
	}
	return work.begin(ctx, later)
}

// claimSize reads how much is claimed, and for how long.
func claimSize(claim *commandpb.Claim, spec *api.ClaimSpec) error {
	count, err := within("/count", spec.Count, 1, claimCountMax)
	if err != nil {
		return err
	}
	ttl, err := within("/ttl_ms", spec.TTLMs, claimTTLMin, claimTTLMax)
	if err != nil {
		return err
	}
	if count != 0 {
		claim.Count = uint32(count)
	}
	if ttl != 0 {
		claim.TtlMs = uint64(ttl)
	}
	return nil
}

func renderClaim(res *lease.Result, show detail) api.Claim {
	claim := api.Claim{Messages: make([]api.Message, len(res.Claimed)), Replayed: some(res.Replayed)}
	for i := range res.Claimed {
		claim.Messages[i] = renderMessage(&res.Claimed[i], show)
	}
	return claim
}

func renderMessage(m *lease.Message, show detail) api.Message {
	enqueued := renderTime(m.Enqueued)
	out := api.Message{
		ID: m.ID, Receipt: m.Receipt, Attempts: clampInt32(m.Attempts), Priority: &m.Priority, FencingToken: int64(m.Token),
		RemainingMs: milliseconds(m.Remaining), EnqueuedAt: &enqueued, DeadFrom: some(m.DeadFrom),
	}
	out.Data, out.Text = show.value(m.Data)
	return out
}

// AckMessages implements POST /v1/queues/{name}/ack.
func (e *edge) AckMessages(ctx context.Context, q api.AckMessagesRequestObject) (api.AckMessagesResponseObject, error) {
	results, z, err := e.settle(ctx, q.Name, q.Params.PerchSession, q.Body.Receipts, &commandpb.Settle{How: commandpb.Settle_HOW_ACK})
	if err != nil {
		return nil, err
	}
	return api.AckMessages200JSONResponse{Body: results, Headers: api.AckMessages200ResponseHeaders{PerchZxid: z}}, nil
}

// NackMessages implements POST /v1/queues/{name}/nack.
func (e *edge) NackMessages(ctx context.Context, q api.NackMessagesRequestObject) (api.NackMessagesResponseObject, error) {
	delay, err := within("/delay_ms", q.Body.DelayMs, 0, delayMsMax)
	if err != nil {
		return nil, err
	}
	results, z, err := e.settle(ctx, q.Name, q.Params.PerchSession, q.Body.Receipts,
		&commandpb.Settle{How: commandpb.Settle_HOW_NACK, Ms: uint64(delay)})
	if err != nil {
		return nil, err
	}
	return api.NackMessages200JSONResponse{Body: results, Headers: api.NackMessages200ResponseHeaders{PerchZxid: z}}, nil
}

// ExtendMessages implements POST /v1/queues/{name}/extend.
func (e *edge) ExtendMessages(ctx context.Context, q api.ExtendMessagesRequestObject) (api.ExtendMessagesResponseObject, error) {
	ttl, err := within("/ttl_ms", &q.Body.TTLMs, claimTTLMin, claimTTLMax)
	if err != nil {
		return nil, err
	}
	results, z, err := e.settle(ctx, q.Name, q.Params.PerchSession, q.Body.Receipts,
		&commandpb.Settle{How: commandpb.Settle_HOW_EXTEND, Ms: uint64(ttl)})
	if err != nil {
		return nil, err
	}
	return api.ExtendMessages200JSONResponse{Body: results, Headers: api.ExtendMessages200ResponseHeaders{PerchZxid: z}}, nil
}

// settle acks, nacks or extends claims.
func (e *edge) settle(ctx context.Context, name string, session *string, receipts []string, settle *commandpb.Settle) (api.ReceiptResults, int64, error) {
	if len(receipts) == 0 || len(receipts) > receiptsMax {
		return api.ReceiptResults{}, 0, outOfRange("/receipts", 1, receiptsMax)
	}
	for i, receipt := range receipts {
		if err := checkReceipt("/receipts/"+strconv.Itoa(i), receipt); err != nil {
			return api.ReceiptResults{}, 0, err
		}
	}
	settle.Queue, settle.Receipts = name, receipts
	res, err := e.aboutThing(ctx, name, session, &commandpb.Command{Op: &commandpb.Command_Settle{Settle: settle}})
	return renderReceipts(&res.Receipts), int64(res.Zxid), err
}

// checkReceipt refuses what no claim has ever been given.
func checkReceipt(field, receipt string) error {
	if receipt == "" || len(receipt) > receiptBytesMax {
		return badArgument(field, "it is no receipt").met(receiptBytesMax)
	}
	return checkText(field, receipt)
}

func renderReceipts(r *lease.Receipts) api.ReceiptResults {
	return api.ReceiptResults{Ok: append([]string{}, r.OK...), Lost: append([]string{}, r.Lost...)}
}
