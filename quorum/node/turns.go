package node

import (
	"context"
	"sync"
	"time"
)

// turns tells whoever waits that the leadership has changed.
type turns struct {
	mu sync.Mutex
	c  chan struct{}
}

// wait returns a channel that the next turn closes.
func (t *turns) wait() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.c == nil {
		t.c = make(chan struct{})
	}
	return t.c
}

func (t *turns) turn() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.c != nil {
		close(t.c)
		t.c = nil
	}
}

// pause waits for a turn, for d at most. False when ctx has ended.
func pause(ctx context.Context, turned <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-turned:
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// cancelOn calls cancel when c is closed, unless ctx ends or stop is called
// before. stop waits for the watching goroutine.
func cancelOn(c <-chan struct{}, ctx context.Context, cancel context.CancelFunc) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-c:
			cancel()
		case <-ctx.Done():
		case <-end:
		}
	}()
	return func() { close(end); <-ended }
}
