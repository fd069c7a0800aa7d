package seam

import (
	"context"
	"errors"

	"perch/gen/seampb"
	"perch/lease"
	"perch/tree"
)

// toError encodes an error of lease.Service; nil is none. One that is of no kind
// that the seam knows is an internal one: its text stays in the node's log.
func toError(err error) *seampb.Error {
	if err == nil {
		return nil
	}
	out := new(seampb.Error)
	var code tree.Code
	var gone lease.Unavailable
	switch {
	case errors.As(err, &code):
		out.Code = uint32(code)
	case errors.As(err, &gone):
		out.Unavailable = string(gone)
	case errors.Is(err, context.Canceled):
		out.Ended = seampb.Ended_ENDED_CANCELED
	case errors.Is(err, context.DeadlineExceeded):
		out.Ended = seampb.Ended_ENDED_DEADLINE
	default:
		out.Code = uint32(tree.ErrInternal)
	}
	var refused *lease.Refused
	if errors.As(err, &refused) {
		out.Text = &refused.Text
	}
	var path *tree.PathError
	if errors.As(err, &path) {
		out.Path = &path.Reason
	}
	return out
}

// fromError is the reverse of toError. One that says nothing is an internal one.
func fromError(in *seampb.Error) error {
	if in == nil {
		return nil
	}
	var err error
	switch {
	case in.Path != nil:
		err = &tree.PathError{Reason: in.GetPath()}
	case in.GetUnavailable() != "":
		err = lease.Unavailable(in.GetUnavailable())
	case in.GetEnded() == seampb.Ended_ENDED_CANCELED:
		err = context.Canceled
	case in.GetEnded() == seampb.Ended_ENDED_DEADLINE:
		err = context.DeadlineExceeded
	case in.GetCode() == 0 || in.GetCode() > uint32(^tree.Code(0)):
		err = tree.ErrInternal
	default:
		err = tree.Code(in.GetCode())
	}
	if in.Text != nil {
		err = &lease.Refused{Why: err, Text: in.GetText()}
	}
	return err
}
