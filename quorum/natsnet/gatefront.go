package natsnet

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	gatewaysMax    = 256             // connections that have logged in
	callersMax     = 512             // that have not yet …
	callersHostMax = 64              // … of one address
	loginWithin    = 2 * time.Second // from being accepted to having logged in
	frontBuffer    = 32 << 10
)

// front is the listener of the gateway port. It stands before the server so that
// strangers cannot keep gateways out: it ends TLS, and it bounds the connections
// that have not logged in, apart from those that have. When there are too many
// the oldest goes, of the same address first, so that a gateway gets in between
// strangers who only hold connections open.
type front struct {
	listener net.Listener
	tls      *tls.Config // nil: plain
	inside   func() (net.Conn, error)

	evicted atomic.Uint64
	refused atomic.Uint64

	wg      sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	callers []*caller            // not yet logged in, oldest first
	guests  map[*caller]struct{} // logged in
}

// caller is one connection.
type caller struct {
	conn net.Conn
	host string
}

// listenFront opens addr. What comes in is handed on to connections of inside.
func listenFront(addr string, config *tls.Config, inside func() (net.Conn, error)) (*front, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("natsnet: address for gateways %s: %w", addr, err)
	}
	f := &front{listener: l, tls: config, inside: inside, guests: map[*caller]struct{}{}}
	f.wg.Go(f.accept)
	return f, nil
}

func (f *front) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			f.mu.Lock()
			closed := f.closed
			f.mu.Unlock()
			if closed {
				return
			}
			// Out of file descriptors, or the like: it passes.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		c := &caller{conn: conn, host: hostOf(conn.RemoteAddr())}
		if !f.admit(c) {
			_ = conn.Close()
			continue
		}
		f.wg.Go(func() { f.serve(c) })
	}
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// admit makes room for c among the callers, or says that there is no place for
// another gateway.
func (f *front) admit(c *caller) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.guests) >= gatewaysMax {
		f.refused.Add(1)
		return false
	}
	same := 0
	for _, other := range f.callers {
		if other.host == c.host {
			same++
		}
	}
	if same >= callersHostMax {
		f.evict(slices.IndexFunc(f.callers, func(other *caller) bool { return other.host == c.host }))
	} else if len(f.callers) >= callersMax {
		f.evict(0)
	}
	f.callers = append(f.callers, c)
	return true
}

// evict closes the connection of the caller i; f.mu is held.
func (f *front) evict(i int) {
	f.evicted.Add(1)
	_ = f.callers[i].conn.Close()
	f.callers = slices.Delete(f.callers, i, i+1)
}

// welcome makes a guest of a caller, unless it was evicted or there are enough.
func (f *front) welcome(c *caller) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.callers, c)
	if i < 0 {
		return false
	}
	if len(f.guests) >= gatewaysMax {
		f.refused.Add(1)
		return false
	}
	f.callers = slices.Delete(f.callers, i, i+1)
	f.guests[c] = struct{}{}
	return true
}

func (f *front) leave(c *caller) {
	_ = c.conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.guests, c)
	if i := slices.Index(f.callers, c); i >= 0 {
		f.callers = slices.Delete(f.callers, i, i+1)
	}
}

// serve carries the bytes of c to the server and back until either closes.
func (f *front) serve(c *caller) {
	defer f.leave(c)
	_ = c.conn.SetDeadline(time.Now().Add(loginWithin))
	outside := c.conn
	if f.tls != nil {
		secure := tls.Server(c.conn, f.tls)
		ctx, cancel := context.WithTimeout(context.Background(), loginWithin)
		defer cancel()
		if secure.HandshakeContext(ctx) != nil {
			return
		}
		outside = secure
	}
	inside, err := f.inside()
	if err != nil {
		return
	}
	defer inside.Close()
	f.wg.Go(func() {
		_, _ = io.Copy(inside, outside)
		_ = inside.Close()
	})
	r := bufio.NewReaderSize(inside, frontBuffer)
	if !relayLogin(outside, r) || !f.welcome(c) {
		return
	}
	_ = c.conn.SetDeadline(time.Time{})
	_, _ = io.Copy(&impatient{outside}, r)
}

// relayLogin passes on what the server says until it has let the client in: it
// answers a PING only after that.
func relayLogin(outside io.Writer, inside *bufio.Reader) bool {
	for {
		line, err := inside.ReadSlice('\n')
		if _, werr := outside.Write(line); err != nil || werr != nil {
			return false
		}
		if bytes.HasPrefix(line, []byte("PONG")) {
			return true
		}
	}
}

// impatient is a connection whose writes end.
type impatient struct{ net.Conn }

func (w *impatient) Write(b []byte) (int, error) {
	_ = w.SetWriteDeadline(time.Now().Add(writeWithin))
	return w.Conn.Write(b)
}

// drop cuts every connection.
func (f *front) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.callers {
		_ = c.conn.Close()
	}
	for c := range f.guests {
		_ = c.conn.Close()
	}
}

// count says how many connections have logged in and how many have not.
func (f *front) count() (guests, callers int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.guests), len(f.callers)
}

// close stops listening; the server ends the connections when it goes.
func (f *front) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	_ = f.listener.Close()
}

// wait gives the server a moment to end the connections, cuts what is left and
// waits for everything.
func (f *front) wait() {
	done := make(chan struct{})
	go func() { defer close(done); f.wg.Wait() }()
	t := time.NewTimer(drainWithin)
	defer t.Stop()
	select {
	case <-done:
		return
	case <-t.C:
	}
	f.drop()
	<-done
}
