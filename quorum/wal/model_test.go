package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"perch/quorum"
	"perch/quorum/disk/memdisk"
)

// TestModel drives a log and the obvious model of it with the same random
// operations and compares them after each.
func TestModel(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { modelRun(t, uint64(seed)) })
	}
}

type modelled struct {
	t    *testing.T
	rnd  *rand.Rand
	disk *memdisk.Disk
	log  *Log
	m    *model
}

func modelRun(t *testing.T, seed uint64) {
	r := &modelled{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), disk: memdisk.New()}
	var rec *Recovered
	r.log, rec = mustOpen(t, r.disk)
	r.m = &model{control: rec.Control}
	for range 120 {
		name, err := r.step()
		if err == nil {
			err = r.m.checkOpen(r.log)
		}
		if err != nil {
			t.Fatalf("seed %d: after %s: %v", seed, name, err)
		}
	}
}

func (r *modelled) step() (string, error) {
	switch p := r.rnd.IntN(20); {
	case p < 12:
		recs := r.m.group(r.rnd)
		err := r.log.Append(recs)
		for i := range recs {
			r.m.apply(&recs[i])
		}
		return fmt.Sprintf("append of %d", len(recs)), err
	case p < 13:
		return "mark", r.log.Mark()
	case p < 14:
		return "refused record", r.refused()
	case p < 15:
		return "purge", r.purge()
	case p < 17:
		return "read", r.read()
	}
	return "reopen", r.reopen(r.rnd.IntN(2) == 0)
}

// refused appends a group whose last record must not follow: none of it counts.
func (r *modelled) refused() error {
	recs := r.m.group(r.rnd)
	c := r.m.clone()
	for i := range recs {
		c.apply(&recs[i])
	}
	last, chain := c.last()
	bad := quorum.Record{Type: quorum.RecordEntry, Entry: c.newEntry(r.rnd)}
	switch r.rnd.IntN(5) {
	case 0:
		bad.Entry.Chain++
	case 1:
		bad.Entry.Zxid = last + 2
		bad.Entry.Chain = quorum.ChainHash(chain, &bad.Entry)
	case 2:
		bad = quorum.Record{Type: quorum.RecordTruncate, Zxid: last + 1, Chain: chain}
	case 3:
		bad = quorum.Record{Type: quorum.RecordTruncate, Zxid: last, Chain: chain + 1}
	case 4:
		bad = quorum.Record{Type: quorum.RecordControl, Control: &quorum.Control{Node: 8}}
	}
	if err := r.log.Append(append(recs, bad)); !errors.Is(err, ErrRecord) {
		return fmt.Errorf("%+v was not refused: %v", bad, err)
	}
	return nil
}

func (r *modelled) purge() error {
	last, _ := r.m.last()
	upTo := last
	if n := len(r.m.entries); n > 0 {
		upTo = r.m.entries[r.rnd.IntN(n)].Zxid
	}
	r.m.floor = max(r.m.floor, upTo)
	start, err := r.log.Purge(upTo)
	if err == nil && start != r.log.state.history.Start() {
		err = fmt.Errorf("purge says %v, the log begins at %v", start, r.log.state.history.Start())
	}
	if err == nil && upTo == last && start != last {
		err = fmt.Errorf("a purge of everything left the log beginning at %v, not %v", start, last)
	}
	return err
}

// read reads from a random position with a random bound.
func (r *modelled) read() error {
	h := &r.log.state.history
	var all []quorum.Entry
	for i := range r.m.entries {
		if r.m.entries[i].Zxid > h.Start() {
			all = append(all, r.m.entries[i])
		}
	}
	after, i := h.Start(), 0
	if len(all) > 0 {
		i = r.rnd.IntN(len(all) + 1)
		if i > 0 {
			after = all[i-1].Zxid
		}
	}
	bound := r.rnd.IntN(4000)
	got, err := r.log.Read(after, bound)
	if err != nil {
		return err
	}
	size := 0
	for k := range got {
		if size += got[k].Size(); got[k].Chain != all[i+k].Chain || (k > 0 && size > bound) {
			return fmt.Errorf("entry %d after %v is wrong, or too many bytes: %d of %d", k, after, size, bound)
		}
	}
	if len(got) == 0 && i < len(all) {
		return fmt.Errorf("nothing after %v", after)
	}
	if _, err := r.log.Read(h.Last()+1, 1); !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("reading after the end: %v", err)
	}
	return nil
}

// reopen ends the process, with a clean stop or without.
func (r *modelled) reopen(clean bool) error {
	if clean {
		if err := r.log.Close(); err != nil {
			return err
		}
	} else {
		r.disk = r.disk.Restart()
	}
	l, rec, err := Open(options(r.disk))
	if err != nil {
		return err
	}
	if rec.Fresh || rec.Control.Boot.Counter != r.m.control.Boot.Counter+1 || rec.Control.Boot.Nonce == r.m.control.Boot.Nonce {
		return fmt.Errorf("boot %+v after %+v, fresh %v", rec.Control.Boot, r.m.control.Boot, rec.Fresh)
	}
	r.log = l
	err = r.m.checkRecovered(rec)
	r.m.control = rec.Control
	return err
}
