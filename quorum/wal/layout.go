package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"perch/quorum"
)

// A record on disk, little-endian, always a multiple of 8 bytes long:
//
//	 0        4      5       8           16          24
//	┌────────┬──────┬───────┬───────────┬───────────┬─────────┬────────┬────────┐
//	│ length │ type │ zeros │ zxid      │ chain     │ payload │ zeros  │ crc32c │
//	│ u32    │ u8   │ 3     │ u64       │ u64       │ length  │ 0 to 7 │ u32    │
//	└────────┴──────┴───────┴───────────┴───────────┴─────────┴────────┴────────┘
//
// The crc covers everything before it and starts from a value made of the
// incarnation of the store, the number of the segment and the offset of the
// record. So bytes that were written for another place, another file or another
// node do not pass for a record here, however whole they are.
//
//	type         zxid, chain             payload
//	1 control    —                       Control
//	2 entry      of the entry            Entry
//	3 truncate   new end of the log      —
//	4 install    end of the snapshot     —
//	5 commit     zxid                    —
//	16 mark      end of the log here     u64: the offset of this record
//	17 seal      end of the log here     u64: the number of the next segment
//
// A write group is a mark and the records of one Append behind it. The mark
// vouches for every byte before itself: they were synced before it was written
// (RULES.md R7). A seal says that the next segment exists. Length 0 with type 0
// is the end: files are zeroed ahead of the writing.
const (
	frameHead  = 24
	frameTail  = 4
	frameAlign = 8

	typeMark quorum.RecordType = 16
	typeSeal quorum.RecordType = 17

	markLen  = 8
	markSize = (frameHead + markLen + frameTail + frameAlign - 1) &^ (frameAlign - 1)

	// recordLimit bounds a payload, so that a broken length is not believed.
	recordLimit = 1 << 28
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errNoRecord: the bytes at a position are no record that belongs there.
var errNoRecord = errors.New("no valid record")

// salt is the crc32c over what a record's place is, but for its offset.
type salt uint32

func makeSalt(inc quorum.Incarnation, segment uint64) salt {
	var b [24]byte
	copy(b[:], inc[:])
	binary.LittleEndian.PutUint64(b[16:], segment)
	return salt(crc32.Checksum(b[:], castagnoli))
}

// sum is the crc32c of a record b at offset. Equal bytes at two offsets of one
// segment never have equal sums, since they start from different values.
func (s salt) sum(offset int64, b []byte) uint32 {
	return crc32.Update(uint32(s)^uint32(offset)^uint32(offset>>32), castagnoli, b)
}

// frame is one record as it stands on disk.
type frame struct {
	kind    quorum.RecordType
	zxid    quorum.Zxid
	chain   uint64
	payload []byte
	off     int64 // in the segment
	size    int64 // on disk
}

// frameSize is how much a record with n bytes of payload takes on disk.
func frameSize(n int) int64 {
	return (frameHead + int64(n) + frameTail + frameAlign - 1) &^ (frameAlign - 1)
}

// beginFrame appends the head of a record to b; the payload follows, then
// endFrame. at is where the record begins in b.
func beginFrame(b []byte, kind quorum.RecordType, zxid quorum.Zxid, chain uint64) (out []byte, at int) {
	at = len(b)
	var head [frameHead]byte
	head[4] = byte(kind)
	binary.LittleEndian.PutUint64(head[8:], uint64(zxid))
	binary.LittleEndian.PutUint64(head[16:], chain)
	return append(b, head[:]...), at
}

// endFrame closes the record that begins at b[at:] and will stand at offset.
func endFrame(b []byte, at int, s salt, offset int64) []byte {
	n := len(b) - at - frameHead
	binary.LittleEndian.PutUint32(b[at:], uint32(n))
	for pad := frameSize(n) - frameTail - int64(len(b)-at); pad > 0; pad-- {
		b = append(b, 0)
	}
	return binary.LittleEndian.AppendUint32(b, s.sum(offset, b[at:]))
}

// headSize is the length on disk of the record that begins with b, which holds
// at least frameHead bytes; false when no record begins so.
func headSize(b []byte) (int64, bool) {
	n := binary.LittleEndian.Uint32(b)
	if n > recordLimit || b[4] == 0 || b[5]|b[6]|b[7] != 0 {
		return 0, false
	}
	return frameSize(int(n)), true
}

// parseFrame reads the record at the beginning of b, which stands at offset.
// The payload shares memory with b.
func parseFrame(b []byte, s salt, offset int64) (frame, error) {
	if len(b) < frameHead {
		return frame{}, errNoRecord
	}
	size, ok := headSize(b)
	if !ok || size > int64(len(b)) {
		return frame{}, errNoRecord
	}
	end := size - frameTail
	if s.sum(offset, b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return frame{}, errNoRecord
	}
	n := binary.LittleEndian.Uint32(b)
	return frame{
		kind:    quorum.RecordType(b[4]),
		zxid:    quorum.Zxid(binary.LittleEndian.Uint64(b[8:])),
		chain:   binary.LittleEndian.Uint64(b[16:]),
		payload: b[frameHead : frameHead+n],
		off:     offset,
		size:    size,
	}, nil
}
