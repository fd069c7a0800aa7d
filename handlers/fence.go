package handlers

import (
	"net/http"
	"strconv"
	"strings"

	"perch/gen/commandpb"
	"perch/lease"
)

const (
	queryFence = "fence"
	fencesMax  = 8
)

// fenceKinds are what a fence may name, by the rooms of their URLs.
var fenceKinds = map[string]commandpb.Kind{
	"locks": commandpb.Kind_KIND_LOCK, "semaphores": commandpb.Kind_KIND_SEMAPHORE,
	"elections": commandpb.Kind_KIND_ELECTION, "once": commandpb.Kind_KIND_ONCE,
}

const fenceForm = "it is [locks/|semaphores/|elections/|once/]NAME[:TOKEN], of which the last colon splits"

// checkFences notes what must be held for the request to be done.
func checkFences(x *exchange, r *http.Request) *failure {
	if !x.op.fenced || !strings.Contains(r.URL.RawQuery, "=") {
		return nil
	}
	values := r.URL.Query()[queryFence]
	if len(values) > fencesMax {
		return badArgument(queryFence, "it is given too often").met(fencesMax)
	}
	for _, text := range values {
		fence, ok := parseFence(text)
		if !ok {
			return badArgument(queryFence, fenceForm)
		}
		x.fences = append(x.fences, fence)
	}
	return nil
}

// parseFence reads [kind/]NAME[:TOKEN]. The last colon splits, whatever follows:
// a token that was spelled wrong must not become a part of the name. A name with
// a colon in it and no token thus ends in one.
func parseFence(text string) (*commandpb.Fence, bool) {
	name, token := text, uint64(0)
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		name = text[:i]
		if digits := text[i+1:]; digits != "" {
			var err error
			token, err = strconv.ParseUint(digits, 10, 63)
			if err != nil || token == 0 || digits[0] == '+' {
				return nil, false
			}
		}
	}
	return parseHeld(name, token)
}

// parseHeld reads [kind/]NAME, and of once NAME/KEY.
func parseHeld(name string, token uint64) (*commandpb.Fence, bool) {
	fence := &commandpb.Fence{Name: name, Token: token}
	if room, rest, ok := strings.Cut(name, "/"); ok {
		kind, known := fenceKinds[room]
		if !known {
			return nil, false
		}
		fence.Kind, fence.Name = kind, rest
	}
	first, key, keyed := strings.Cut(fence.Name, "/")
	switch {
	case !lease.CheckName(first):
		return nil, false
	case keyed && (fence.Kind != commandpb.Kind_KIND_ONCE || !validOnceKey(key)):
		return nil, false
	}
	return fence, true
}
