package snap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cespare/xxhash/v2"

	"perch/quorum"
	"perch/quorum/disk"
)

// A snapshot file, little-endian:
//
//	header   ┌───────────┬────────────┬────────────┬──────┬───────┬────────┬────────────┬────────────┐
//	48 bytes │ PERCHSNP  │ format u32 │ config u32 │ zxid │ chain │ digest │ zeros u32  │ crc32c u32 │
//	         └───────────┴────────────┴────────────┴──────┴───────┴────────┴────────────┴────────────┘
//	config   ┌──────────────────────────────────┬────────────┐
//	if any   │ config bytes of members          │ crc32c u32 │
//	         └──────────────────────────────────┴────────────┘
//	block    ┌────────────┬────────────┬───────────┐
//	repeated │ length u32 │ crc32c u32 │ content   │   1 ≤ length ≤ blockBytes
//	         └────────────┴────────────┴───────────┘
//	trailer  ┌───────────┬───────────────────┬──────────┬──────────────┐
//	32 bytes │ zeros u64 │ content bytes u64 │ PERCHEND │ xxhash64 u64 │
//	         └───────────┴───────────────────┴──────────┴──────────────┘
//
// The crc of a block covers the zxid, the number of the block from 0, its
// length and its content; the xxhash64 covers everything before itself. Nothing
// in the file names a node or a time: equal states make equal files.
const (
	headMagic  = "PERCHSNP"
	trailMagic = "PERCHEND"
	format     = 1

	headBytes  = 48
	configMax  = 64 << 10
	blockHead  = 8
	blockBytes = 1 << 20
	trailBytes = 32
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errFormat  = errors.New("not a snapshot that this version can read")
)

func encodeHead(m *quorum.SnapMeta) []byte {
	b := make([]byte, headBytes)
	copy(b, headMagic)
	binary.LittleEndian.PutUint32(b[8:], format)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(m.Config)))
	binary.LittleEndian.PutUint64(b[16:], uint64(m.Zxid))
	binary.LittleEndian.PutUint64(b[24:], m.Chain)
	binary.LittleEndian.PutUint64(b[32:], m.Digest)
	binary.LittleEndian.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
	if m.Config == "" {
		return b
	}
	b = append(b, m.Config...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum([]byte(m.Config), castagnoli))
}

// readConfig takes the members that follow the header.
func (r *blockReader) readConfig(n uint32) error {
	if n == 0 {
		return nil
	}
	if n > configMax {
		return fmt.Errorf("%w: a configuration of %d bytes", errFormat, n)
	}
	b, err := r.take(int(n) + 4)
	if err != nil {
		return err
	}
	if crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
		return fmt.Errorf("%w: the checksum of the configuration is wrong", errFormat)
	}
	r.meta.Config = string(b[:n])
	return nil
}

// decodeHead fills in what the header says: position, chain hash and digest.
func decodeHead(b []byte, m *quorum.SnapMeta) error {
	if string(b[:8]) != headMagic || crc32.Checksum(b[:44], castagnoli) != binary.LittleEndian.Uint32(b[44:]) {
		return fmt.Errorf("%w: the header is broken", errFormat)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != format {
		return fmt.Errorf("%w: format %d, not %d", errFormat, v, format)
	}
	m.Zxid = quorum.Zxid(binary.LittleEndian.Uint64(b[16:]))
	m.Chain = binary.LittleEndian.Uint64(b[24:])
	m.Digest = binary.LittleEndian.Uint64(b[32:])
	return nil
}

func blockSum(z quorum.Zxid, number uint64, content []byte) uint32 {
	var b [20]byte
	binary.LittleEndian.PutUint64(b[0:], uint64(z))
	binary.LittleEndian.PutUint64(b[8:], number)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(content)))
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, content)
}

// blockWriter turns content into a snapshot file. It implements io.Writer.
type blockWriter struct {
	out     *pacedFile
	zxid    quorum.Zxid
	hash    xxhash.Digest
	buf     []byte // head and content of the block being gathered
	number  uint64
	content uint64
}

func newBlockWriter(out *pacedFile, m *quorum.SnapMeta) (*blockWriter, error) {
	w := &blockWriter{out: out, zxid: m.Zxid, buf: make([]byte, blockHead, blockHead+blockBytes)}
	w.hash.Reset()
	return w, w.raw(encodeHead(m))
}

func (w *blockWriter) raw(b []byte) error {
	_, _ = w.hash.Write(b)
	return w.out.write(b)
}

// Write adds to the content.
func (w *blockWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if len(w.buf) == cap(w.buf) {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
		written += n
	}
	return written, nil
}

func (w *blockWriter) flush() error {
	content := w.buf[blockHead:]
	if len(content) == 0 {
		return nil
	}
	binary.LittleEndian.PutUint32(w.buf[0:], uint32(len(content)))
	binary.LittleEndian.PutUint32(w.buf[4:], blockSum(w.zxid, w.number, content))
	w.number++
	w.content += uint64(len(content))
	err := w.raw(w.buf)
	w.buf = w.buf[:blockHead]
	return err
}

// finish writes the trailer and returns size and hash of the whole file.
func (w *blockWriter) finish() (size int64, hash uint64, err error) {
	if err := w.flush(); err != nil {
		return 0, 0, err
	}
	b := make([]byte, trailBytes)
	binary.LittleEndian.PutUint64(b[8:], w.content)
	copy(b[16:], trailMagic)
	_, _ = w.hash.Write(b[:24])
	binary.LittleEndian.PutUint64(b[24:], w.hash.Sum64())
	_, _ = w.hash.Write(b[24:])
	err = w.out.write(b)
	return w.out.off, w.hash.Sum64(), err
}

// blockReader reads the content of a snapshot file and checks everything on
// the way. It implements io.Reader; io.EOF comes only after the trailer was
// found right and nothing stands behind it.
type blockReader struct {
	file    io.ReaderAt
	size    int64
	meta    quorum.SnapMeta // Size and Hash are set at the end
	hash    xxhash.Digest
	off     int64
	number  uint64
	content uint64
	buf     []byte
	rest    []byte // of buf, not handed out yet
	err     error
}

// newBlockReader reads the header. Its errors, like those of Read, say what is
// wrong at off.
func newBlockReader(f disk.File) (*blockReader, error) {
	size, err := f.Size()
	if err != nil {
		return &blockReader{file: f}, err
	}
	return readBlocks(f, size)
}

func readBlocks(f io.ReaderAt, size int64) (*blockReader, error) {
	r := &blockReader{file: f, size: size}
	r.hash.Reset()
	b, err := r.take(headBytes)
	if err != nil {
		return r, err
	}
	config := binary.LittleEndian.Uint32(b[12:])
	if err := decodeHead(b, &r.meta); err != nil {
		r.off = 0
		return r, err
	}
	if err := r.readConfig(config); err != nil {
		r.off = headBytes
		return r, err
	}
	return r, nil
}

// take reads the next n bytes; they are good until the next call.
func (r *blockReader) take(n int) ([]byte, error) {
	if int64(n) > r.size-r.off {
		return nil, fmt.Errorf("%w: the file ends too early", errFormat)
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	if m, err := r.file.ReadAt(b, r.off); m < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	_, _ = r.hash.Write(b)
	r.off += int64(n)
	return b, nil
}

// Read returns content that was checked.
func (r *blockReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err == nil {
			r.err = r.block()
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// block reads the next block into rest; io.EOF after a right trailer.
func (r *blockReader) block() error {
	at := r.off
	head, err := r.take(blockHead)
	if err != nil {
		return err
	}
	n, sum := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	if n == 0 {
		return r.trailer(sum)
	}
	if n > blockBytes {
		r.off = at
		return fmt.Errorf("%w: a block of %d bytes", errFormat, n)
	}
	b, err := r.take(int(n))
	if err != nil {
		return err
	}
	if blockSum(r.meta.Zxid, r.number, b) != sum {
		r.off = at
		return fmt.Errorf("%w: the checksum of block %d is wrong", errFormat, r.number)
	}
	r.number++
	r.content += uint64(n)
	r.rest = b
	return nil
}

// trailer reads what follows the zeros that begin it.
func (r *blockReader) trailer(second uint32) error {
	at := r.off - blockHead
	b, err := r.take(16)
	if err != nil {
		return err
	}
	good := second == 0 && binary.LittleEndian.Uint64(b) == r.content && string(b[8:]) == trailMagic
	want := r.hash.Sum64()
	if b, err = r.take(8); err != nil {
		return err
	}
	if !good || binary.LittleEndian.Uint64(b) != want || r.off != r.size {
		r.off = at
		return fmt.Errorf("%w: the trailer is wrong", errFormat)
	}
	r.meta.Size, r.meta.Hash = r.size, r.hash.Sum64()
	return io.EOF
}
