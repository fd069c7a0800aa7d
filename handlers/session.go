package handlers

import (
	"context"
	"time"

	"perch/lease"
	"perch/tree"
)

// session takes the token of Perch-Session and renews its session at best
// effort; "" when there is none. Whether the session lives is for the service
// to say; a token that cannot be one gets the same answer as one that is not.
func (e *edge) session(ctx context.Context, token *string) (string, error) {
	t, err := parseToken(token)
	if err == nil && t != "" {
		e.svc.TouchLater(callerOf(ctx), t)
	}
	return t, err
}

func parseToken(token *string) (string, error) {
	if token == nil {
		return "", nil
	}
	t := *token
	if len(t) < lease.TokenLenMin || len(t) > lease.TokenLenMax {
		return "", fail(codeSessionExpired, "")
	}
	for i := range len(t) {
		if !isTokenByte(t[i]) {
			return "", fail(codeSessionExpired, "")
		}
	}
	return t, nil
}

// needToken is session for operations that are about the caller's own session.
func needToken(token *string) (string, error) {
	if token == nil {
		return "", badArgument("Perch-Session", "the operation needs the token of the session")
	}
	return parseToken(token)
}

// checkTTL checks a TTL against the contract; apply does so against the
// committed limits. An absent one is 0.
func checkTTL(field string, ms *int64) (uint64, error) {
	if ms == nil {
		return 0, nil
	}
	if *ms < ttlMsMin || *ms > ttlMsMax {
		return 0, outOfRange(field, ttlMsMin, ttlMsMax)
	}
	return uint64(*ms), nil
}

const (
	ttlMsMin     = 1_000
	ttlMsMax     = 86_400_000
	ttlMsDefault = 30_000
)

func milliseconds(d time.Duration) int64 { return d.Milliseconds() }

// errSessionExpired is what the service says of a token that is not alive.
const errSessionExpired = tree.ErrSessionExpired
