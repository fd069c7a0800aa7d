package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// event is a line that a part printed.
type event struct {
	from string
	text string
	at   time.Time
}

// stage runs the processes and collects what the parts tell.
type stage struct {
	mu     sync.Mutex
	events []event
	news   chan struct{} // closed and replaced with every event
	parts  map[string]*exec.Cmd
	wait   sync.WaitGroup
}

func newStage() *stage {
	return &stage{news: make(chan struct{}), parts: map[string]*exec.Cmd{}}
}

// start runs a part, whose lines become events.
func (s *stage) start(name, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Env = withoutPerch(os.Environ())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.keep(name, cmd)
	s.wait.Add(1)
	go func() {
		defer s.wait.Done()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.add(event{name, lines.Text(), time.Now()})
		}
		_ = cmd.Wait() // how it ended is of no interest: most are killed
	}()
	return nil
}

// startLogged runs a process whose output goes to a file.
func (s *stage) startLogged(name, file, program string, args ...string) error {
	log, err := os.Create(file)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Env = withoutPerch(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.keep(name, cmd)
	s.wait.Add(1)
	go func() { defer s.wait.Done(); _ = cmd.Wait() }()
	return nil
}

func (s *stage) keep(name string, cmd *exec.Cmd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[name] = cmd
}

func (s *stage) add(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	close(s.news)
	s.news = make(chan struct{})
}

// kill ends a process as a power cut would: it cannot say goodbye.
func (s *stage) kill(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd := s.parts[name]
	if cmd == nil {
		return fmt.Errorf("there is no process %s", name)
	}
	delete(s.parts, name)
	return cmd.Process.Kill()
}

// killAll ends what is still running and waits for it.
func (s *stage) killAll() {
	s.mu.Lock()
	for _, cmd := range s.parts {
		_ = cmd.Process.Kill()
	}
	s.mu.Unlock()
	s.wait.Wait()
}

// mark is a position in the events: those from it on come later.
func (s *stage) mark() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events)
}

// await returns the first event from mark on that match accepts, or an error
// when there is none within limit.
func (s *stage) await(ctx context.Context, mark int, limit time.Duration, what string, match func(event) bool) (event, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		s.mu.Lock()
		events, news := s.events, s.news
		s.mu.Unlock()
		for ; mark < len(events); mark++ {
			if match(events[mark]) {
				return events[mark], nil
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
			return event{}, fmt.Errorf("not seen within %v: %s", limit, what)
		}
	}
}

// count is how many events from mark on match accepts.
func (s *stage) count(mark int, match func(event) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events[min(mark, len(s.events)):] {
		if match(e) {
			n++
		}
	}
	return n
}

// startPerch starts three Perch nodes and returns their URLs, node 1 first.
func (s *stage) startPerch(perch, dir string) ([]string, error) {
	addrs, err := freeAddrs(6)
	if err != nil {
		return nil, err
	}
	var peers, urls []string
	for i, addr := range addrs[3:] {
		peers = append(peers, fmt.Sprintf("%d=%s", i+1, addr))
	}
	for i, addr := range addrs[:3] {
		name := fmt.Sprintf("perch-%d", i+1)
		urls = append(urls, "http://"+addr)
		err := s.startLogged(name, filepath.Join(dir, name+".log"), perch, "serve", "--id", fmt.Sprint(i+1),
			"--peers", strings.Join(peers, ","), "--data", filepath.Join(dir, name), "--http", addr)
		if err != nil {
			return nil, err
		}
	}
	return urls, nil
}

// freeAddrs returns n loopback addresses that were free a moment ago, below the
// range from which the system gives out by itself: nobody takes them by chance
// before they are used.
func freeAddrs(n int) (addrs []string, err error) {
	const first, count = 20_000, 12_000
	for port, tries := rand.IntN(count), 0; len(addrs) < n; port, tries = port+1, tries+1 {
		if tries == count {
			return nil, errors.New("no free ports")
		}
		addr := fmt.Sprintf("127.0.0.1:%d", first+port%count)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

func withoutPerch(env []string) (out []string) {
	for _, e := range env {
		if !strings.HasPrefix(e, "PERCH_") {
			out = append(out, e)
		}
	}
	return out
}
