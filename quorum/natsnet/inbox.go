package natsnet

import (
	"sync"

	"perch/quorum"
)

// handCap is how many messages lie in the channel itself.
const handCap = 256

// inbox is a bounded queue in front of a channel: bounded in messages and in
// bytes, for a message may have 100 bytes or a million. Nobody who puts into it
// waits. Order is that of put.
type inbox struct {
	out      chan quorum.Message
	wake     chan struct{}
	maxMsgs  int
	maxBytes int

	mu      sync.Mutex
	queue   []parcel // what the channel did not take, oldest first
	bytes   int
	handing bool // run holds a message older than the queue
}

type parcel struct {
	m    quorum.Message
	size int
}

func newInbox(msgs, bytes int) *inbox {
	return &inbox{out: make(chan quorum.Message, handCap), wake: make(chan struct{}, 1), maxMsgs: msgs, maxBytes: bytes}
}

// put takes m, or reports that there is no room for it.
func (b *inbox) put(m *quorum.Message, size int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 && !b.handing {
		select {
		case b.out <- *m:
			return true
		default:
		}
	}
	if len(b.queue) >= b.maxMsgs || b.bytes+size > b.maxBytes {
		return false
	}
	b.queue = append(b.queue, parcel{*m, size})
	b.bytes += size
	signal(b.wake)
	return true
}

// run moves what is queued into the channel until stop is closed.
func (b *inbox) run(stop <-chan struct{}) {
	for {
		m, ok := b.next()
		if !ok {
			select {
			case <-b.wake:
				continue
			case <-stop:
				return
			}
		}
		select {
		case b.out <- m:
		case <-stop:
			return
		}
	}
}

func (b *inbox) next() (quorum.Message, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.queue, b.handing = nil, false
		return quorum.Message{}, false
	}
	p := b.queue[0]
	b.queue[0] = parcel{}
	b.queue = b.queue[1:]
	b.bytes -= p.size
	b.handing = true
	return p.m, true
}

func (b *inbox) waiting() (msgs, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) + len(b.out), b.bytes
}
