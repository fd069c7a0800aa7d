package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// event is what a function is invoked with.
type event struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
}

// result is what it answers. done says whether the platform is content with it.
type result struct {
	Status string `json:"status"`
	Error  string `json:"error"`
}

func (r result) done() bool { return r.Status == "applied" || r.Status == "already" }

// language is a way to run the function.
type language struct {
	name    string
	command []string
}

// languages are those that can be run here.
func languages(dir, function string) (found []language, missing []string) {
	for _, l := range []language{
		{"Go", []string{function}},
		{"Node.js", []string{"node", filepath.Join(dir, "harness", "bootstrap.mjs"), filepath.Join(dir, "node", "index.mjs")}},
		{"Python", []string{"python3", filepath.Join(dir, "harness", "bootstrap.py"), filepath.Join(dir, "python", "handler.py")}},
	} {
		if _, err := exec.LookPath(l.command[0]); err != nil {
			missing = append(missing, l.name)
			continue
		}
		found = append(found, l)
	}
	return found, missing
}

// container is one process of a function, which is invoked again and again
// like a warm container of Lambda. It does one thing at a time.
type container struct {
	language language
	cmd      *exec.Cmd
	in       io.WriteCloser
	lines    chan []byte // closed when the process has ended
}

// errDied is an invocation without an answer.
var errDied = errors.New("the function died")

func startContainer(l language, env []string) (*container, error) {
	c := &container{language: l, cmd: exec.Command(l.command[0], l.command[1:]...), lines: make(chan []byte, 1)}
	c.cmd.Env, c.cmd.Stderr = env, os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.lines <- append([]byte(nil), lines.Bytes()...)
		}
		_ = c.cmd.Wait() // how it ended is of no interest: many are killed
		close(c.lines)
	}()
	return c, nil
}

// invoke runs the function once, to its answer or its end.
func (c *container) invoke(e event) (r result, err error) {
	text, err := json.Marshal(e)
	if err != nil {
		return r, err
	}
	if _, err := c.in.Write(append(text, '\n')); err != nil {
		return r, errDied
	}
	line, ok := <-c.lines
	if !ok {
		return r, errDied
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("%s answered %q: %w", c.language.name, line, err)
	}
	return r, nil
}

func (c *container) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

// end ends the process and waits for it.
func (c *container) end() {
	_ = c.cmd.Process.Kill()
	for range c.lines {
	}
}

// pool is all containers, warm ones kept by language.
type pool struct {
	languages []language
	env       []string

	mu    sync.Mutex
	idle  map[string][]*container
	alive map[*container]bool
	runs  map[string]int // invocations by language
}

func newPool(ls []language, env []string) *pool {
	return &pool{languages: ls, env: env, idle: map[string][]*container{}, alive: map[*container]bool{}, runs: map[string]int{}}
}

// get returns a container of some language, a warm one if there is one.
func (p *pool) get(dice *rand.Rand) (*container, error) {
	l := p.languages[dice.IntN(len(p.languages))]
	p.mu.Lock()
	p.runs[l.name]++
	if warm := p.idle[l.name]; len(warm) > 0 {
		p.idle[l.name] = warm[:len(warm)-1]
		p.mu.Unlock()
		return warm[len(warm)-1], nil
	}
	p.mu.Unlock()
	c, err := startContainer(l, p.env)
	if err == nil {
		p.mu.Lock()
		p.alive[c] = true
		p.mu.Unlock()
	}
	return c, err
}

// put gives a container back; one that died is forgotten.
func (p *pool) put(c *container, err error) {
	if err != nil {
		c.end()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		delete(p.alive, c)
		return
	}
	p.idle[c.language.name] = append(p.idle[c.language.name], c)
}

// endAll ends what is left, frozen ones as well.
func (p *pool) endAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.alive {
		c.end()
	}
}
