package wal

import (
	"fmt"

	"perch/quorum"
)

// state is what the records so far amount to.
type state struct {
	control quorum.Control
	history quorum.History
	commit  quorum.Zxid // highest commit hint
}

// verify reports the first of recs that must not follow what is there. It
// changes nothing, so that a group is written whole or not at all.
func (s *state) verify(recs []quorum.Record) error {
	tip := tip{
		// An index of its own for the group: a copy of the whole one would cost
		// more than the writing.
		History: quorum.NewHistory(s.history.Last(), s.history.LastChain()),
		below:   &s.history,
	}
	for i := range recs {
		if err := s.verifyOne(&tip, &recs[i]); err != nil {
			return fmt.Errorf("%w: record %d of %d: %w", ErrRecord, i+1, len(recs), err)
		}
	}
	return nil
}

// tip is the log at the end of a group that is being verified: its own entries
// on top of those that are there. below is nil after an install.
type tip struct {
	quorum.History
	below *quorum.History
}

func (s *state) verifyOne(t *tip, r *quorum.Record) error {
	switch r.Type {
	case quorum.RecordControl:
		return s.verifyControl(r.Control)
	case quorum.RecordEntry:
		return verifyEntry(&t.History, &r.Entry)
	case quorum.RecordTruncate:
		return t.truncate(r.Zxid, r.Chain)
	case quorum.RecordInstall:
		*t = tip{History: quorum.NewHistory(r.Zxid, r.Chain)}
		return nil
	case quorum.RecordCommit:
		return nil
	}
	return fmt.Errorf("unknown type %d", r.Type)
}

func (s *state) verifyControl(c *quorum.Control) error {
	if c == nil {
		return fmt.Errorf("control record without a control state")
	}
	if c.Node != s.control.Node || c.Boot.Incarnation != s.control.Boot.Incarnation {
		return fmt.Errorf("control state of node %d, incarnation %x", c.Node, c.Boot.Incarnation)
	}
	return nil
}

func verifyEntry(h *quorum.History, e *quorum.Entry) error {
	if want := quorum.ChainHash(h.LastChain(), e); e.Chain != want {
		return fmt.Errorf("entry %v has chain hash %016x; behind %v it must be %016x", e.Zxid, e.Chain, h.Last(), want)
	}
	if !h.Append(e.Zxid, e.Chain) {
		return fmt.Errorf("entry %v does not follow %v", e.Zxid, h.Last())
	}
	return nil
}

func (t *tip) truncate(z quorum.Zxid, chain uint64) error {
	have, ok := t.Chain(z)
	if !ok && t.below != nil && z < t.Start() {
		have, ok = t.below.Chain(z)
	}
	if !ok {
		return fmt.Errorf("truncation to %v, which the log does not hold", z)
	}
	if have != chain {
		return fmt.Errorf("truncation to %v with chain hash %016x; the log has %016x", z, chain, have)
	}
	if !t.Truncate(z) {
		t.History = quorum.NewHistory(z, chain)
	}
	return nil
}

// replay verifies one record read back from disk and applies it. It differs
// from verify in one point: the log on disk may begin, after a purge, behind a
// point to which it was truncated later; then it begins there.
func (s *state) replay(r *quorum.Record) error {
	switch r.Type {
	case quorum.RecordControl:
		if err := s.verifyControl(r.Control); err != nil {
			return err
		}
	case quorum.RecordEntry:
		return verifyEntry(&s.history, &r.Entry)
	case quorum.RecordTruncate:
		if chain, ok := s.history.Chain(r.Zxid); (!ok && r.Zxid > s.history.Start()) || (ok && chain != r.Chain) {
			return fmt.Errorf("truncation to %v, which the log before it does not hold", r.Zxid)
		}
	}
	s.apply(r)
	return nil
}

// apply takes over a verified record.
func (s *state) apply(r *quorum.Record) {
	switch r.Type {
	case quorum.RecordControl:
		s.control = *r.Control.Clone()
	case quorum.RecordEntry:
		s.history.Append(r.Entry.Zxid, r.Entry.Chain)
	case quorum.RecordTruncate:
		if !s.history.Truncate(r.Zxid) {
			s.history = quorum.NewHistory(r.Zxid, r.Chain)
		}
	case quorum.RecordInstall:
		s.history = quorum.NewHistory(r.Zxid, r.Chain)
	case quorum.RecordCommit:
		s.commit = max(s.commit, r.Zxid)
	}
}
