package natsnet

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// sealBytes is the length of a seal, which stands behind the frame.
const sealBytes = 16

// seals makes and checks the seals of frames: HMAC-SHA-256, cut to 16 bytes,
// over what the frame is for and the frame.
//
// The routes alone would not do. A password proves the node that dials to the
// one that listens, never the reverse, and it crosses the connection as it is:
// without TLS, whoever takes the address of a peer that is down reads it and is
// in the mesh. He still has no key for the frames.
type seals struct{ pool sync.Pool }

type sealer struct {
	mac     hash.Hash
	purpose []byte
	sum     [sha256.Size]byte
}

func newSeals(key string) *seals {
	return &seals{pool: sync.Pool{New: func() any {
		return &sealer{mac: hmac.New(sha256.New, []byte(key))}
	}}}
}

// add appends to frame its seal for a purpose: a subject, or the seal of the
// question that it answers.
func (s *seals) add(frame []byte, purpose string) []byte {
	w := s.pool.Get().(*sealer)
	defer s.pool.Put(w)
	return append(frame, w.seal(frame, purpose)...)
}

// open checks the seal at the end of b and cuts it off.
func (s *seals) open(b []byte, purpose string) (frame []byte, ok bool) {
	if len(b) < sealBytes {
		return nil, false
	}
	w := s.pool.Get().(*sealer)
	defer s.pool.Put(w)
	frame, seal := b[:len(b)-sealBytes], b[len(b)-sealBytes:]
	return frame, hmac.Equal(w.seal(frame, purpose), seal)
}

func (w *sealer) seal(frame []byte, purpose string) []byte {
	w.mac.Reset()
	// A purpose has less than 256 bytes, so one byte of length keeps it apart
	// from the frame.
	w.purpose = append(append(w.purpose[:0], byte(len(purpose))), purpose...)
	_, _ = w.mac.Write(w.purpose)
	_, _ = w.mac.Write(frame)
	return w.mac.Sum(w.sum[:0])[:sealBytes]
}

// sealOf is the seal at the end of b as a purpose.
func sealOf(b []byte) string {
	if len(b) < sealBytes {
		return ""
	}
	return string(b[len(b)-sealBytes:])
}
