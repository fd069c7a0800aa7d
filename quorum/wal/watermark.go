package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"perch/quorum"
	"perch/quorum/disk"
)

// The file "watermark" repeats the last mark outside of the log, so that a
// segment that lost its end, marks included, is found out. It is written only
// by Mark, so it says less than the marks do, never more. Two slots, at 0 and
// 4096, are written in turn; the valid one with the higher turn counts:
//
//	 0      8         16        24
//	┌──────┬─────────┬─────────┬────────┐
//	│ turn │ segment │ offset  │ crc32c │   of the incarnation and all before it
//	│ u64  │ u64     │ u64     │ u32    │
//	└──────┴─────────┴─────────┴────────┘
//
// Losing this file loses that one check and nothing else.
const (
	watermarkName  = "watermark"
	watermarkSlot  = 4096
	watermarkBytes = 28
)

type watermark struct {
	file disk.File
	inc  quorum.Incarnation
	turn uint64
	// Everything in segment before offset is durable.
	segment, offset uint64
}

// openWatermark reads the file; without one the result says nothing.
func openWatermark(fsys disk.FS, path string, inc quorum.Incarnation) (*watermark, error) {
	w := &watermark{inc: inc}
	f, err := fsys.Open(path, disk.ReadWrite)
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	w.file = f
	size, err := f.Size()
	for slot := int64(0); slot < 2 && err == nil; slot++ {
		if slot*watermarkSlot+watermarkBytes > size {
			break
		}
		var b [watermarkBytes]byte
		if err = readFull(f, b[:], slot*watermarkSlot); err == nil {
			w.take(b[:])
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("wal: reading %s: %w", path, err)
	}
	return w, nil
}

func (w *watermark) sum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(w.inc[:], castagnoli), castagnoli, b)
}

func (w *watermark) take(b []byte) {
	turn := binary.LittleEndian.Uint64(b)
	if turn > w.turn && w.sum(b[:24]) == binary.LittleEndian.Uint32(b[24:]) {
		w.turn = turn
		w.segment = binary.LittleEndian.Uint64(b[8:])
		w.offset = binary.LittleEndian.Uint64(b[16:])
	}
}

// create makes the file if there is none.
func (w *watermark) create(fsys disk.FS, dir string) (err error) {
	if w.file != nil {
		return nil
	}
	w.file, err = disk.Install(fsys, dir, watermarkName, func(f disk.File) error {
		_, err := f.WriteAt(make([]byte, 2*watermarkSlot), 0)
		return err
	})
	return err
}

// raise makes it durable that seg is durable before offset.
func (w *watermark) raise(seg uint64, offset int64) error {
	b := make([]byte, 0, watermarkBytes)
	b = binary.LittleEndian.AppendUint64(b, w.turn+1)
	b = binary.LittleEndian.AppendUint64(b, seg)
	b = binary.LittleEndian.AppendUint64(b, uint64(offset))
	b = binary.LittleEndian.AppendUint32(b, w.sum(b))
	w.turn++
	if _, err := w.file.WriteAt(b, int64(w.turn%2)*watermarkSlot); err != nil {
		return err
	}
	return w.file.Sync()
}

// check compares the watermark with where the last segment was found to end.
func (w *watermark) check(h head, dir string) error {
	switch last := h.seg.seq; {
	case w.segment > last:
		return damaged(disk.Join(dir, segmentName(w.segment)), 0, remedySegment, "the segment is missing; the last one found is %s", h.seg.path)
	case w.segment == last && w.offset > uint64(h.seg.end):
		return damaged(h.seg.path, h.seg.end, remedyRebuild, "no valid record, though the log is known to be durable up to offset %d here", w.offset)
	}
	return nil
}

func (w *watermark) close() {
	if w != nil && w.file != nil {
		_ = w.file.Close()
	}
}
