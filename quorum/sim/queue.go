package sim

import "perch/quorum"

// Virtual durations, in microseconds.
const (
	microsecond int64 = 1
	millisecond       = 1000 * microsecond
	second            = 1000 * millisecond
)

type eventKind uint8

const (
	evMessage      eventKind = iota + 1 // msg from from reaches node
	evTick                              // node's ticker fires
	evPump                              // node's loop looks at its core
	evSynced                            // node's fsync of records up to num ends
	evStable                            // node's loop hears of it
	evSnapDone                          // node's snapshot file is durable
	evSnapNamed                         // … is renamed, during a sweep
	evPurged                            // node's log was cut at num
	evChunk                             // a chunk of a pulled snapshot arrives
	evPulled                            // a pulled snapshot is durable
	evFetched                           // entries were read from node's log
	evHint                              // node hears that from is up (num 1) or down
	evStart                             // node starts
	evStop                              // node is killed
	evResume                            // node's pause ends
	evSubmit                            // a client of some node writes
	evRead                              // a client of some node reads
	evForget                            // the client of request num at node gives up
	evFault                             // the fault num strikes
	evCalm                              // faults end
	evWatch                             // progress is looked at
	evDiskError                         // node's fsync fails
	evApply                             // node's state machine takes its turn
	evOpen                              // a client opens a session
	evTouch                             // a client renews one
	evTouchArrives                      // the renewal is at node
	evTouched                           // its answer is at node, the session's home
	evFlap                              // the links of node to from (0: all) close until num
	evThaw                              // node's monotonic clock goes on
	evWorker                            // the worker num takes a step
	evWaitEnds                          // a request at node has waited long enough for the place num
	evBeat                              // a home's beat reaches node
	evConfirm                           // a home's CONFIRM reaches node
	evConfirmed                         // its answer is at node
	evClient                            // a client's call reaches node: num 1 reads, 0 writes
)

// event is one thing that happens at one time. life names the life of node that
// it is for; 0 means any.
type event struct {
	at    int64
	seq   uint64
	kind  eventKind
	node  quorum.NodeID
	from  quorum.NodeID
	life  uint32
	sent  int64
	num   uint64
	msg   *quorum.Message
	job   quorum.FetchJob
	pull  *pull
	snap  *snapFile
	touch touch

	epoch   quorum.Epoch // evBeat: of the leader that it is meant for
	confirm confirm
}

// queue is a heap of events by time, then by the order of scheduling.
type queue struct {
	heap []*event
	free []*event
	seq  uint64
}

func (q *queue) less(a, b *event) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// push schedules a copy of e.
func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	p := q.take()
	*p = e
	q.heap = append(q.heap, p)
	i := len(q.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !q.less(q.heap[i], q.heap[up]) {
			break
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

func (q *queue) take() *event {
	if n := len(q.free); n > 0 {
		p := q.free[n-1]
		q.free = q.free[:n-1]
		return p
	}
	return new(event)
}

// pop takes the first event.
func (q *queue) pop() (event, bool) {
	if len(q.heap) == 0 {
		return event{}, false
	}
	p := q.heap[0]
	e := *p
	*p = event{}
	q.free = append(q.free, p)
	n := len(q.heap) - 1
	q.heap[0] = q.heap[n]
	q.heap[n] = nil
	q.heap = q.heap[:n]
	q.sink(0)
	return e, true
}

func (q *queue) sink(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(q.heap); c++ {
			if q.less(q.heap[c], q.heap[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}
