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

// The file "watermark" says outside of the log up to where the log is durable,
// so that a segment that lost its end, marks included, is found out. It is
// written after every group and synced by Mark alone: a killed process leaves
// it exact, a power cut may leave it as old as the last Mark. So it may say less
// than the log holds, never more. Of its two slots, at 0 and 4096, the one that
// was synced last is not written to; the valid one with the higher turn counts:
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
	safe int64 // the slot that is durable
	// Everything in segment before offset is durable.
	segment, offset uint64
}

// openWatermark reads the file; without one the result says nothing.
func openWatermark(fsys disk.FS, path string, mode disk.Mode, inc quorum.Incarnation) (*watermark, error) {
	w := &watermark{inc: inc}
	f, err := fsys.Open(path, mode)
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
			w.take(b[:], slot)
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

func (w *watermark) take(b []byte, slot int64) {
	turn := binary.LittleEndian.Uint64(b)
	if turn > w.turn && w.sum(b[:24]) == binary.LittleEndian.Uint32(b[24:]) {
		w.turn, w.safe = turn, slot
		w.segment = binary.LittleEndian.Uint64(b[8:])
		w.offset = binary.LittleEndian.Uint64(b[16:])
	}
}

// prepare makes what was read durable, and the file if there is none.
func (w *watermark) prepare(fsys disk.FS, dir string) (err error) {
	if w.file != nil {
		return w.file.Sync()
	}
	w.file, err = disk.Install(fsys, dir, watermarkName, func(f disk.File) error {
		_, err := f.WriteAt(make([]byte, 2*watermarkSlot), 0)
		return err
	})
	return err
}

// note says that seg is durable before offset, until the power goes.
func (w *watermark) note(seg uint64, offset int64) error {
	b := make([]byte, 0, watermarkBytes)
	b = binary.LittleEndian.AppendUint64(b, w.turn+1)
	b = binary.LittleEndian.AppendUint64(b, seg)
	b = binary.LittleEndian.AppendUint64(b, uint64(offset))
	b = binary.LittleEndian.AppendUint32(b, w.sum(b))
	w.turn++
	_, err := w.file.WriteAt(b, (1-w.safe)*watermarkSlot)
	return err
}

// raise says durably that seg is durable before offset.
func (w *watermark) raise(seg uint64, offset int64) error {
	if err := w.note(seg, offset); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	w.safe = 1 - w.safe
	return nil
}

// check compares the watermark with where the last segment was found to end.
func (w *watermark) check(h head, dir string) error {
	switch last := h.seg.seq; {
	case w.segment > last:
		return damaged(disk.Join(dir, segmentName(w.segment)), 0, remedySegment, "the segment is missing; the last one found is %s", h.seg.path)
	case w.segment == last && w.offset > uint64(h.seg.end):
		return damaged(h.seg.path, h.seg.end, RemedyRebuild, "no valid record, though the log is known to be durable up to offset %d here", w.offset)
	}
	return nil
}

func (w *watermark) close() {
	if w != nil && w.file != nil {
		_ = w.file.Close()
	}
}

// String says what the watermark knows, for people.
func (w *watermark) String() string {
	if w == nil || w.turn == 0 {
		return "says nothing"
	}
	return fmt.Sprintf("everything before offset %d of %s is durable", w.offset, segmentName(w.segment))
}
