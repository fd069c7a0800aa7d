// Command harness runs the functions of examples/functions as a cloud does on
// a bad day: duplicates, time-outs, freezes beyond the TTL and kills. A fake
// ledger counts what they did. It exits 0 only if every invocation had its
// effect exactly once.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"perch/examples/functions/ledger"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

func run() error {
	n := flag.Int("n", 300, "number of invocations")
	workers := flag.Int("workers", 16, "invocations at the same time")
	function := flag.String("function", "bin/function", "executable of the Go function")
	dir := flag.String("dir", "examples/functions", "directory of the functions")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of what happens to which invocation")
	unfenced := flag.Bool("unfenced", false, "let the ledger accept every token, to see what that leads to")
	flag.Parse()

	found, missing := languages(*dir, *function)
	for _, name := range missing {
		fmt.Printf("SKIPPED: %s is not installed here; its function is not tested\n", name)
	}
	if len(found) == 0 {
		return fmt.Errorf("nothing to run: no %s", *function)
	}
	books := &ledger.Ledger{Unfenced: *unfenced}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p := newPlatform(newPool(found, append(os.Environ(), "LEDGER_URL=http://"+listener.Addr().String())))
	defer p.pool.endAll()
	books.Observe = p.observe
	go func() { _ = http.Serve(listener, books) }() // until the process ends

	start := time.Now()
	events := makeEvents(*n)
	deliverAll(p, events, *workers, *seed)
	fmt.Printf("seed %d, %v, %s, %s\n", *seed, time.Since(start).Round(time.Second), counts(p.pool.runs), counts(p.faults))
	return judge(p, books, events)
}

// makeEvents spreads the invocations over accounts, so that they meet.
func makeEvents(n int) []event {
	name := make([]byte, 4)
	_, _ = rand.Read(name)
	accounts := max(40, n/25)
	events := make([]event, n)
	for i := range events {
		events[i] = event{
			ID:      fmt.Sprintf("invocation %d", i),
			Account: fmt.Sprintf("%s-%d", hex.EncodeToString(name), i%accounts),
			Amount:  int64(1 + i%9),
		}
	}
	return events
}

func deliverAll(p *platform, events []event, workers int, seed uint64) {
	queue := make(chan int)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range queue {
				p.deliver(events[i], mathrand.New(mathrand.NewPCG(seed, uint64(i))))
			}
		})
	}
	for i := range events {
		queue <- i
	}
	close(queue)
	all.Wait()
}

// judge prints the result, and says what is wrong with it.
func judge(p *platform, books *ledger.Ledger, events []event) error {
	booked, refused := books.Effects()
	effects, double := 0, 0
	for _, e := range events {
		effects += booked[e.ID]
		if booked[e.ID] > 1 {
			double++
		}
		if booked[e.ID] == 0 {
			p.complain("%s had no effect", e.ID)
		}
	}
	fmt.Printf("invocations: %d, effects: %d, double effects: %d, refused by the ledger: %d\n", len(events), effects, double, refused)
	if double > 0 {
		p.complain("%d invocations had their effect twice", double)
	}
	if len(p.wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(p.wrong, "\n"))
	}
	return nil
}

// counts is a map as a sentence, the most frequent first.
func counts(m map[string]int) string {
	var parts []string
	for name, n := range m {
		parts = append(parts, fmt.Sprintf("%5d %s", n, name))
	}
	slices.Sort(parts)
	slices.Reverse(parts)
	for i, part := range parts {
		parts[i] = strings.TrimSpace(part)
	}
	return strings.Join(parts, ", ")
}
