package seam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"perch/gen/seampb"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/natsnet"
	"perch/quorum/tracing"
	"perch/tree"
)

// How long a question is asked.
const (
	nodePatience  = 2 * time.Second       // for a node that can be asked
	againPatience = 5 * time.Second       // for questions that may be asked again, once one was lost
	pickPause     = 20 * time.Millisecond // before nodes are asked again that did not take it
)

// asking is one question on its way to an answer.
type asking struct {
	client *Client
	build  func() *seampb.Question // for every attempt anew
	repeat bool                    // asking again does no harm where the outcome is not known
	within time.Duration           // longest time that a node takes to answer; 0: as long as ctx lets it
	again  time.Duration           // for how long another node is asked once an answer was lost, at least againPatience
	paced  bool
	parks  bool          // it waits in a queue: it ends when the gateway drains
	orphan bool          // nobody can ask for it elsewhere
	only   quorum.NodeID // the node that can answer; 0: any

	began   time.Time
	unknown bool                   // a node may have done it whose answer was lost
	avoid   map[quorum.NodeID]bool // did not take it just now
	sent    []attempt              // whose answers were lost
	last    error                  // why it was not taken last
}

// attempt names a question at a node.
type attempt struct {
	to quorum.NodeID
	id uint64
}

// outcome of an attempt that is not an answer.
var (
	errUntaken = errors.New("seam: the node has not taken the question")
	errUnknown = errors.New("seam: the answer of the node was lost")
)

// ask has a question answered by some node. An error stands for no answer.
func (c *Client) ask(ctx context.Context, a asking) (*seampb.Answer, error) {
	if c.asking.Add(1) > askingMax {
		c.asking.Add(-1)
		return nil, lease.ErrOverloaded
	}
	defer c.asking.Add(-1)
	a.client, a.began, a.last = c, time.Now(), lease.ErrNoLeader
	if a.paced {
		select {
		case c.paces <- struct{}{}:
			defer func() { <-c.paces }()
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ctx.Done():
			return nil, lease.ErrShuttingDown
		}
	}
	return a.run(ctx)
}

func (a *asking) run(ctx context.Context) (*seampb.Answer, error) {
	for {
		answer, err := a.try(ctx)
		switch {
		case err == nil:
			return answer, nil
		case ctx.Err() != nil:
			a.cancel()
			return nil, ctx.Err()
		case a.client.ctx.Err() != nil:
			return nil, a.given(lease.ErrShuttingDown)
		case a.parks && a.client.drained.Err() != nil && (errors.Is(err, errUnknown) || errors.Is(err, errUntaken)):
			if a.orphan {
				a.cancel()
			}
			return nil, a.given(lease.ErrShuttingDown)
		case errors.Is(err, errUnknown) && !a.repeat:
			return nil, lease.ErrCommitTimeout
		case !errors.Is(err, errUnknown) && !errors.Is(err, errUntaken):
			return nil, err
		case a.late():
			return nil, a.given(a.last)
		}
	}
}

// late says whether no other attempt is made.
func (a *asking) late() bool {
	if a.unknown {
		return time.Since(a.began) >= max(a.again, againPatience)
	}
	return time.Since(a.began) >= nodePatience
}

// given is the error of a question that is given up: err, unless something may
// have come of it.
func (a *asking) given(err error) error {
	if a.unknown {
		return lease.ErrCommitTimeout
	}
	return err
}

// cancel tells the nodes that may be at it that nobody waits any more.
func (a *asking) cancel() {
	for _, s := range a.sent {
		a.client.tell(s.to, &seampb.ToNode{Say: &seampb.ToNode_Cancel{Cancel: &seampb.Cancel{Id: s.id}}})
	}
}

// try makes one attempt, at the nearest node that did not just refuse. Without
// one it waits a little.
func (a *asking) try(ctx context.Context) (*seampb.Answer, error) {
	r, lost, changed := a.client.pick(a.only, a.avoid)
	if r == nil {
		pause := nodePatience - min(nodePatience, time.Since(a.began))
		if len(a.avoid) > 0 || a.unknown {
			clear(a.avoid)
			pause = pickPause
		}
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		case <-a.client.ctx.Done():
		}
		return nil, errUntaken
	}
	answer, err := a.put(ctx, r.id, lost)
	switch {
	case errors.Is(err, errUnknown):
		a.unknown = true
		a.shun(r.id)
	case errors.Is(err, errUntaken):
		a.shun(r.id)
	case err == nil && a.elsewhere(r.id, answer):
		a.shun(r.id)
		return nil, errUntaken
	}
	return answer, err
}

func (a *asking) shun(id quorum.NodeID) {
	if a.avoid == nil {
		a.avoid = make(map[quorum.NodeID]bool)
	}
	a.avoid[id] = true
}

// put sends the question to one node.
func (a *asking) put(ctx context.Context, to quorum.NodeID, lost context.Context) (*seampb.Answer, error) {
	c := a.client
	id := c.ids.Add(1)
	q := a.build()
	q.Trace = tracing.From(ctx).Encode()
	body, err := c.encode(id, q)
	if err != nil {
		return nil, fmt.Errorf("%w: not UTF-8", tree.ErrInvalidArgument)
	}
	wait, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(lost, func() { cancel(errLost) })()
	if a.parks {
		defer context.AfterFunc(c.drained, func() { cancel(errLost) })()
	}
	if a.within > 0 {
		defer time.AfterFunc(a.within, func() { cancel(errLost) }).Stop()
	}
	a.sent = append(a.sent, attempt{to, id})
	raw, err := c.link.Ask(wait, to, body)
	switch {
	case err == nil:
	case errors.Is(err, natsnet.ErrUnreachable):
		a.drop()
		return nil, errUntaken
	case errors.Is(err, natsnet.ErrTooLarge):
		a.drop()
		return nil, tree.ErrTooLarge
	default:
		return nil, errUnknown
	}
	answer := new(seampb.Answer)
	if proto.Unmarshal(raw, answer) != nil || answer.GetError().GetEnded() != seampb.Ended_ENDED_NOT {
		return nil, errUnknown // the node has ended it without being asked to
	}
	a.drop()
	return answer, nil
}

// drop takes the last attempt off those that may still be under way.
func (a *asking) drop() { a.sent = a.sent[:len(a.sent)-1] }

// encode puts a question in its envelope.
func (c *Client) encode(id uint64, q *seampb.Question) ([]byte, error) {
	cluster := c.pinned()
	return proto.Marshal(&seampb.ToNode{Cluster: cluster[:], Id: id, Say: &seampb.ToNode_Question{Question: q}})
}

// elsewhere says whether an answer is a reason to ask another node, and notes
// what to say if none is better.
func (a *asking) elsewhere(at quorum.NodeID, answer *seampb.Answer) bool {
	switch answer.GetUntaken() {
	case seampb.Untaken_UNTAKEN_NO:
	case seampb.Untaken_UNTAKEN_FULL:
		a.last = lease.ErrOverloaded
		return true
	case seampb.Untaken_UNTAKEN_BEHIND:
		a.last = lease.ErrNotCaughtUp
		return true
	case seampb.Untaken_UNTAKEN_UNKNOWN:
		a.last = &lease.Refused{Why: lease.ErrNotCaughtUp, Text: "no node knows this operation yet: upgrade the nodes"}
		return true
	default:
		return true
	}
	switch err := fromError(answer.GetError()); {
	case errors.Is(err, lease.ErrShuttingDown), errors.Is(err, lease.ErrStateInDoubt):
		a.last = err // nothing came of it there
		return true
	case errors.Is(err, lease.ErrCommitTimeout) && a.repeat && !a.client.sound(at):
		a.unknown = true // the node stops, and did not wait for the outcome
		return true
	}
	return false
}

// sound says whether a node may be asked.
func (c *Client) sound(id quorum.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.healthy(c.nodes[id])
}
