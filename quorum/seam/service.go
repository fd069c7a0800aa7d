package seam

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// The longest times that a node takes for an answer, by what it waits for: a
// leader, a floor, an outcome. One that takes longer is lost.
const (
	writeWithin = 10 * time.Second
	readWithin  = 10 * time.Second // besides what a floor is waited for
	leaveWithin = 10 * time.Second // of an Acquire, after its wait

	snapshotWithin = time.Minute // to write a backup of a large state
)

// Write implements lease.Service.
func (c *Client) Write(ctx context.Context, cmd *commandpb.Command, token string) (lease.Result, error) {
	q := &seampb.Question{Ask: &seampb.Question_Write{Write: &seampb.Write{Command: cmd, Token: []byte(token)}}}
	return c.resulting(ctx, asking{build: always(q), repeat: cmd.GetKey() != nil, within: writeWithin})
}

func always(q *seampb.Question) func() *seampb.Question { return func() *seampb.Question { return q } }

// resulting asks what is answered by a result.
func (c *Client) resulting(ctx context.Context, a asking) (lease.Result, error) {
	answer, err := c.ask(ctx, a)
	if err != nil {
		return lease.Result{}, err
	}
	res := fromResult(answer.GetResult())
	c.raise(res.Zxid)
	return res, fromError(answer.GetError())
}

// Acquire implements lease.Service. So that it can be asked again at another
// node, and keeps its place there, a session that the server is to draw is drawn
// here. A claim without a key is no such thing: asked again it would take other
// messages.
func (c *Client) Acquire(ctx context.Context, cmd *commandpb.Command, token string, wait time.Duration) (lease.Result, error) {
	end := time.Now().Add(wait)
	drawn := token == "" && cmd.GetAcquire() != nil && cmd.GetSession().GetOpenTtlMs() != 0
	for {
		if drawn {
			token = rand.Text()
		}
		asked := 0
		res, err := c.resulting(ctx, asking{
			build: func() *seampb.Question {
				asked++
				left := wait
				if wait > 0 {
					left = max(time.Millisecond, time.Until(end))
				}
				return &seampb.Question{Ask: &seampb.Question_Acquire{Acquire: &seampb.Acquire{
					Command: cmd, Token: []byte(token), WaitNs: int64(left), Drawn: drawn,
				}}}
			},
			repeat: cmd.GetAcquire() != nil || cmd.GetKey() != nil,
			within: wait + leaveWithin, again: wait,
			parks: wait > 0, orphan: drawn || cmd.GetAcquire() == nil && cmd.GetKey() == nil,
		})
		// An answer that was lost may have said that the wait had failed: with it
		// went the session, which nobody has heard of.
		if drawn && asked > 1 && ended(&res, err) && time.Now().Before(end) {
			continue
		}
		if drawn && err == nil && (res.Hold.Token != 0 || res.Opened) {
			res.Token = token
		}
		if drawn && err != nil && (ctx.Err() != nil || c.drained.Err() != nil) {
			c.giveBack(cmd.GetCaller(), token)
		}
		return res, err
	}
}

// giveBack closes a session that was drawn here, and of which nobody has heard
// because the client has gone: the answer that grants may have been on its way.
func (c *Client) giveBack(caller *commandpb.Caller, token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.work.Go(func() {
		cmd := &commandpb.Command{
			Caller: caller, Op: &commandpb.Command_CloseSession{CloseSession: &commandpb.CloseSession{}},
		}
		if _, err := c.Write(c.ctx, cmd, token); err != nil && !errors.Is(err, tree.ErrSessionExpired) {
			c.log.Debug("a session that nobody has heard of could not be closed", "error", err)
		}
	})
}

// ended says whether the session of a command is alive no more.
func ended(res *lease.Result, err error) bool {
	return errors.Is(err, tree.ErrSessionExpired) || err == nil && res.Code == tree.ErrSessionExpired
}

// Read implements lease.Service.
func (c *Client) Read(ctx context.Context, q lease.Read) (lease.Answer, error) {
	if q.At.Floor <= quorum.Zxid(c.told.Load()) {
		q.At.Floor, q.At.Wait = 0, 0 // the floor of the gateway says more
	}
	ask := &seampb.Question{Ask: &seampb.Question_Read{Read: toRead(&q)}}
	key, err := proto.Marshal(ask)
	if err != nil {
		return lease.Answer{}, tree.ErrInvalidArgument
	}
	return c.reads.do(ctx, string(key), func(ctx context.Context) (lease.Answer, error) {
		if !q.At.Linearizable {
			ask.Floor = c.told.Load()
		}
		answer, err := c.ask(ctx, asking{
			build: always(ask), repeat: true, within: readWithin + q.At.Wait, paced: q.At.Floor == 0,
		})
		if err != nil {
			return lease.Answer{}, unread(err)
		}
		a := fromReading(answer.GetReading())
		c.raise(a.Zxid)
		return a, fromError(answer.GetError())
	})
}

// unread is the error of a question that changes nothing: that its outcome is not
// known says only that there was none.
func unread(err error) error {
	if errors.Is(err, lease.ErrCommitTimeout) {
		return lease.ErrNoLeader
	}
	return err
}

// Events implements lease.Service.
func (c *Client) Events(ctx context.Context, q lease.EventQuery) (lease.EventBatch, error) {
	if batch, ok := c.known(&q); ok {
		c.raise(batch.Cursor)
		return batch, nil
	}
	q.Parked = false
	told := c.told.Load()
	if q.Since <= quorum.Zxid(told) {
		q.Floor = 0
	}
	ask := &seampb.Question{Ask: &seampb.Question_Events{Events: toEventQuery(&q)}}
	key, err := proto.Marshal(ask)
	if err != nil {
		return lease.EventBatch{Cursor: q.Since}, tree.ErrInvalidArgument
	}
	return c.events.do(ctx, string(key), func(ctx context.Context) (lease.EventBatch, error) {
		if !q.Now {
			ask.Floor = c.told.Load()
		}
		answer, err := c.ask(ctx, asking{
			build: always(ask), repeat: true, within: readWithin + q.Floor, paced: uint64(q.Since) <= told,
		})
		if err != nil {
			return lease.EventBatch{Cursor: q.Since}, unread(err)
		}
		batch := fromEventBatch(answer.GetEvents())
		c.raise(batch.Cursor)
		return batch, fromError(answer.GetError())
	})
}

// Touch implements lease.Service.
func (c *Client) Touch(ctx context.Context, caller *commandpb.Caller, token string, ttl time.Duration) (lease.Held, error) {
	q := &seampb.Question{Ask: &seampb.Question_Touch{Touch: &seampb.Touch{
		Caller: caller, Token: []byte(token), TtlNs: int64(ttl),
	}}}
	answer, err := c.ask(ctx, asking{build: always(q), repeat: true, within: writeWithin})
	if err != nil {
		return lease.Held{}, unread(err)
	}
	held := fromHeld(answer.GetHeld())
	c.raise(held.Zxid)
	return held, fromError(answer.GetError())
}

// TouchLater implements lease.Service.
func (c *Client) TouchLater(caller *commandpb.Caller, token string) {
	if r, _, _ := c.pick(0, nil); r != nil {
		c.tell(r.id, &seampb.ToNode{Say: &seampb.ToNode_TouchLater{TouchLater: &seampb.Touch{
			Caller: caller, Token: []byte(token),
		}}})
	}
}

// Transfer implements lease.Service.
func (c *Client) Transfer(ctx context.Context, caller *commandpb.Caller, to quorum.NodeID) error {
	q := &seampb.Question{Ask: &seampb.Question_Transfer{Transfer: &seampb.Transfer{Caller: caller, To: uint32(to)}}}
	answer, err := c.ask(ctx, asking{build: always(q)})
	if err != nil {
		return err
	}
	return fromError(answer.GetError())
}

// Snapshot implements lease.Service. All pieces come from the node that gave the
// first.
func (c *Client) Snapshot(ctx context.Context, q lease.SnapshotQuery) (lease.SnapshotPiece, error) {
	ask := &seampb.Question{Ask: &seampb.Question_Snapshot{Snapshot: toSnapshotQuery(&q)}}
	answer, err := c.ask(ctx, asking{build: always(ask), repeat: true, only: q.From.Node, within: snapshotWithin})
	if err != nil {
		return lease.SnapshotPiece{}, unread(err)
	}
	return fromSnapshotPiece(answer.GetSnapshot()), fromError(answer.GetError())
}

// ChangeMembers implements lease.Service.
func (c *Client) ChangeMembers(ctx context.Context, ch lease.MembersChange) (quorum.Zxid, error) {
	q := &seampb.Question{Ask: &seampb.Question_Members{Members: toMembersChange(&ch)}}
	answer, err := c.ask(ctx, asking{build: always(q)})
	if err != nil {
		return 0, err
	}
	z := quorum.Zxid(answer.GetZxid())
	c.raise(z)
	return z, fromError(answer.GetError())
}

// Authenticate implements lease.Service.
func (c *Client) Authenticate(ctx context.Context, secret [32]byte) (lease.Identity, error) {
	q := &seampb.Question{Ask: &seampb.Question_Authenticate{Authenticate: &seampb.Authenticate{SecretSha256: secret[:]}}}
	return c.identities.do(ctx, string(secret[:]), func(ctx context.Context) (lease.Identity, error) {
		answer, err := c.ask(ctx, asking{build: always(q), repeat: true, within: readWithin, paced: true})
		if err != nil {
			return lease.Identity{}, unread(err)
		}
		return fromIdentity(answer.GetIdentity()), fromError(answer.GetError())
	})
}

// EnableAuth implements lease.Service. It is called while the cluster starts, so
// it is asked for as long as ctx lets it.
func (c *Client) EnableAuth(ctx context.Context, admin string, secret [32]byte) (turned bool, err error) {
	q := &seampb.Question{Ask: &seampb.Question_EnableAuth{EnableAuth: &seampb.EnableAuth{Admin: admin, SecretSha256: secret[:]}}}
	for {
		answer, err := c.ask(ctx, asking{build: always(q), repeat: true})
		if err == nil {
			return answer.GetTurned(), fromError(answer.GetError())
		}
		if !errors.As(err, new(lease.Unavailable)) || errors.Is(err, lease.ErrShuttingDown) {
			return false, err
		}
	}
}
