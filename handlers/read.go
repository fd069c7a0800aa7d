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

// readOptions are the parameters that the reads that may wait share.
type readOptions struct {
	level   *api.ReadLevel
	minZxid *int64
	waitMs  *int32
	prefer  *string
	match   *string // If-None-Match
	token   *string
}

// read asks one question on behalf of the caller. Its errors are decided on the
// state at Answer.Zxid.
func (e *edge) read(ctx context.Context, q lease.Read) (lease.Answer, error) {
	q.Caller = callerOf(ctx)
	answer, err := e.svc.Read(ctx, q)
	if err != nil {
		f := asFailure(decided(err, answer.Zxid))
		if f.code == codeNoNode {
			f.path = q.Path
		}
		err = f
	}
	return answer, err
}

// pageOptions are the parameters of lists that are not lists of nodes.
type pageOptions struct {
	limit   *int32
	page    *string
	level   *api.ReadLevel
	minZxid *int64
	token   *string
}

// readPage asks for one page of such a list.
func (e *edge) readPage(ctx context.Context, kind lease.ReadKind, o pageOptions) (a lease.Answer, err error) {
	return e.readOnePage(ctx, lease.Read{Kind: kind}, o)
}

// readOnePage adds the parameters of a list to a question.
func (e *edge) readOnePage(ctx context.Context, read lease.Read, o pageOptions) (a lease.Answer, err error) {
	if read.At, err = readAt(o.level, o.minZxid); err != nil {
		return a, err
	}
	if read.Limit, read.PageToken, err = paging(o.limit, o.page); err != nil {
		return a, err
	}
	if read.Token, err = e.session(ctx, o.token); err != nil {
		return a, err
	}
	return e.read(ctx, read)
}

// poll is one read that may wait: it answers as soon as the tag of
// the representation is another than the one that the client has.
type poll struct {
	edge   *edge
	query  lease.Read
	watch  string // path of the node whose events can change the tag
	match  tagMatch
	wait   time.Duration
	tag    tagOf
	scopes []tree.Scope // of the events that can change the tag
	answer func(got *polled) written

	// What the client knows, as of the last look.
	seen quorum.Zxid
	same string // the tag
}

// polled is an outcome of a poll that is not an error.
type polled struct {
	lease.Answer
	tag         string // bare
	notModified bool
}

// newPoll checks the parameters of a read of path.
func (e *edge) newPoll(ctx context.Context, kind lease.ReadKind, path string, o readOptions) (p *poll, err error) {
	if err = e.checkPath(path); err != nil {
		return nil, err
	}
	if p, err = e.pollOf(ctx, o); err != nil {
		return nil, err
	}
	p.watch, p.query.Kind, p.query.Path = path, kind, path
	return p, nil
}

// pollOf checks the parameters of a read of whatever it is.
func (e *edge) pollOf(ctx context.Context, o readOptions) (p *poll, err error) {
	p = &poll{edge: e}
	if p.match, err = parseTag(ifNoneMatch, o.match); err != nil {
		return p, err
	}
	if p.wait, err = e.patience("wait_ms", o.waitMs, o.prefer); err != nil {
		return p, err
	}
	at, err := readAt(o.level, o.minZxid)
	if err != nil {
		return p, err
	}
	at.Floor = max(at.Floor, p.match.floor())
	at.Wait = max(p.wait, floorPatience)
	token, err := e.session(ctx, o.token)
	if err != nil {
		return p, err
	}
	p.query = lease.Read{Token: token, At: at}
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

// begin looks once. It is the whole answer, unless the client knows it already
// and waits: then the tail of the exchange goes on.
func (p *poll) begin(ctx context.Context) (written, error) {
	got, known, err := p.look(ctx)
	if err != nil {
		return nil, err
	}
	if !known {
		return p.render(got), nil
	}
	if p.wait == 0 {
		return p.timeout()
	}
	x := exchangeOf(ctx)
	x.tail = p
	return later, nil
}

// run looks again whenever something has happened. Only the first look is
// linearizable: every later one is of a later position, hence of a state that
// was current while the request ran.
func (p *poll) run(x *exchange) error {
	waiting, leave, err := p.edge.park(x, x.begun.Add(p.wait))
	if err != nil {
		return err
	}
	defer leave()
	for {
		happened, err := p.edge.await(x, waiting, p.interests())
		if err != nil {
			return decided(err, p.seen)
		}
		if over, err := p.resume(x, happened); over {
			return err
		}
	}
}

// resume answers after a wait, unless the client knows the answer already.
func (p *poll) resume(x *exchange, happened bool) (over bool, err error) {
	if !happened {
		answer, err := p.timeout()
		if err != nil {
			return true, err
		}
		return true, answer(x)
	}
	p.query.At = lease.At{Floor: p.seen, Wait: floorPatience}
	got, known, err := p.look(x)
	if err != nil {
		return true, err
	}
	if known {
		return false, nil
	}
	return true, p.render(got)(x)
}

// look reads, and says whether the client knows the answer already. Then it is
// not returned but noted.
func (p *poll) look(ctx context.Context) (got *polled, known bool, _ error) {
	answer, err := p.edge.read(ctx, p.query)
	switch {
	case err == nil:
		tag := p.tag(&answer)
		if !p.match.matches(tag) {
			return &polled{Answer: answer, tag: tag}, false, nil
		}
		p.seen, p.same = answer.Zxid, tag
		return nil, true, nil
	case errors.Is(err, tree.ErrNoNode):
		if p.match.matches(absentTag) || !p.match.given && p.wait > 0 {
			p.seen, p.same = answer.Zxid, absentTag
			return nil, true, nil
		}
	case errors.Is(err, lease.ErrNotCaughtUp) && p.wait > 0 && p.match.floor() == p.query.At.Floor && p.match.floor() > 0:
		// The client has seen more than this node has. Its tag is the newest
		// that it could be told of (RULES.md R24).
		got = &polled{tag: p.match.tag, notModified: true}
		got.Zxid = p.match.floor()
		return got, false, nil
	}
	return nil, false, err
}

func (p *poll) render(got *polled) written {
	if got.notModified {
		return sameAnswer(got)
	}
	return p.answer(got)
}

// timeout is the answer when the time is over and nothing is new.
func (p *poll) timeout() (written, error) {
	if !p.match.given {
		f := fail(codeNoNode, "").at(p.seen)
		f.path = p.query.Path
		return nil, f
	}
	got := &polled{tag: p.same}
	got.Zxid = p.seen
	return sameAnswer(got), nil
}

// interests are the events that can end the wait.
func (p *poll) interests() interests {
	i := interests{path: p.watch, since: p.seen, scopes: p.scopes, state: true}
	if p.same == absentTag {
		i.scopes = scopeNode
	}
	return i
}

// The scopes of the reads, shared by all of them.
var (
	scopeNode     = []tree.Scope{tree.ScopeNode}
	scopeChildren = []tree.Scope{tree.ScopeChildren}
	scopeStat     = []tree.Scope{tree.ScopeNode, tree.ScopeChildren}
	scopeSubtree  = []tree.Scope{tree.ScopeSubtree}
)

// decided makes err a refusal that was decided on the state at z.
func decided(err error, z quorum.Zxid) error {
	f := asFailure(err)
	if f.decided {
		return f
	}
	return f.at(z)
}
