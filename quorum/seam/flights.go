package seam

import (
	"context"
	"sync"
)

// flights has those share an answer who ask the same at the same time. Who comes
// while a question is under way waits for the next one, which begins when that
// has ended: so every answer is of a time after the question, and of any number
// of equal questions two are asked. Answers are shared and must not be changed.
type flights[T any] struct {
	work *sync.WaitGroup
	ctx  context.Context // ends with the client; for the goroutines only

	mu sync.Mutex
	of map[string]*flight[T]
}

// flight is what is under way for one question.
type flight[T any] struct {
	now  *shared[T]
	next *shared[T] // nil when nobody has come meanwhile
}

// shared is one answer and who waits for it. What comes after done is written
// before that is closed.
type shared[T any] struct {
	waiting int
	cancel  context.CancelFunc // nil before it is asked
	done    chan struct{}
	answer  T
	err     error
}

// do asks, or shares what others ask under the same key.
func (f *flights[T]) do(ctx context.Context, key string, ask func(context.Context) (T, error)) (T, error) {
	s := f.join(key, ask)
	select {
	case <-s.done:
		return s.answer, s.err
	case <-ctx.Done():
		f.leave(s)
		var none T
		return none, ctx.Err()
	}
}

func (f *flights[T]) join(key string, ask func(context.Context) (T, error)) *shared[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = make(map[string]*flight[T])
	}
	at := f.of[key]
	switch {
	case at == nil:
		at = &flight[T]{now: &shared[T]{waiting: 1, done: make(chan struct{})}}
		f.of[key] = at
		f.work.Go(func() { f.fly(key, at, ask) })
		return at.now
	case at.next == nil:
		at.next = &shared[T]{done: make(chan struct{})}
	}
	at.next.waiting++
	return at.next
}

// leave takes back a join. An answer that nobody waits for is given up.
func (f *flights[T]) leave(s *shared[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.waiting--; s.waiting == 0 && s.cancel != nil {
		s.cancel()
	}
}

// fly asks until nobody has come meanwhile.
func (f *flights[T]) fly(key string, at *flight[T], ask func(context.Context) (T, error)) {
	for {
		f.mu.Lock()
		s := at.now
		ctx, cancel := context.WithCancel(f.ctx)
		if s.cancel = cancel; s.waiting == 0 {
			cancel()
		}
		f.mu.Unlock()
		s.answer, s.err = ask(ctx)
		cancel()
		close(s.done)
		f.mu.Lock()
		if at.now, at.next = at.next, nil; at.now == nil {
			delete(f.of, key)
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
	}
}
