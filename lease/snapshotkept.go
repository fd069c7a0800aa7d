package lease

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"perch/gen/snapshotpb"
	"perch/quorum"
)

// Idempotency records, queues and barriers in snapshots.

// Kinds of frames.
const (
	frameRecord  = 32
	frameQueue   = 33
	frameMessage = 34
	frameReceipt = 35
	frameWaiter  = 36
	frameBarrier = 37
	frameEntry   = 38
)

// keptParts are those of what is counted, queued and remembered.
var keptParts = []snapshotPart{
	{frameRecord, func(v *View) int { return v.records.Len() }, writeRecords, readRecord},
}

func writeRecords(v *View, f *frameWriter) {
	var m snapshotpb.Record
	v.records.Scan(func(r *record) bool {
		m.Hash, m.Digest, m.Zxid, m.AgeMs = r.hash[:], r.digest[:], uint64(r.zxid), r.age
		m.Principal, m.Told = r.principal, r.told
		return f.frame(frameRecord, &m)
	})
}

func readRecord(s *State, f *frameReader) error {
	var m snapshotpb.Record
	if err := f.next(frameRecord, &m); err != nil {
		return err
	}
	r := &record{zxid: quorum.Zxid(m.Zxid), age: m.AgeMs, principal: m.Principal, told: m.Told}
	if !readHash(&r.hash, m.Hash) || !readHash(&r.digest, m.Digest) {
		return errors.New("a hash of another size")
	}
	_, twice := s.records.Get(r)
	if twice || s.recordOf(r.zxid) != nil || r.zxid > s.zxid || r.age > s.age {
		return errors.New("an impossible idempotency record")
	}
	if p := s.principal(r.principal); p != nil {
		r.principal = p.Name
	}
	s.addRecord(r)
	return proto.Unmarshal(r.told, new(snapshotpb.Told))
}
