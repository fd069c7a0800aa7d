package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LockLoad is a measurement of locks: workers that each acquire, and release at
// once, spread over addrs in turn. A cycle is one request of each kind as long
// as every acquire gets the lock within its wait.
type LockLoad struct {
	Addrs    []string // host:port
	Workers  int
	Own      bool // each worker has a lock of its own; else all have the same
	Warmup   time.Duration
	Duration time.Duration
}

// lockWaitMs is how long an acquire waits at the server.
const lockWaitMs = 5000

// LockResult is what one measurement found.
type LockResult struct {
	Cycles   int // that ended within the time measured
	Calls    int // requests for them, also those that failed
	Overlaps int // times that two workers were told that they hold one lock
	Errors   int
	Error    string // the first of them
	Elapsed  time.Duration
	P50, Max time.Duration // from the first acquire of a cycle to its grant
}

// PerSecond is the rate of cycles.
func (r LockResult) PerSecond() float64 { return float64(r.Cycles) / max(r.Elapsed.Seconds(), 1e-9) }

// lockWorker drives one connection.
type lockWorker struct {
	conn             *conn
	acquire, release []byte
	holders          *atomic.Int32 // of its lock, as the workers know
	begin, end       time.Time

	waits    []time.Duration
	calls    int
	overlaps int
	failures
}

// Run measures. It ends early, with ctx's error, when ctx ends.
func (l LockLoad) Run(ctx context.Context) (LockResult, error) {
	var (
		wg      sync.WaitGroup
		workers = make([]lockWorker, l.Workers)
		holders = make([]atomic.Int32, l.Workers)
		begin   = time.Now().Add(l.Warmup)
	)
	for i := range workers {
		w := &workers[i]
		*w = lockWorker{conn: newConn(l.Addrs[i%len(l.Addrs)]), holders: &holders[0], begin: begin, end: begin.Add(l.Duration)}
		name := "bench"
		if l.Own {
			name, w.holders = fmt.Sprintf("bench-%d", i), &holders[i]
		}
		w.format(name)
		wg.Add(1)
		go func() { defer wg.Done(); w.run(ctx) }()
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return LockResult{}, err
	}
	return mergeLocks(workers, l.Duration), nil
}

// format makes the two requests of a worker, with a session token of its own: the
// session ends with the release, and the token may open the next one.
func (w *lockWorker) format(name string) {
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails
	token := hex.EncodeToString(secret[:])
	request := func(verb, body string) []byte {
		return fmt.Appendf(nil, "POST /v1/locks/%s/%s HTTP/1.1\r\nHost: %s\r\nPerch-Session: %s\r\nContent-Length: %d\r\n\r\n%s",
			name, verb, w.conn.addr, token, len(body), body)
	}
	w.acquire = request("acquire", fmt.Sprintf(`{"ttl_ms":30000,"wait_ms":%d}`, lockWaitMs))
	w.release = request("release", "{}")
}

func (w *lockWorker) run(ctx context.Context) {
	defer w.conn.close()
	for start := time.Now(); start.Before(w.end) && ctx.Err() == nil; start = time.Now() {
		calls := w.calls
		if !w.obtain(ctx) {
			w.calls = calls
			return
		}
		granted := time.Now()
		if w.holders.Add(1) > 1 {
			w.overlaps++
		}
		w.holders.Add(-1)
		w.send(w.release)
		if start.Before(w.begin) || time.Now().After(w.end) {
			w.calls = calls // of a cycle that does not count
			continue
		}
		w.waits = append(w.waits, granted.Sub(start))
	}
}

// obtain acquires until it has the lock.
func (w *lockWorker) obtain(ctx context.Context) bool {
	for ctx.Err() == nil {
		if w.send(w.acquire) {
			return true
		}
		if time.Now().After(w.end) {
			return false
		}
	}
	return false
}

func (w *lockWorker) send(request []byte) bool {
	w.calls++
	status, err := w.conn.do(request, time.Now())
	if err == nil && status/100 == 2 {
		return true
	}
	w.failed(status, err)
	return false
}

func mergeLocks(workers []lockWorker, elapsed time.Duration) LockResult {
	r := LockResult{Elapsed: elapsed}
	var all []time.Duration
	for i := range workers {
		w := &workers[i]
		all = append(all, w.waits...)
		r.Calls += w.calls
		r.Overlaps += w.overlaps
		r.Errors += w.errors
		if r.Error == "" {
			r.Error = w.first
		}
	}
	slices.Sort(all)
	if r.Cycles = len(all); r.Cycles > 0 {
		r.P50, r.Max = all[len(all)/2], all[len(all)-1]
	}
	return r
}

// LockHead writes the head of the table, in Markdown.
func LockHead(w io.Writer) {
	fmt.Fprintln(w, "| workers | locks | cycles/s | calls a cycle | wait p50 | longest wait | overlaps | errors |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- | --- |")
}

// Line writes the result of l as a line of the table.
func (r LockResult) Line(w io.Writer, l LockLoad) {
	locks := "one"
	if l.Own {
		locks = "its own"
	}
	fmt.Fprintf(w, "| %d | %s | %.0f | %.2f | %s | %s | %d | %d |\n", l.Workers, locks, r.PerSecond(),
		float64(r.Calls)/max(float64(r.Cycles), 1), short(r.P50), short(r.Max), r.Overlaps, r.Errors)
}
