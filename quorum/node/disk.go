package node

import (
	"fmt"
	"time"

	"perch/quorum"
)

// idleMark is how long the log rests before its last group is marked durable
// (RULES.md R7).
const idleMark = 100 * time.Millisecond

// disk owns the log: its goroutine is the only one that appends to it. What is
// queued while one fsync runs goes out together in the next, so that the size
// of a group follows the load and nothing waits for a timer.
//
// The queue needs no bound of its own: the core bounds what is proposed and not
// committed, and a learner accepts no more than that.
type disk struct {
	log   Log
	queue *queue[diskJob]
	stop  chan struct{} // closed: finish the queue and end
	done  chan struct{}

	stable func(seq uint64) // every record up to seq is on stable storage
	failed func(error)      // the log is unusable
	fsync  func(group []quorum.Record, began, ended time.Time)
}

// diskJob is one group of records, or something else to be done between groups.
type diskJob struct {
	records []quorum.Record
	seq     uint64
	do      func()
}

func newDisk(log Log) *disk {
	return &disk{
		log: log, queue: newQueue[diskJob](), stop: make(chan struct{}), done: make(chan struct{}),
		fsync: func([]quorum.Record, time.Time, time.Time) {},
	}
}

// append queues records; stable is called with seq when they are durable.
func (d *disk) append(records []quorum.Record, seq uint64) {
	d.queue.put(diskJob{records: records, seq: seq})
}

// run writes until stop, or until the disk fails: nothing is retried, since a
// page that failed to reach the disk may be dropped by the kernel and a second
// fsync succeed without it.
func (d *disk) run() {
	defer close(d.done)
	idle := time.NewTimer(idleMark)
	defer idle.Stop()
	dirty, stopping := false, false
	for {
		jobs := d.queue.take()
		if len(jobs) > 0 {
			wrote, err := d.write(jobs)
			if err != nil {
				d.failed(err)
				return
			}
			dirty = dirty || wrote
			d.queue.give(jobs)
			idle.Reset(idleMark)
			continue
		}
		if stopping {
			return
		}
		select {
		case <-d.queue.wake:
		case <-d.stop:
			stopping = true
		case <-idle.C:
			if !dirty {
				continue
			}
			if err := d.log.Mark(); err != nil {
				d.failed(fmt.Errorf("mark the log as durable: %w", err))
				return
			}
			dirty = false
		}
	}
}

// write does jobs in order, with one Append for every stretch of records.
func (d *disk) write(jobs []diskJob) (wrote bool, err error) {
	var group []quorum.Record
	var seq uint64
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		start := time.Now()
		if err := d.log.Append(group); err != nil {
			return fmt.Errorf("append to the log: %w", err)
		}
		d.fsync(group, start, time.Now())
		d.stable(seq)
		group, wrote = group[:0], true
		return nil
	}
	for _, j := range jobs {
		if j.do != nil {
			if err := flush(); err != nil {
				return wrote, err
			}
			j.do()
			continue
		}
		if group == nil {
			group = j.records // the common case of one job needs no copy
		} else {
			group = append(group, j.records...)
		}
		seq = j.seq
	}
	return wrote, flush()
}
