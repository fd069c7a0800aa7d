// Package wire turns quorum messages into frames and back.
//
// A frame is
//
//	bytes 0-1  "PQ"
//	byte  2    version, 1
//	byte  3    0
//	bytes 4-7  CRC-32C of the rest, little endian
//	bytes 8-   one protobuf Message (wire.proto), its entries last
//
// It guarantees: Decode(Append(nil, m)) is m, but for Entry.Chain, which does
// not travel; Decode is total, it returns an error for any other bytes and
// never panics, nor does it use more memory than a small multiple of the
// frame; what it returns holds only values that the types of package quorum
// name, so a switch over them needs no default for bytes gone astray.
//
// It does not guarantee that a message is sensible (that is for the core to
// judge), nor that it comes from whom it says: the checksum finds damage, not
// malice.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	"perch/gen/wirepb"
	"perch/quorum"
)

// Bounds on what is taken from a peer.
const (
	// MaxFrame is the largest frame in bytes. It leaves room for a largest
	// value with its command around it, and for the transport's own headers.
	MaxFrame = 2<<20 - 4<<10
	// MaxList is the largest number of entries, requests, ids or epochs in one
	// message.
	MaxList = 1 << 16
)

// What Decode returns, wrapped with what was wrong.
var (
	ErrDamaged   = errors.New("wire: frame is damaged")
	ErrVersion   = errors.New("wire: frame of an unknown version")
	ErrMalformed = errors.New("wire: malformed message")
	ErrTooLarge  = errors.New("wire: frame is too large")
)

const (
	headBytes = 8
	version   = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the frame of m to dst and returns the longer slice. It keeps
// nothing of m. It does not check m: a frame larger than MaxFrame, or of a
// message with impossible values, is refused by Decode.
func Append(dst []byte, m *quorum.Message) []byte {
	start := len(dst)
	dst = append(dst, 'P', 'Q', version, 0, 0, 0, 0, 0)
	dst, err := proto.MarshalOptions{}.MarshalAppend(dst, toProto(m))
	if err != nil {
		// Only strings that are not UTF-8 and absent required fields can fail;
		// the schema has neither.
		panic(fmt.Sprintf("wire: marshal: %v", err))
	}
	for i := range m.Entries {
		dst = appendEntry(dst, &m.Entries[i])
	}
	sum := crc32.Checksum(dst[start+headBytes:], castagnoli)
	binary.LittleEndian.PutUint32(dst[start+4:], sum)
	return dst
}

// Decode reads one frame that fills b. The Data of entries points into b, which
// must not change afterwards. Empty slices come back as nil.
// Errors are ErrDamaged, ErrVersion, ErrMalformed and ErrTooLarge, wrapped.
func Decode(b []byte) (quorum.Message, error) {
	body, err := open(b)
	if err != nil {
		return quorum.Message{}, err
	}
	front, entries, err := split(body)
	if err != nil {
		return quorum.Message{}, err
	}
	var pb wirepb.Message
	if err := proto.Unmarshal(front, &pb); err != nil {
		return quorum.Message{}, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	m, err := fromProto(&pb)
	if err != nil {
		return quorum.Message{}, err
	}
	if m.Entries, err = decodeEntries(entries); err != nil {
		return quorum.Message{}, err
	}
	return m, nil
}

// open checks the head of a frame and returns what follows it.
func open(b []byte) ([]byte, error) {
	switch {
	case len(b) < headBytes || b[0] != 'P' || b[1] != 'Q':
		return nil, fmt.Errorf("%w: no frame begins here", ErrDamaged)
	case b[2] != version || b[3] != 0:
		return nil, fmt.Errorf("%w: %d.%d", ErrVersion, b[2], b[3])
	case len(b) > MaxFrame:
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(b))
	}
	body := b[headBytes:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, fmt.Errorf("%w: checksum", ErrDamaged)
	}
	return body, nil
}
