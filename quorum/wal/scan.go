package wal

import (
	"encoding/binary"
	"errors"
	"io"

	"perch/quorum/disk"
)

// scanWindow is how much is read at once when a whole file is read.
const scanWindow = 256 << 10

// scanner reads records in file order. It owns its buffer: a frame is good
// until the next call.
type scanner struct {
	file   disk.File
	salt   salt
	off    int64 // of the next record
	limit  int64 // no record goes beyond
	window int64 // how much is read at once, unless a record is larger
	buf    []byte
	bufOff int64 // offset of buf[0] in the file
}

func newScanner(f disk.File, s salt, off, limit, window int64) *scanner {
	return &scanner{file: f, salt: s, off: off, limit: limit, window: window, bufOff: off}
}

// next returns the record at off and moves behind it. It returns errNoRecord,
// and stays, when there is none; any other error is one of reading.
func (s *scanner) next() (frame, error) {
	head, err := s.bytes(frameHead)
	if err != nil {
		return frame{}, err
	}
	size, ok := headSize(head)
	if !ok {
		return frame{}, errNoRecord
	}
	b, err := s.bytes(size)
	if err != nil {
		return frame{}, err
	}
	f, err := parseFrame(b, s.salt, s.off)
	if err != nil {
		return frame{}, err
	}
	s.off += f.size
	return f, nil
}

// bytes returns the n bytes at off; errNoRecord when the limit comes before.
func (s *scanner) bytes(n int64) ([]byte, error) {
	if n > s.limit-s.off {
		return nil, errNoRecord
	}
	at := s.off - s.bufOff
	if at+n > int64(len(s.buf)) {
		if err := s.fill(max(n, min(s.window, s.limit-s.off))); err != nil {
			return nil, err
		}
		at = 0
	}
	return s.buf[at : at+n], nil
}

func (s *scanner) fill(n int64) error {
	if int64(cap(s.buf)) < n {
		s.buf = make([]byte, n)
	}
	s.buf = s.buf[:n]
	s.bufOff = s.off
	if err := readFull(s.file, s.buf, s.off); err != nil {
		s.buf = s.buf[:0]
		return err
	}
	return nil
}

// findMark looks for a valid mark in [from, limit) and returns its offset, or
// -1. A mark vouches for everything before it.
func findMark(f disk.File, s salt, from, limit int64) (int64, error) {
	from = (from + frameAlign - 1) &^ (frameAlign - 1)
	buf := make([]byte, min(scanWindow, max(limit-from, 0)))
	for from+markSize <= limit {
		n := min(int64(len(buf)), limit-from)
		if err := readFull(f, buf[:n], from); err != nil {
			return -1, err
		}
		at := int64(0)
		for ; at+markSize <= n; at += frameAlign {
			if buf[at+4] != byte(typeMark) || binary.LittleEndian.Uint32(buf[at:]) != markLen {
				continue
			}
			if _, err := parseFrame(buf[at:at+markSize], s, from+at); err == nil {
				return from + at, nil
			}
		}
		from += at
	}
	return -1, nil
}

// zeroFrom says whether the file holds nothing but zeros in [from, to).
func zeroFrom(f disk.File, from, to int64) (bool, error) {
	buf := make([]byte, min(scanWindow, max(to-from, 0)))
	for from < to {
		n := min(int64(len(buf)), to-from)
		if err := readFull(f, buf[:n], from); err != nil {
			return false, err
		}
		for _, c := range buf[:n] {
			if c != 0 {
				return false, nil
			}
		}
		from += n
	}
	return true, nil
}

func readFull(f disk.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
