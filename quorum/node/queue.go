package node

import "sync"

// queue hands values from many goroutines to one, in order. It never blocks the
// sender; what bounds it stands beside each use.
type queue[T any] struct {
	wake chan struct{} // holds one token while there may be something to take

	mu    sync.Mutex
	items []T
	spare []T // the slice that the taker has given back
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

// put appends x and wakes the taker.
func (q *queue[T]) put(x T) {
	q.mu.Lock()
	q.items = append(q.items, x)
	q.mu.Unlock()
	signal(q.wake)
}

// take returns everything put so far. The slice is the taker's until it gives
// it back.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil
	}
	out := q.items
	q.items, q.spare = q.spare[:0], nil
	return out
}

// give returns a slice of take, so that its room is used again.
func (q *queue[T]) give(s []T) {
	const keep = 4096 // a burst must not hold its memory for ever
	if cap(s) == 0 || cap(s) > keep {
		return
	}
	clear(s)
	q.mu.Lock()
	q.spare = s[:0]
	q.mu.Unlock()
}

// size is the number of values waiting.
func (q *queue[T]) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// signal puts a token into a channel of capacity one, unless it holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
