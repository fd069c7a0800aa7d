package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"perch/gen/walpb"
	"perch/quorum"
	"perch/quorum/disk"
)

// The superblock (file "store") and the header of every segment look alike:
//
//	 0         8        12       16
//	┌─────────┬────────┬────────┬──────────────────────┬─────────┬────────┐
//	│ magic   │ format │ length │ Store, SegmentHeader │ zeros   │ crc32c │
//	│ 8 bytes │ u32    │ u32    │ length               │ 0 to 7  │ u32    │
//	└─────────┴────────┴────────┴──────────────────────┴─────────┴────────┘
//
// The crc covers everything before it; the whole is a multiple of 8 bytes.
const (
	storeName    = "store"
	storeMagic   = "PERCHSTO"
	segmentMagic = "PERCHLOG"
	segmentExt   = ".log"
	format       = 1

	blockHead  = 16
	blockLimit = 1 << 24
)

var (
	// errBlank: where a header should be, nothing was ever written.
	errBlank = errors.New("the file is empty")
	// errHeader: what stands there is no header.
	errHeader = errors.New("no valid header")
)

func segmentName(seq uint64) string { return fmt.Sprintf("%016x%s", seq, segmentExt) }

// parseSegmentName is the inverse of segmentName; false for other files.
func parseSegmentName(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, segmentExt)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	seq, err := strconv.ParseUint(hex, 16, 64)
	return seq, err == nil && segmentName(seq) == name
}

// encodeBlock frames m as drawn above.
func encodeBlock(magic string, m proto.Message) ([]byte, error) {
	b := append([]byte(magic), make([]byte, blockHead-len(magic))...)
	b, err := (proto.MarshalOptions{Deterministic: true}).MarshalAppend(b, m)
	if err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint32(b[8:], format)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-blockHead))
	for (len(b)+frameTail)%frameAlign != 0 {
		b = append(b, 0)
	}
	return appendSum(b), nil
}

func appendSum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readBlock reads a block at the beginning of f into m and returns its length
// on disk. It returns errBlank or errHeader for what is not one, and other
// errors when reading failed.
func readBlock(f disk.File, magic string, m proto.Message) (int64, error) {
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	if size < blockHead {
		return 0, blankOr(f, size)
	}
	var head [blockHead]byte
	if err := readFull(f, head[:], 0); err != nil {
		return 0, err
	}
	n := int64(binary.LittleEndian.Uint32(head[12:]))
	total := (blockHead + n + frameTail + frameAlign - 1) &^ (frameAlign - 1)
	if string(head[:8]) != magic || n > blockLimit || total > size {
		return 0, blankOr(f, size)
	}
	b := make([]byte, total)
	if err := readFull(f, b, 0); err != nil {
		return 0, err
	}
	if crc32.Checksum(b[:total-frameTail], castagnoli) != binary.LittleEndian.Uint32(b[total-frameTail:]) {
		return 0, errHeader
	}
	if v := binary.LittleEndian.Uint32(head[8:]); v != format {
		return 0, fmt.Errorf("format %d, this version of perch reads format %d; remedy: start the version that wrote it", v, format)
	}
	if err := proto.Unmarshal(b[blockHead:blockHead+n], m); err != nil {
		return 0, fmt.Errorf("%w: %w", errHeader, err)
	}
	return total, nil
}

// blankOr tells a file in which nothing was ever written from a broken one.
func blankOr(f disk.File, size int64) error {
	zero, err := zeroFrom(f, 0, size)
	if err != nil {
		return err
	}
	if zero {
		return errBlank
	}
	return errHeader
}

// segmentHeader is what the header of a segment says.
type segmentHeader struct {
	seq         uint64
	control     quorum.Control
	last        quorum.Zxid // end of the log before this segment
	lastChain   uint64
	commit      quorum.Zxid
	previousEnd int64
}

func (h *segmentHeader) encode() ([]byte, error) {
	return encodeBlock(segmentMagic, &walpb.SegmentHeader{
		Segment:     h.seq,
		Control:     controlToProto(&h.control),
		LastZxid:    uint64(h.last),
		LastChain:   h.lastChain,
		CommitHint:  uint64(h.commit),
		PreviousEnd: uint64(h.previousEnd),
	})
}

// readSegmentHeader returns the header of f and where it ends.
func readSegmentHeader(f disk.File) (*segmentHeader, int64, error) {
	var pb walpb.SegmentHeader
	size, err := readBlock(f, segmentMagic, &pb)
	if err != nil {
		return nil, 0, err
	}
	control, err := controlFromProto(pb.GetControl())
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errHeader, err)
	}
	return &segmentHeader{
		seq:         pb.GetSegment(),
		control:     *control,
		last:        quorum.Zxid(pb.GetLastZxid()),
		lastChain:   pb.GetLastChain(),
		commit:      quorum.Zxid(pb.GetCommitHint()),
		previousEnd: int64(pb.GetPreviousEnd()),
	}, size, nil
}
