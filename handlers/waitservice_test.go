package handlers

import (
	"context"
	"time"

	"perch/gen/commandpb"
	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// ticket is one request for a place in a queue.
type ticket struct {
	place  quorum.Zxid
	attach uint32
}

// testHome is the one life of the one node that requests wait at.
const testHome = 77

// Acquire plays the part of a node: it waits for what has become of a place, and
// gives it up when the time is over or nobody waits any more.
func (s *testService) Acquire(ctx context.Context, cmd *commandpb.Command, token string, wait time.Duration) (lease.Result, error) {
	home := &commandpb.Home{Node: 1, Instance: testHome}
	if op := cmd.GetAcquire(); op != nil {
		op.Home = home
	} else {
		cmd.GetClaim().Home = home
	}
	res, err := s.Write(ctx, cmd, token)
	if err != nil || res.Code != tree.OK {
		return res, err
	}
	if res.Place.ID == 0 || res.Hold.Token != 0 {
		return s.granted(cmd, res), nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	t := ticket{res.Place.ID, res.Place.Attach}
	for {
		s.mu.Lock()
		out, over := s.outcomes[t]
		applied := s.applied
		s.mu.Unlock()
		switch {
		case over && out.Code != tree.OK:
			return lease.Result{Zxid: s.view().Zxid(), Code: out.Code, Held: out.Held}, nil
		case over:
			res.Hold, res.Claimed = out.Hold, out.Claimed
			return s.granted(cmd, res), nil
		}
		select {
		case <-applied:
		case <-timer.C:
			return s.leave(cmd, res, t, false), nil
		case <-ctx.Done():
			s.leave(cmd, res, t, true)
			return lease.Result{}, ctx.Err()
		}
	}
}

// leave gives a place up; it may turn out that it was granted.
func (s *testService) leave(cmd *commandpb.Command, res lease.Result, t ticket, gone bool) lease.Result {
	s.mu.Lock()
	left := s.apply(&commandpb.Command{Format: s.state.View().Level(), Op: &commandpb.Command_Leave{
		Leave: &commandpb.Leave{Place: uint64(t.place), Attach: t.attach, Gone: gone}}})
	s.mu.Unlock()
	if left.Code != tree.OK || left.Hold.Token == 0 {
		return left
	}
	res.Hold = left.Hold
	return s.granted(cmd, res)
}

// granted adds what only a leader knows: what the session has left, and the
// token that was drawn for it.
func (s *testService) granted(cmd *commandpb.Command, res lease.Result) lease.Result {
	info, ok := s.view().Session(res.Hold.Session)
	if ok {
		res.Remaining = info.TTL
	}
	if res.Hold.Token != 0 && cmd.GetSession().GetRef() == nil {
		res.Token = s.tokens.Draw(res.Hold.Session)
	}
	return res
}
