package handlers

import (
	"context"
	"errors"
	"time"

	"perch/gen/api"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// floorPatience is how long a read waits at least for a position that this node
// has not reached yet (API.md rule 8).
const floorPatience = 2 * time.Second

// readOptions are the parameters that the reads of nodes share.
type readOptions struct {
	level   *api.ReadLevel
	minZxid *int64
	waitMs  *int32
	prefer  *string
	match   *string // If-None-Match
	token   *string
}

// poll is one read of a node that may wait: it answers as soon as the tag of
// the representation is another than the one that the client has.
type poll struct {
	query  lease.Read
	match  tagMatch
	wait   time.Duration
	tag    tagOf
	scopes []tree.Scope // of the events that can change the tag
}

// polled is the outcome of a poll that is not an error.
type polled struct {
	lease.Answer
	tag         string // bare
	notModified bool
}

// newPoll checks the parameters of a read of path.
func (e *edge) newPoll(kind lease.ReadKind, path string, o readOptions) (p poll, err error) {
	if err = e.checkPath(path); err != nil {
		return p, err
	}
	if p.match, err = parseTag(ifNoneMatch, o.match); err != nil {
		return p, err
	}
	if p.wait, err = e.patience(o.waitMs, o.prefer); err != nil {
		return p, err
	}
	at, err := readAt(o.level, o.minZxid)
	if err != nil {
		return p, err
	}
	at.Floor = max(at.Floor, p.match.floor())
	at.Wait = max(p.wait, floorPatience)
	token, err := e.session(o.token)
	if err != nil {
		return p, err
	}
	p.query = lease.Read{Kind: kind, Path: path, Token: token, At: at}
	return p, nil
}

// readAt checks consistency and min_zxid.
func readAt(level *api.ReadLevel, minZxid *int64) (lease.At, error) {
	at := lease.At{Linearizable: true, Wait: floorPatience}
	if level != nil {
		if !level.Valid() {
			return at, badArgument("consistency", "it is linearizable or local")
		}
		at.Linearizable = *level == api.Linearizable
	}
	if minZxid != nil {
		if *minZxid < 0 {
			return at, badArgument("min_zxid", "it is negative")
		}
		at.Floor = quorum.Zxid(*minZxid)
	}
	return at, nil
}

// run reads, and as long as the client knows the answer already waits and reads
// again. Only the first read is linearizable: every later one is of a later
// position, hence of a state that was current while the request ran.
func (e *edge) run(ctx context.Context, p *poll) (polled, error) {
	deadline := time.Now().Add(p.wait)
	var waiting context.Context
	for {
		answer, err := e.svc.Read(ctx, p.query)
		got, same, err := p.judge(answer, err)
		if err != nil || !same {
			return got, err
		}
		if waiting == nil {
			if p.wait == 0 {
				return p.timeout(got)
			}
			var leave func()
			if waiting, leave, err = e.park(ctx, deadline); err != nil {
				return got, err
			}
			defer leave()
		}
		happened, err := e.await(ctx, waiting, p.interests(&got)...)
		if err != nil {
			return got, refuse(err, got.Zxid)
		}
		if !happened {
			return p.timeout(got)
		}
		p.query.At = lease.At{Floor: got.Zxid, Wait: floorPatience}
	}
}

// judge says whether an answer is what the client knows already.
func (p *poll) judge(answer lease.Answer, err error) (got polled, same bool, _ error) {
	got.Answer = answer
	switch {
	case err == nil:
		got.tag = p.tag.of(&answer)
		return got, p.match.matches(got.tag), nil
	case errors.Is(err, tree.ErrNoNode):
		got.tag = absentTag
		if p.match.matches(absentTag) || !p.match.given && p.wait > 0 {
			return got, true, nil
		}
	case errors.Is(err, lease.ErrNotCaughtUp) && p.wait > 0 && p.match.floor() == p.query.At.Floor && p.match.floor() > 0:
		// The client has seen more than this node has. Its tag is the newest
		// that it could be told of (RULES.md R24).
		got.tag, got.notModified, got.Zxid = p.match.tag, true, p.match.floor()
		return got, false, nil
	}
	return got, false, refuse(err, answer.Zxid)
}

// timeout is the answer when the time is over and nothing is new.
func (p *poll) timeout(got polled) (polled, error) {
	if !p.match.given {
		return got, refuse(tree.ErrNoNode, got.Zxid)
	}
	got.notModified = true
	return got, nil
}

// interests are the events that can end the wait.
func (p *poll) interests(got *polled) []lease.Interest {
	i := lease.Interest{Path: p.query.Path, Scope: tree.ScopeNode, Since: got.Zxid}
	if got.tag == absentTag || len(p.scopes) == 0 {
		return []lease.Interest{i}
	}
	all := make([]lease.Interest, len(p.scopes))
	for n, scope := range p.scopes {
		i.Scope = scope
		all[n] = i
	}
	return all
}

// refuse makes err a refusal that was decided on the state at z.
func refuse(err error, z quorum.Zxid) error {
	f := asFailure(err)
	if f.decided {
		return f
	}
	return f.at(z)
}
