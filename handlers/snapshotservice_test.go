package handlers

import (
	"bytes"
	"context"

	"perch/lease"
	"perch/quorum"
	"perch/tree"
)

// backups are the files that a testService hands out, by their positions.
type backups map[quorum.Zxid]*backup

type backup struct {
	content []byte
	digest  uint64
}

// Snapshot hands out what the state writes of itself, a few bytes at a time.
func (s *testService) Snapshot(_ context.Context, q lease.SnapshotQuery) (lease.SnapshotPiece, error) {
	const pieceBytes = 100
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callers = append(s.callers, q.Caller)
	view := s.state.View()
	if code := view.Governs(q.Caller, s.now()); code != tree.OK {
		return lease.SnapshotPiece{}, code
	}
	if s.fail != nil {
		return lease.SnapshotPiece{}, s.fail
	}
	if s.onPiece != nil {
		if err := s.onPiece(q.Offset); err != nil {
			return lease.SnapshotPiece{}, err
		}
	}
	if q.From == (lease.SnapshotFrom{}) {
		var b bytes.Buffer
		if _, err := view.WriteTo(&b); err != nil {
			return lease.SnapshotPiece{}, err
		}
		q.From = lease.SnapshotFrom{Node: 1, Zxid: view.Zxid(), Hash: 7}
		if s.backups == nil {
			s.backups = backups{}
		}
		s.backups[view.Zxid()] = &backup{b.Bytes(), view.Digest()}
	}
	f := s.backups[q.From.Zxid]
	if f == nil {
		return lease.SnapshotPiece{}, lease.ErrPageExpired
	}
	size := int64(len(f.content))
	at := min(q.Offset, size)
	return lease.SnapshotPiece{From: q.From, Digest: f.digest, Size: size, Data: f.content[at:min(size, at+pieceBytes)]}, nil
}
