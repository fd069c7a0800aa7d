package handlers

import (
	"context"

	"perch/gen/api"
	"perch/gen/commandpb"
	"perch/lease"
	"perch/tree"
)

// This file is what the operations on things that are held, counted and queued
// have in common.

// rooms are where the kinds are: below /v1/, and below /perch/ in the tree,
// where each has a node to look at and to watch while there is something to see.
var rooms = map[commandpb.Kind]string{
	commandpb.Kind_KIND_LOCK: "locks", commandpb.Kind_KIND_SEMAPHORE: "semaphores", commandpb.Kind_KIND_ELECTION: "elections",
	commandpb.Kind_KIND_ONCE: "once", commandpb.Kind_KIND_QUEUE: "queues", commandpb.Kind_KIND_COUNTER: "counters",
	commandpb.Kind_KIND_BARRIER: "barriers",
}

// mirror is the path of the node that shows a thing, as its users see it. Of
// once it is the one above all runs.
func mirror(kind commandpb.Kind, name string) string {
	return tree.Reserved + "/" + rooms[kind] + "/" + name
}

// checkThing refuses what cannot be the name of a thing.
func checkThing(field, name string) error {
	if !lease.CheckName(name) {
		return badArgument(field, "a name has 1 to 255 of A-Z a-z 0-9 . _ : - and begins with a letter or a digit").met(nameBytesMax)
	}
	return nil
}

// checkLine refuses text of more than most bytes, or that could not be shown on
// one line.
func checkLine(field string, text *string, most int) (string, error) {
	switch {
	case text == nil:
		return "", nil
	case len(*text) > most:
		return "", badArgument(field, "it is too long").met(int64(most))
	}
	return *text, checkText(field, *text)
}

// within refuses a number that is not from least to most; an absent one is 0.
func within[N int32 | int64](field string, n *N, least, most int64) (int64, error) {
	if n == nil {
		return 0, nil
	}
	if v := int64(*n); v < least || v > most {
		return 0, outOfRange(field, least, most)
	}
	return int64(*n), nil
}

// fencingToken reads the token of a hold; 0, which none has, is one that names
// no hold and not the absence of one.
func fencingToken(field string, token *int64) (uint64, error) {
	if token == nil {
		return 0, nil
	}
	if *token <= 0 {
		return 0, badArgument(field, "it is no fencing token")
	}
	return uint64(*token), nil
}

// listOptions are the parameters of lists of things.
type listOptions struct {
	prefix *string
	pageOptions
}

// readList asks for one page of things of a kind.
func (e *edge) readList(ctx context.Context, kind lease.ReadKind, of commandpb.Kind, o listOptions) (a lease.Answer, err error) {
	read := lease.Read{Kind: kind, Of: of}
	if read.Name = deref(o.prefix); read.Name != "" && !lease.CheckName(read.Name) {
		return a, badArgument(queryPrefix, "no name begins so").met(nameBytesMax)
	}
	return e.readOnePage(ctx, read, o.pageOptions)
}

// names are a page of a list of names.
func (e *edge) names(ctx context.Context, of commandpb.Kind, o listOptions) (page api.NamePage, err error) {
	answer, err := e.readList(ctx, lease.ReadNames, of, o)
	if err != nil {
		return page, err
	}
	names := append([]string{}, answer.Names...) // none is an empty list
	return api.NamePage{Names: names, NextPageToken: some(answer.NextPage), Zxid: int64(answer.Zxid)}, nil
}

// thingPoll checks the parameters of a read of a thing, which may wait. tag is
// that of an answer.
func (e *edge) thingPoll(ctx context.Context, kind lease.ReadKind, of commandpb.Kind, name string, o readOptions) (*poll, error) {
	if err := checkThing("name", name); err != nil {
		return nil, err
	}
	p, err := e.pollOf(ctx, o)
	if err != nil {
		return nil, err
	}
	p.query.Kind, p.query.Of, p.query.Name = kind, of, name
	p.watch, p.scopes = mirror(of, name), scopeNode
	return p, nil
}

// aboutThing has a command done in which the session has no part but that it
// must be alive, and its refusals tell of the thing.
func (e *edge) aboutThing(ctx context.Context, name string, session *string, cmd *commandpb.Command) (lease.Result, error) {
	if err := checkThing("name", name); err != nil {
		return lease.Result{}, err
	}
	return e.writeAs(ctx, session, cmd)
}
