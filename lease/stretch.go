package lease

import (
	"errors"

	"perch/quorum"
	"perch/tree"
)

// Stretch is a piece of the committed history, for those who keep it elsewhere.
type Stretch struct {
	After   quorum.Zxid    // it begins behind this position
	Entries []quorum.Entry // all after it, up to Through, without a gap
	Through quorum.Zxid    // After when there is no entry

	// Events are those of the entries, in their order, if Known; else they are
	// not kept any more.
	Events []tree.Event
	Known  bool

	// Digest is that of the state at Through, if Digested.
	Digest   uint64
	Digested bool
}

// Cut has s hold these entries and no others.
func (s *Stretch) Cut(entries []quorum.Entry) {
	s.Entries, s.Through = entries, s.After
	if n := len(entries); n > 0 {
		s.Through = entries[n-1].Zxid
	}
}

// ErrPurged is returned for a Stretch after a position that the log does not
// reach back to: a snapshot has taken its place.
var ErrPurged = errors.New("the log does not reach back so far")

// Changes are the events of all transactions after since, also those that no
// watcher is told of: whole transactions, about limit events. They are not
// filtered by who may read them. More says that there are later ones;
// tree.ErrCursorExpired that some after since are gone.
func (v *View) Changes(since quorum.Zxid, limit int) (events []tree.Event, more bool, err error) {
	events, more, code := v.history.After(since, limit)
	if code != tree.OK {
		return nil, false, code
	}
	return events, more, nil
}
