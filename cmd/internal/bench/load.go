package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is a kind of request that is measured.
type Mode string

// The modes, in the order in which they are measured.
const (
	Write Mode = "write" // PUT of a node that exists
	Read  Mode = "read"  // linearizable GET
	Local Mode = "local" // GET with consistency=local
)

// Modes lists all of them.
var Modes = []Mode{Write, Read, Local}

// keysPerConn is over how many nodes each connection spreads its requests.
const keysPerConn = 16

// Load is one measurement: conns connections that each send one request after
// the other, spread over addrs in turn, beginning with addrs[first].
type Load struct {
	Addrs    []string // host:port
	First    int
	Mode     Mode
	Conns    int
	Warmup   time.Duration // before anything is counted
	Duration time.Duration
	Value    int // bytes of a value
}

// Result is what one measurement found.
type Result struct {
	Requests int           // answered 2xx within the time measured
	Errors   int           // answered otherwise, or not at all
	Error    string        // the first of them
	Elapsed  time.Duration // that was measured
	P50, P99 time.Duration
}

// PerSecond is the rate of successful requests.
func (r Result) PerSecond() float64 {
	if r.Elapsed == 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// Run measures. It ends early, with ctx's error, when ctx ends.
func (l Load) Run(ctx context.Context) (Result, error) {
	var (
		wg      sync.WaitGroup
		stop    atomic.Bool
		workers = make([]worker, l.Conns)
		begin   = time.Now().Add(l.Warmup)
		end     = begin.Add(l.Duration)
	)
	for i := range workers {
		addr := l.Addrs[(l.First+i)%len(l.Addrs)]
		workers[i] = worker{conn: newConn(addr), requests: l.requests(addr, i), begin: begin, end: end, stop: &stop}
		wg.Add(1)
		go func(w *worker) { defer wg.Done(); w.run() }(&workers[i])
	}
	// A worker that waits for an answer looks at no flag: a late end closes
	// nothing, it only waits for the answers that are under way.
	release := context.AfterFunc(ctx, func() { stop.Store(true) })
	wg.Wait()
	if !release() {
		return Result{}, ctx.Err()
	}
	return merge(workers, l.Duration), nil
}

// Prepare writes every node that l will touch.
func (l Load) Prepare() error {
	l.Mode = Write
	for i := range l.Conns {
		addr := l.Addrs[i%len(l.Addrs)]
		c := newConn(addr)
		for _, request := range l.requests(addr, i) {
			if status, err := c.do(request, time.Now()); err != nil || status/100 != 2 {
				c.close()
				return fmt.Errorf("preparing %s: status %d, %w", addr, status, err)
			}
		}
		c.close()
	}
	return nil
}

// requests formats the requests of connection i.
func (l Load) requests(addr string, i int) [][]byte {
	out := make([][]byte, keysPerConn)
	value := strings.Repeat("v", l.Value)
	for k := range out {
		path := fmt.Sprintf("/v1/nodes/bench/c%d-%d", i, k)
		switch l.Mode {
		case Write:
			out[k] = fmt.Appendf(nil, "PUT %s?parents=true HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", path, addr, len(value), value)
		case Read:
			out[k] = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr)
		case Local:
			out[k] = fmt.Appendf(nil, "GET %s?consistency=local HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr)
		}
	}
	return out
}

// worker drives one connection.
type worker struct {
	conn       *conn
	requests   [][]byte
	begin, end time.Time
	stop       *atomic.Bool

	took []time.Duration // of every request counted
	failures
}

// failures counts the requests of a worker that failed.
type failures struct {
	errors int
	first  string
}

func (w *worker) run() {
	defer w.conn.close()
	w.took = make([]time.Duration, 0, 1<<14)
	for start, n := time.Now(), 0; start.Before(w.end) && !w.stop.Load(); n++ {
		status, err := w.conn.do(w.requests[n%len(w.requests)], start)
		now := time.Now()
		ok := err == nil && status/100 == 2
		if ok && !start.Before(w.begin) && now.Before(w.end) {
			w.took = append(w.took, now.Sub(start))
		}
		if !ok {
			w.failed(status, err)
		}
		start = now
	}
}

func (f *failures) failed(status int, err error) {
	f.errors++
	if f.first == "" {
		if f.first = fmt.Sprintf("status %d", status); err != nil {
			f.first = err.Error()
		}
	}
	if err != nil {
		time.Sleep(10 * time.Millisecond) // a dead server is not to be dialled in a spin
	}
}

func merge(workers []worker, elapsed time.Duration) Result {
	var (
		r   = Result{Elapsed: elapsed}
		all []time.Duration
	)
	for i := range workers {
		all = append(all, workers[i].took...)
		r.Errors += workers[i].errors
		if r.Error == "" {
			r.Error = workers[i].first
		}
	}
	slices.Sort(all)
	if r.Requests = len(all); r.Requests > 0 {
		r.P50, r.P99 = all[len(all)/2], all[min(len(all)*99/100, len(all)-1)]
	}
	return r
}
