package node

import (
	"context"
	"errors"
	"fmt"
	"io"

	"perch/lease"
	"perch/quorum"
	"perch/quorum/restore"
	"perch/tree"
)

// Downloads: backup files for clients. What is sent is a snapshot of this node,
// with a line before it that says where it comes from. It is written and read at
// the pace of snapshots, from an immutable View, so that no write waits for it.

// downloadsMost bounds the snapshots that are kept for pulling and downloading.
const downloadsMost = 8

// Snapshot implements lease.Service.
func (n *Node) Snapshot(ctx context.Context, q lease.SnapshotQuery) (lease.SnapshotPiece, error) {
	if err := n.inDoubt(); err != nil {
		return lease.SnapshotPiece{}, err
	}
	if q.From == (lease.SnapshotFrom{}) {
		return n.beginDownload(ctx, q)
	}
	if code := n.view().Governs(q.Caller, wall()); code != tree.OK {
		return lease.SnapshotPiece{}, code
	}
	if q.From.Node != n.cfg.ID {
		return lease.SnapshotPiece{}, lease.ErrPageExpired
	}
	from, err := n.snaps.pinned(q.From.Zxid)
	if err != nil || from.Meta().Hash != q.From.Hash {
		return lease.SnapshotPiece{}, lease.ErrPageExpired
	}
	return n.snaps.piece(ctx, from, q)
}

func (n *Node) beginDownload(ctx context.Context, q lease.SnapshotQuery) (lease.SnapshotPiece, error) {
	if err := n.governs(ctx, q.Caller); err != nil {
		return lease.SnapshotPiece{}, err
	}
	from, err := n.snaps.fresh(n.view().Zxid())
	if err != nil {
		return lease.SnapshotPiece{}, err
	}
	return n.snaps.piece(ctx, from, q)
}

// fresh pins a snapshot of the state at z or later, where z has been applied; one
// is taken when there is none.
func (s *snapshots) fresh(z quorum.Zxid) (*served, error) {
	if err := s.take(z); err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", err)
	}
	if !s.room(quorum.Zxid(s.newest.Load())) {
		return nil, &lease.Refused{Why: lease.ErrOverloaded, Text: "too many snapshots are being downloaded: try again when one has ended"}
	}
	from, err := s.pinned(quorum.Zxid(s.newest.Load()))
	if err != nil {
		return nil, fmt.Errorf("pin the snapshot: %w", err)
	}
	return from, nil
}

// room says whether one more snapshot may be pinned, if z is not pinned already.
func (s *snapshots) room(z quorum.Zxid) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pins[z] != nil || len(s.pins) < downloadsMost
}

// piece reads a piece of the backup file of from.
func (s *snapshots) piece(ctx context.Context, from *served, q lease.SnapshotQuery) (lease.SnapshotPiece, error) {
	line, err := s.line(from)
	if err != nil {
		return lease.SnapshotPiece{}, err
	}
	m := from.Meta()
	out := lease.SnapshotPiece{
		From:   lease.SnapshotFrom{Node: s.node.cfg.ID, Zxid: m.Zxid, Hash: m.Hash},
		Digest: m.Digest, Size: int64(len(line)) + m.Size,
	}
	limit := q.Limit
	if limit <= 0 || limit > lease.SnapshotPieceBytes {
		limit = lease.SnapshotPieceBytes
	}
	switch {
	case q.Offset < 0 || q.Offset >= out.Size:
		return out, nil
	case q.Offset < int64(len(line)):
		out.Data = line[q.Offset:min(int64(len(line)), q.Offset+int64(limit))]
		return out, nil
	}
	if err := s.pace.wait(ctx, limit); err != nil {
		return lease.SnapshotPiece{}, err
	}
	data := make([]byte, limit)
	got, err := from.ReadAt(data, q.Offset-int64(len(line)))
	if err != nil && !errors.Is(err, io.EOF) {
		return lease.SnapshotPiece{}, fmt.Errorf("read the snapshot: %w", err)
	}
	out.Data = data[:got]
	return out, nil
}

// line is the first line of a backup. It is made once for each pin, so that its
// length, and with it the place of everything behind it, stays.
func (s *snapshots) line(from *served) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from.line == nil {
		soft := s.node.Soft()
		epoch := max(soft.Epoch, s.node.control.Load().AcceptedEpoch)
		line, err := restore.NewHead(from.Meta(), s.node.cluster(), s.node.cfg.Name, epoch).Line()
		if err != nil {
			return nil, err
		}
		from.line = line
	}
	return from.line, nil
}
