package lease

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"perch/gen/commandpb"
	"perch/gen/snapshotpb"
	"perch/quorum"
	"perch/tree"
)

// SnapshotFormat is the highest format of snapshots that this code reads. It
// writes the format of the feature level, which says that every member can read
// it, since followers pull snapshots.
const SnapshotFormat = 4

// ErrSnapshot ends Restore when the bytes are no whole snapshot.
var ErrSnapshot = errors.New("damaged snapshot")

// Kinds of frames, in the order in which they stand (snapshot.proto).
const (
	frameHeader  = 1
	frameNode    = 2
	frameSession = 3
	frameEnded   = 4
	frameEvent   = 5
	frameEnd     = 6

	// From format 2 on, between the ended sessions and the events.
	framePrincipal = 7
	frameToken     = 8

	// From format 3 on, behind those, what snapshotParts lists: kinds 16 and up.
)

// snapshotPart is a table of records in snapshots, from format 3 on.
type snapshotPart struct {
	kind  byte // of its frames
	count func(*View) int
	write func(*View, *frameWriter)        // count frames
	read  func(*State, *frameReader) error // one frame
}

// snapshotParts stand in this order, and their counts in the header.
var snapshotParts []snapshotPart

// frameMost bounds a frame; the largest value and path fit.
const frameMost = 16 << 20

// snapshotBuffer is the size of the writer's and reader's buffers.
const snapshotBuffer = 256 << 10

// WriteTo streams a snapshot of the view. Equal states give equal bytes. The
// error is that of w.
func (v *View) WriteTo(w io.Writer) (int64, error) {
	f := &frameWriter{w: bufio.NewWriterSize(w, snapshotBuffer), acls: map[*tree.ACL][]*commandpb.AclEntry{}}
	head := &snapshotpb.Header{
		Format: min(v.level, SnapshotFormat), Zxid: uint64(v.zxid), AgeMs: v.age, Trimmed: uint64(v.Oldest()),
		Settings: v.settings.Command(v.level), Nodes: uint64(v.tree.Len()), Sessions: uint64(v.sessions.Len()),
		Ended: uint64(v.ended.Len()), Events: uint64(v.history.Len()), Level: v.level,
		Auth: v.auth, Principals: uint64(v.principals.Len()), Tokens: uint64(v.apiTokens.Len()),
	}
	if v.level >= heldLevel {
		head.WallMs, head.WallAgeMs = v.wall, v.wallAge
		for _, p := range snapshotParts {
			head.Parts = append(head.Parts, uint64(p.count(v)))
		}
	}
	head.Gaps = v.gaps.message()
	f.frame(frameHeader, head)
	v.writeNodes(f)
	v.writeSessions(f)
	v.writePolicy(f)
	for _, p := range snapshotParts {
		p.write(v, f)
	}
	v.writeEvents(f)
	f.frame(frameEnd, &snapshotpb.End{Digest: v.digest})
	if f.err == nil {
		f.err = f.w.Flush()
	}
	return f.n, f.err
}

// The writers below fill one message again and again: a million records would
// otherwise be a million allocations.

func (v *View) writeSessions(f *frameWriter) {
	var m snapshotpb.Session
	v.sessions.Scan(func(n *session) bool {
		m.Id, m.TtlMs, m.TokenHash, m.Principal = uint64(n.id), n.ttlMs, nil, n.principal
		m.Transient, m.LeftMs = n.transient, n.left
		if n.drawn {
			m.TokenHash = n.hash[:]
		}
		return f.frame(frameSession, &m)
	})
	var e snapshotpb.Ended
	v.ended.Scan(func(n *ended) bool {
		e.TokenHash, e.AgeMs = n.hash[:], n.age
		return f.frame(frameEnded, &e)
	})
}

type frameWriter struct {
	w    *bufio.Writer
	buf  []byte
	acls map[*tree.ACL][]*commandpb.AclEntry // as they are written
	n    int64
	err  error
}

// frame writes one frame and says whether to go on.
func (f *frameWriter) frame(kind byte, m proto.Message) bool {
	if f.err != nil {
		return false
	}
	// Deterministic has no effect without maps; it says what is relied on.
	opt := proto.MarshalOptions{Deterministic: true}
	const room = binary.MaxVarintLen64 + 1
	var head [room]byte
	buf, err := opt.MarshalAppend(append(f.buf[:0], kind), m)
	if err != nil {
		f.err = err
		return false
	}
	f.buf = buf
	f.write(head[:binary.PutUvarint(head[:], uint64(len(buf)))])
	f.write(buf)
	return f.err == nil
}

func (f *frameWriter) write(b []byte) {
	if f.err != nil {
		return
	}
	n, err := f.w.Write(b)
	f.n, f.err = f.n+int64(n), err
}

// Restore reads what WriteTo wrote, all of r, and verifies that the state has
// the digest that it was written with. The error is ErrFormat for a snapshot of
// a newer program, ErrSnapshot for damage, or that of r.
func Restore(r io.Reader) (*State, error) {
	f := newFrameReader(r)
	s, err := restore(f)
	switch {
	case f.err != nil:
		return nil, f.err
	case errors.Is(err, ErrFormat):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w (frame %d)", ErrSnapshot, err, f.frames)
	}
	return s, nil
}

func restore(f *frameReader) (*State, error) {
	var head snapshotpb.Header
	if err := f.next(frameHeader, &head); err != nil {
		return nil, err
	}
	if head.Format > SnapshotFormat || head.Level > Format {
		return nil, fmt.Errorf("%w: snapshot has format %d and level %d, known are %d and %d", ErrFormat, head.Format, head.Level, SnapshotFormat, Format)
	}
	if head.Level == 0 {
		return nil, errors.New("no feature level")
	}
	gaps, err := readGaps(&head)
	if err != nil {
		return nil, err
	}
	s := New(DefaultSettings())
	s.gaps, s.level, s.auth = gaps, head.Level, head.Auth
	if head.Settings == nil || !s.settings.merge(head.Settings, s.level) {
		return nil, errors.New("no settings")
	}
	if err := s.settings.Validate(); err != nil {
		return nil, err
	}
	if head.Trimmed > head.Zxid {
		return nil, errors.New("events trimmed beyond the state")
	}
	s.zxid, s.age, s.wall, s.wallAge = quorum.Zxid(head.Zxid), head.AgeMs, head.WallMs, head.WallAgeMs
	for _, read := range []func(*State, *frameReader, *snapshotpb.Header) error{readNodes, readSessions, readEnded, readPrincipals, readTokens, readParts, readEvents} {
		if err := read(s, f, &head); err != nil {
			return nil, err
		}
	}
	if err := s.checkOwners(); err != nil {
		return nil, err
	}
	s.begin()
	return s, f.end(s.digest())
}

func readParts(s *State, f *frameReader, head *snapshotpb.Header) error {
	if len(head.Parts) > len(snapshotParts) {
		return errors.New("records of unknown kinds")
	}
	for i, n := range head.Parts {
		for range n {
			if err := snapshotParts[i].read(s, f); err != nil {
				return err
			}
			s.begin() // nothing of this is ever taken back
		}
	}
	return nil
}

func readSessions(s *State, f *frameReader, head *snapshotpb.Header) error {
	var m snapshotpb.Session
	var last quorum.Zxid
	for range head.Sessions {
		if err := f.next(frameSession, &m); err != nil {
			return err
		}
		n := &session{id: quorum.Zxid(m.Id), ttlMs: m.TtlMs, drawn: len(m.TokenHash) > 0, principal: m.Principal}
		n.transient, n.left = m.Transient, m.LeftMs
		if n.id <= last || n.id > s.zxid {
			return errors.New("sessions out of order")
		}
		last = n.id
		if n.drawn {
			if copy(n.hash[:], m.TokenHash) != len(m.TokenHash) || len(m.TokenHash) != len(n.hash) {
				return errors.New("a token hash of another size")
			}
			if _, twice := s.tokens.Get(token{hash: n.hash}); twice {
				return errors.New("two sessions with one token")
			}
			s.tokens.Set(token{n.hash, n.id})
		}
		s.sessions.Load(n)
		s.hold(n)
		s.sum += n.digest()
	}
	return nil
}

func readEnded(s *State, f *frameReader, head *snapshotpb.Header) error {
	var m snapshotpb.Ended
	var last *ended
	for range head.Ended {
		if err := f.next(frameEnded, &m); err != nil {
			return err
		}
		e := &ended{age: m.AgeMs}
		if len(m.TokenHash) != len(e.hash) || e.age > s.age {
			return errors.New("an impossible ended session")
		}
		copy(e.hash[:], m.TokenHash)
		if last != nil && !endedLess(last, e) {
			return errors.New("ended sessions out of order")
		}
		if _, alive := s.tokens.Get(token{hash: e.hash}); alive {
			return errors.New("an ended session that lives")
		}
		last = e
		s.remember(e)
	}
	return nil
}

// checkOwners says whether every ephemeral has a live owner.
func (s *State) checkOwners() (err error) {
	s.tree.Freeze().Owners(func(owner quorum.Zxid, _ int) bool {
		if _, ok := s.sessions.Get(&session{id: owner}); !ok {
			err = errors.New("an ephemeral without session")
		}
		return err == nil
	})
	return err
}

type frameReader struct {
	below  io.Reader
	r      *bufio.Reader // reads this frameReader
	buf    []byte
	frames int
	err    error // of the reader below, other than its end
}

func newFrameReader(r io.Reader) *frameReader {
	f := &frameReader{below: r}
	f.r = bufio.NewReaderSize(f, snapshotBuffer)
	return f
}

// next reads the next frame, which must be of the kind, into m.
func (f *frameReader) next(kind byte, m proto.Message) error {
	f.frames++
	n, err := binary.ReadUvarint(f.r)
	if err != nil {
		return err
	}
	if n < 1 || n > frameMost {
		return fmt.Errorf("a frame of %d bytes", n)
	}
	if err := f.fill(int(n)); err != nil {
		return err
	}
	if f.buf[0] != kind {
		return fmt.Errorf("a frame of kind %d instead of %d", f.buf[0], kind)
	}
	return proto.Unmarshal(f.buf[1:], m)
}

// fill reads n bytes into buf. The buffer grows with what is there, not with
// what a damaged length promises.
func (f *frameReader) fill(n int) error {
	f.buf = f.buf[:0]
	for len(f.buf) < n {
		step := min(n-len(f.buf), max(len(f.buf), snapshotBuffer))
		at := len(f.buf)
		f.buf = append(f.buf, make([]byte, step)...)
		if _, err := io.ReadFull(f.r, f.buf[at:]); err != nil {
			return err
		}
	}
	return nil
}

// Read reads from the reader below and remembers why it failed, so that a disk
// that does not read is not taken for damage.
func (f *frameReader) Read(p []byte) (int, error) {
	n, err := f.below.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// end reads the last frame and compares the digest.
func (f *frameReader) end(digest uint64) error {
	var m snapshotpb.End
	if err := f.next(frameEnd, &m); err != nil {
		return err
	}
	if _, err := f.r.ReadByte(); err == nil {
		return errors.New("bytes after the end")
	} else if err != io.EOF {
		return err
	}
	if m.Digest != digest {
		return fmt.Errorf("the state has digest %016x, the snapshot says %016x", digest, m.Digest)
	}
	return nil
}
