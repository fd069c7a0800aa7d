package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"perch/quorum"
	"perch/quorum/disk/memdisk"
)

// script is a run of a log whose every file operation can be made to fail. It
// is the same run for the same seed up to the failure.
type script struct {
	rnd    *rand.Rand
	m      *model          // what was acknowledged
	flying []quorum.Record // what was being appended when it ended
}

func newScript(seed uint64) *script { return &script{rnd: rand.New(rand.NewPCG(seed, 99))} }

// run opens the log, works on it, and ends with the first error.
func (s *script) run(d *memdisk.Disk, steps int) error {
	l, rec, err := Open(options(d))
	if err != nil {
		return err
	}
	if s.m == nil {
		s.m = &model{control: rec.Control}
	} else {
		s.m.control = rec.Control
	}
	for range steps {
		if err := s.step(l); err != nil {
			return err
		}
	}
	return l.Close()
}

func (s *script) step(l *Log) error {
	switch p := s.rnd.IntN(12); {
	case p == 0:
		return l.Mark()
	case p == 1:
		last, _ := s.m.last()
		s.m.floor = max(s.m.floor, last)
		_, err := l.Purge(last)
		return err
	}
	s.flying = s.m.group(s.rnd)
	if err := l.Append(s.flying); err != nil {
		return err
	}
	for i := range s.flying {
		s.m.apply(&s.flying[i])
	}
	s.flying = nil
	return nil
}

// judge opens what is left and compares it with what was acknowledged, or that
// and some of what was being appended. It returns the model that fits.
func (s *script) judge(d *memdisk.Disk) (*model, error) {
	l, rec, err := Open(options(d))
	if err != nil {
		return nil, fmt.Errorf("refused: %w", err)
	}
	defer l.Close()
	if s.m == nil {
		return &model{control: rec.Control}, nil // nothing was acknowledged yet
	}
	m := s.m.clone()
	first := m.checkRecovered(rec)
	for i := range s.flying {
		if first == nil {
			break
		}
		m.apply(&s.flying[i])
		if m.checkRecovered(rec) == nil {
			first = nil
		}
	}
	m.control = rec.Control
	return m, first
}

// TestCrashAnywhere stops the machine in every file operation of a run and
// leaves what was not synced lost, kept or torn. Then the log opens, holds what
// was acknowledged, and goes on; and the same again for a crash in every file
// operation of that opening.
func TestCrashAnywhere(t *testing.T) {
	seeds := 3
	if testing.Short() {
		seeds = 2
	}
	crashes := 0
	for seed := range uint64(seeds) {
		for at := 1; ; at++ {
			d := memdisk.New()
			d.CrashAt(at)
			s := newScript(seed)
			err := s.run(d, 14)
			if err == nil {
				break
			}
			if !errors.Is(err, memdisk.ErrCrashed) {
				t.Fatalf("seed %d, crash at %d: %v", seed, at, err)
			}
			for variant := range uint64(6) {
				if err := s.afterCrash(d, variant); err != nil {
					t.Fatalf("seed %d, crash at %d, variant %d: %v", seed, at, variant, err)
				}
				crashes++
			}
		}
	}
	t.Logf("%d crashes", crashes)
}

func survival(variant uint64) memdisk.Survival {
	return []memdisk.Survival{memdisk.Lost, memdisk.Kept, memdisk.Torn}[min(variant, 2)]
}

func (s *script) afterCrash(d *memdisk.Disk, variant uint64) error {
	rnd := rand.New(rand.NewPCG(variant, 5))
	left := d.Crash(survival(variant), rnd)
	again := left.Restart()
	m, err := s.judge(left)
	if err != nil {
		return err
	}
	// It goes on, and stale bytes stay dead.
	next := &script{rnd: rnd, m: m}
	if err := next.run(left, 5); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	if _, err := next.judge(left); err != nil {
		return fmt.Errorf("after going on: %w", err)
	}
	if variant != 1 && variant != 2 {
		return nil
	}
	// A crash while opening, and one more while opening after that.
	for at := 1; ; at++ {
		d := again.Restart()
		d.CrashAt(at)
		l, _, err := Open(options(d))
		if err == nil && l.Close() == nil {
			return nil
		}
		twice := d.Crash(survival(uint64(rnd.IntN(3))), rnd)
		thrice := twice.Restart()
		thrice.CrashAt(1 + rnd.IntN(6))
		_, _, _ = Open(options(thrice))
		for _, d := range []*memdisk.Disk{twice, thrice.Crash(survival(uint64(rnd.IntN(3))), rnd)} {
			if _, err := s.judge(d); err != nil {
				return fmt.Errorf("second crash, at %d: %w", at, err)
			}
		}
	}
}

// TestFailAnywhere makes every file operation of a run fail once. The log must
// stop for good with that error, touch the disk no more, and hold what it had
// acknowledged when the next process opens it; also after a power cut.
func TestFailAnywhere(t *testing.T) {
	for seed := range uint64(6) {
		for at := 1; ; at++ {
			d := memdisk.New()
			d.FailAt(at, syscall.EIO)
			s := newScript(seed)
			err := s.run(d, 14)
			if err == nil {
				break
			}
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("seed %d, fault at %d: %v", seed, at, err)
			}
			rnd := rand.New(rand.NewPCG(seed, uint64(at)))
			for how, left := range map[string]*memdisk.Disk{
				"process": d.Restart(),
				"lost":    d.Crash(memdisk.Lost, rnd),
				"torn":    d.Crash(memdisk.Torn, rnd),
			} {
				m, err := s.judge(left)
				if err != nil {
					t.Fatalf("seed %d, fault at %d, %s: %v", seed, at, how, err)
				}
				// What the restarted process has seen must be durable by now: the
				// failed sync may have left it in memory only.
				s2 := &script{rnd: rnd, m: m}
				if _, err := s2.judge(left.Crash(memdisk.Lost, rnd)); err != nil {
					t.Fatalf("seed %d, fault at %d, %s, then power cut: %v", seed, at, how, err)
				}
			}
		}
	}
}

// TestStopsForGood: after a failed write or sync nothing is tried again, and
// every call returns the first error.
func TestStopsForGood(t *testing.T) {
	full := errors.New("injected")
	for name, fault := range map[string]int{"write": 1, "sync": 2} {
		t.Run(name, func(t *testing.T) {
			d := memdisk.New()
			l, rec := mustOpen(t, d)
			m := &model{control: rec.Control}
			rnd := rand.New(rand.NewPCG(1, 1))
			recs := entryRecords(m, rnd, 3)
			d.FailAt(d.Ops()+fault, full)
			first := l.Append(recs)
			if !errors.Is(first, full) {
				t.Fatal(first)
			}
			ops := d.Ops()
			_, readErr := l.Read(0, 1)
			_, purgeErr := l.Purge(1)
			for call, err := range map[string]error{
				"Append": l.Append(recs), "Append of nothing": l.Append(nil), "Mark": l.Mark(), "Read": readErr, "Purge": purgeErr, "Close": l.Close(),
			} {
				if err != first {
					t.Errorf("%s returns %v, want %v", call, err, first)
				}
			}
			if d.Ops() != ops {
				t.Errorf("%d operations after the failure", d.Ops()-ops)
			}
			if err := l.Append(recs); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}
}

// TestDiskFull: a disk that fills up stops the log; with space again, the next
// process finds what was acknowledged.
func TestDiskFull(t *testing.T) {
	for limit := int64(600); limit < 9000; limit += 97 {
		d := memdisk.New()
		d.Limit(limit)
		s := newScript(uint64(limit))
		if err := s.run(d, 40); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("limit %d: %v", limit, err)
		}
		d = d.Restart()
		if _, err := s.judge(d); err != nil {
			t.Fatalf("limit %d: %v", limit, err)
		}
	}
}
