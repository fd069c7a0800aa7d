package main

import (
	"errors"
	"slices"
)

// shrinkRuns is how many shorter sequences are tried at most.
const shrinkRuns = 400

// shrinker finds a short sequence that still diverges, each tried in a world of
// its own.
type shrinker struct {
	servers *servers
	root    func() string // a new one at each call
	left    int           // sequences that may be tried
}

// replay does the ops in a new world up to the first divergence, which it
// returns with the number of ops done.
func (s *shrinker) replay(ops []op) (*divergence, int, error) {
	w, err := s.servers.newWorld(s.root())
	if err != nil {
		return nil, 0, err
	}
	defer w.end()
	for i, o := range ops {
		var d *divergence
		if err := w.step(o); errors.As(err, &d) {
			return d, i + 1, nil
		} else if err != nil {
			return nil, i, err
		}
	}
	var d *divergence
	if err := w.compareWhole(); errors.As(err, &d) {
		return d, len(ops), nil
	} else if err != nil {
		return nil, len(ops), err
	}
	return nil, len(ops), nil
}

// shrink returns the shortest sequence that it finds and its divergence; nil
// when even the whole one does not diverge again.
func (s *shrinker) shrink(ops []op) ([]op, *divergence, error) {
	found, n, err := s.replay(ops)
	if err != nil || found == nil {
		return ops, nil, err
	}
	ops = ops[:n]
	for size := len(ops) / 2; size >= 1 && s.left > 0; size /= 2 {
		ops, found, err = s.without(ops, found, size)
		if err != nil {
			return ops, found, err
		}
	}
	return s.thinMultis(ops, found)
}

// without leaves out chunks of a size wherever the rest still diverges.
func (s *shrinker) without(ops []op, found *divergence, size int) ([]op, *divergence, error) {
	for at := 0; at < len(ops) && s.left > 0; {
		rest := slices.Concat(ops[:at], ops[min(at+size, len(ops)):])
		d, n, err := s.try(rest)
		switch {
		case err != nil:
			return ops, found, err
		case d != nil:
			ops, found = rest[:n], d
		default:
			at += size
		}
	}
	return ops, found, nil
}

// thinMultis leaves out operations of multis.
func (s *shrinker) thinMultis(ops []op, found *divergence) ([]op, *divergence, error) {
	for i := 0; i < len(ops); i++ {
		for j := 0; i < len(ops) && len(ops[i].Ops) > 1 && j < len(ops[i].Ops) && s.left > 0; {
			rest := slices.Clone(ops)
			rest[i].Ops = slices.Delete(slices.Clone(ops[i].Ops), j, j+1)
			d, n, err := s.try(rest)
			switch {
			case err != nil:
				return ops, found, err
			case d != nil:
				ops, found = rest[:n], d
			default:
				j++
			}
		}
	}
	return ops, found, nil
}

func (s *shrinker) try(ops []op) (*divergence, int, error) {
	s.left--
	return s.replay(ops)
}
