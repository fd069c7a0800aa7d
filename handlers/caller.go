package handlers

import (
	"context"

	"perch/gen/commandpb"
)

// callerOf is who makes the request that ctx belongs to; nil for nobody in
// particular.
func callerOf(ctx context.Context) *commandpb.Caller {
	if x := exchangeOf(ctx); x != nil {
		return x.caller
	}
	return nil
}
