package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// runner drives many worlds at a time and stops at the first divergence.
type runner struct {
	servers *servers
	seed    uint64
	ops     int
	workers int

	roots atomic.Int64 // worlds made so far, those of shrinking too

	mu        sync.Mutex
	kinds     map[kind]int
	codes     map[int]int
	explained map[string]int
	done      int // random calls
	shown     int // intended differences
}

func (r *runner) run(ctx context.Context) error {
	began := time.Now()
	fmt.Printf("zk-diff: %d calls from seed %d\n", r.ops, r.seed)
	if err := r.work(ctx, r.jobs()); err != nil {
		return err
	}
	fmt.Printf("zk-diff: %d calls agree (%s)\n  answers: %s\n  intended differences: %d shown; met by chance: %s\n  %.1f s, seed %d\n",
		r.done, counts(r.kinds), counts(r.codes), r.shown, counts(r.explained), time.Since(began).Seconds(), r.seed)
	return nil
}

// counts writes how often each thing was met.
func counts[K ~string | ~int](m map[K]int) string {
	var parts []string
	for _, k := range slices.SortedFunc(maps.Keys(m), func(a, b K) int { return m[b] - m[a] }) {
		parts = append(parts, fmt.Sprintf("%v %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}

func (r *runner) root() string { return rootOf(int(r.roots.Add(1))) }

// jobs are all worlds of the run.
func (r *runner) jobs() (jobs []func(context.Context) error) {
	for _, ops := range scenarios {
		jobs = append(jobs, func(context.Context) error { return r.scenario(ops) })
	}
	for _, d := range differences {
		if len(d.ops) > 0 {
			jobs = append(jobs, func(context.Context) error { return r.difference(d) })
		}
	}
	for n := range (r.ops + worldSize - 1) / worldSize {
		jobs = append(jobs, func(ctx context.Context) error { return r.world(ctx, n+1) })
	}
	return jobs
}

// work shares the jobs out among the workers; the first error ends them all.
func (r *runner) work(ctx context.Context, jobs []func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range r.workers {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= len(jobs) && ctx.Err() == nil; n = int(next.Add(1)) {
				if err := jobs[n-1](ctx); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// world draws the ops of one world and does them; a divergence is made short
// and becomes the error.
func (r *runner) world(ctx context.Context, number int) error {
	w, err := r.servers.newWorld(r.root())
	if err != nil {
		return err
	}
	defer w.end()
	g := newGenerator(r.seed, number, w)
	var ops []op
	var d *divergence
	for i := 0; i < worldSize && ctx.Err() == nil; i++ {
		o := g.next()
		ops = append(ops, o)
		if err := w.step(o); errors.As(err, &d) {
			return r.report(number, ops, d)
		} else if err != nil {
			return fmt.Errorf("seed %d, world %d, call %d: %v: %w", r.seed, number, i+1, o, err)
		}
	}
	if err := w.compareWhole(); errors.As(err, &d) {
		return r.report(number, ops, d)
	} else if err != nil {
		return err
	}
	r.count(w, ops)
	return nil
}

// count adds a world that agrees to the sums.
func (r *runner) count(w *world, ops []op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range ops {
		r.kinds[o.Kind]++
	}
	for code, n := range w.codes {
		r.codes[code] += n
	}
	for name, n := range w.explained {
		r.explained[name] += n
	}
	r.done += len(ops)
}

// report shrinks a divergence and says all that is known of it.
func (r *runner) report(number int, ops []op, d *divergence) error {
	head := fmt.Sprintf("seed %d, world %d, call %d: the sides differ in %v", r.seed, number, len(ops), d)
	s := &shrinker{servers: r.servers, root: r.root, left: shrinkRuns}
	short, found, err := s.shrink(ops)
	if err != nil {
		return fmt.Errorf("%s\nshrinking failed: %w", head, err)
	}
	if found == nil {
		return fmt.Errorf("%s\nthe same calls in another world agree:\n%s", head, list(ops))
	}
	return fmt.Errorf("%s\nshortest sequence:\n%sthe last differs in %v", head, list(short), found)
}

// scenario does ops in which the sides agree, and which chance does not bring.
func (r *runner) scenario(ops []op) error {
	w, err := r.servers.newWorld(r.root())
	if err != nil {
		return err
	}
	defer w.end()
	for i, o := range ops {
		if err := w.step(o); err != nil {
			return fmt.Errorf("call %d of\n%s%w", i+1, list(ops), err)
		}
	}
	return w.compareWhole()
}

// difference does the ops of an intended difference; in the last one the sides
// must differ as the table says.
func (r *runner) difference(d difference) error {
	w, err := r.servers.newWorld(r.root())
	if err != nil {
		return err
	}
	defer w.end()
	last := len(d.ops) - 1
	for _, o := range d.ops[:last] {
		if err := w.step(o); err != nil {
			return fmt.Errorf("the difference of %s: %v: %w", d.name, o, err)
		}
	}
	z, p, err := w.both(d.ops[last])
	if err == nil && (z.Code != d.zkCode || p.Code != d.pCode) {
		err = &divergence{"what does not show it", z.String(), p.String()}
	}
	if err != nil {
		return fmt.Errorf("the difference of %s: %w", d.name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown++
	return nil
}
