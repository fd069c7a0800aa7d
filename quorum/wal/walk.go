package wal

import (
	"bytes"
	"errors"
	"fmt"

	"perch/quorum"
	"perch/quorum/disk"
)

// Kind says what a RecordInfo is about.
type Kind uint8

const (
	KindHeader  Kind = 1 // of a segment: Control, Zxid, Chain
	KindRecord  Kind = 2 // Record
	KindMark    Kind = 3 // Zxid, Chain
	KindSeal    Kind = 4 // Zxid, Chain
	KindInvalid Kind = 5 // bytes that are no record: Reason
)

// String names the kind.
func (k Kind) String() string {
	names := [...]string{"", "header", "record", "mark", "seal", "invalid"}
	if int(k) >= len(names) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return names[k]
}

// RecordInfo is one thing met in the files of a log. It belongs to the callee.
type RecordInfo struct {
	Kind    Kind
	File    string // path
	Segment uint64
	Offset  int64           // in the file
	Size    int64           // bytes on disk
	Record  quorum.Record   // KindRecord
	Control *quorum.Control // KindHeader
	Zxid    quorum.Zxid     // end of the log before this; of a record, its own
	Chain   uint64          // chain hash at Zxid
	Reason  string          // KindInvalid
}

// Walk calls fn for everything in the log in dir, in file order, until fn
// returns an error, which Walk returns. It changes nothing, takes no lock and
// judges nothing: it shows damaged files as far as they can be read. Beside a
// running node, the group that is being written may show up as invalid.
func Walk(dir string, fn func(RecordInfo) error) error { return walk(disk.OS{}, dir, fn) }

func walk(fsys disk.FS, dir string, fn func(RecordInfo) error) error {
	files, err := listSegments(fsys, dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := walkSegment(fsys, f, fn); err != nil {
			return err
		}
	}
	return nil
}

func walkSegment(fsys disk.FS, sf file, fn func(RecordInfo) error) error {
	f, err := fsys.Open(sf.path, disk.ReadOnly)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	defer f.Close()
	info := RecordInfo{Kind: KindHeader, File: sf.path, Segment: sf.seq, Size: sf.size}
	h, data, err := readSegmentHeader(f)
	if err != nil {
		info.Kind, info.Reason = KindInvalid, "the header cannot be read: "+err.Error()
		return fn(info)
	}
	info.Size, info.Control, info.Zxid, info.Chain = data, &h.control, h.last, h.lastChain
	if err := fn(info); err != nil {
		return err
	}
	return walkRecords(f, makeSalt(h.control.Boot.Incarnation, sf.seq), data, sf, fn)
}

// walkRecords goes on behind bytes that are no record at the next mark, if
// there is one. Zeros at the end are not worth a word.
func walkRecords(f disk.File, s salt, from int64, sf file, fn func(RecordInfo) error) error {
	for from >= 0 {
		off, err := walkRun(newScanner(f, s, from, sf.size, scanWindow), sf, fn)
		if err != nil {
			return err
		}
		zero, err := zeroFrom(f, off, sf.size)
		if zero || err != nil {
			return err
		}
		if from, err = findMark(f, s, off, sf.size); err != nil {
			return err
		}
		end := from
		if from < 0 {
			end = sf.size
		}
		if err := fn(RecordInfo{
			Kind: KindInvalid, File: sf.path, Segment: sf.seq, Offset: off, Size: end - off, Reason: "no valid record",
		}); err != nil {
			return err
		}
	}
	return nil
}

// walkRun shows valid records and returns where they end.
func walkRun(sc *scanner, sf file, fn func(RecordInfo) error) (int64, error) {
	for {
		fr, err := sc.next()
		if errors.Is(err, errNoRecord) {
			return sc.off, nil
		}
		if err != nil {
			return 0, fmt.Errorf("wal: reading %s at offset %d: %w", sf.path, sc.off, err)
		}
		if err := fn(describe(sf, &fr)); err != nil {
			return 0, err
		}
	}
}

func describe(sf file, fr *frame) RecordInfo {
	info := RecordInfo{
		Kind: KindRecord, File: sf.path, Segment: sf.seq, Offset: fr.off, Size: fr.size, Zxid: fr.zxid, Chain: fr.chain,
	}
	switch fr.kind {
	case typeMark:
		info.Kind = KindMark
	case typeSeal:
		info.Kind = KindSeal
	default:
		r, err := fr.record()
		if err != nil {
			info.Kind, info.Reason = KindInvalid, err.Error()
		}
		r.Entry.Data = bytes.Clone(r.Entry.Data)
		info.Record = r
	}
	return info
}
