// Package local runs a cluster on loopback, one process a node, for `make
// cluster` and for measurements.
//
// It guarantees that Stop ends every process that Start began, and that a node
// which ends by itself is reported. It starts nothing again and keeps no
// record of what it started: when the program that uses it is killed, on Linux
// its nodes are told to stop, elsewhere they live on.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options describe a cluster.
type Options struct {
	Binary string   // the perch executable
	Dir    string   // holds a data directory and a log file for every node
	HTTP   []string // address of each node's HTTP listener, host:port
	Peers  []string // address of each node's node-to-node listener; as many as HTTP
}

// Node is one process.
type Node struct {
	ID   int
	HTTP string // host:port
	Log  string // file that holds its output

	cmd  *exec.Cmd
	file *os.File
	done chan struct{} // closed when it ended
	err  error         // how; valid after done
}

// URL is where the node answers.
func (n *Node) URL() string { return "http://" + n.HTTP }

// Cluster is a set of running nodes.
type Cluster struct {
	Nodes []*Node
	ended chan *Node
}

// FreeAddrs returns n loopback addresses that were free a moment ago, below the
// range from which the system gives out by itself: nobody takes them by chance
// before they are used.
func FreeAddrs(n int) (addrs []string, err error) {
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

// Start starts the nodes. On an error nothing is left running.
func Start(o Options) (*Cluster, error) {
	if len(o.HTTP) == 0 || len(o.HTTP) != len(o.Peers) {
		return nil, fmt.Errorf("%d HTTP addresses and %d peer addresses", len(o.HTTP), len(o.Peers))
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	var list []string
	for i, addr := range o.Peers {
		list = append(list, fmt.Sprintf("%d=%s", i+1, addr))
	}
	c := &Cluster{ended: make(chan *Node, len(o.HTTP))}
	for i := range o.HTTP {
		n, err := c.start(o, i, strings.Join(list, ","))
		if err != nil {
			return nil, errors.Join(err, c.Stop(time.Second))
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c, nil
}

func (c *Cluster) start(o Options, i int, peers string) (*Node, error) {
	id := strconv.Itoa(i + 1)
	n := &Node{ID: i + 1, HTTP: o.HTTP[i], Log: filepath.Join(o.Dir, "node"+id+".log"), done: make(chan struct{})}
	var err error
	if n.file, err = os.OpenFile(n.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	n.cmd = exec.Command(o.Binary, "serve", "--id", id, "--peers", peers,
		"--data", filepath.Join(o.Dir, "node"+id), "--http", n.HTTP)
	n.cmd.Env = withoutPerch(os.Environ()) // a setting meant for one node is not for three
	n.cmd.Stdout, n.cmd.Stderr = n.file, n.file
	n.cmd.SysProcAttr = ownGroup()
	if err := n.cmd.Start(); err != nil {
		return nil, errors.Join(err, n.file.Close())
	}
	go func() {
		n.err = n.cmd.Wait()
		_ = n.file.Close()
		close(n.done)
		c.ended <- n
	}()
	return n, nil
}

func withoutPerch(env []string) (out []string) {
	for _, e := range env {
		if !strings.HasPrefix(e, "PERCH_") {
			out = append(out, e)
		}
	}
	return out
}

// Ended delivers each node that has ended, once.
func (c *Cluster) Ended() <-chan *Node { return c.ended }

// Failure says how a node of Ended ended, with the last lines of its log.
func (n *Node) Failure() error {
	how := "ended by itself"
	if n.err != nil {
		how = n.err.Error()
	}
	return fmt.Errorf("node %d: %s; the end of %s:\n%s", n.ID, how, n.Log, tail(n.Log, 2048))
}

// WaitReady returns once every node says that it has a leader with a quorum
// and is caught up, or with an error when ctx or a node ends before.
func (c *Cluster) WaitReady(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := c.waitNode(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) waitNode(ctx context.Context, n *Node) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		if ready(ctx, n.URL()+"/readyz") {
			return nil
		}
		select {
		case <-poll.C:
		case dead := <-c.ended:
			c.ended <- dead // for whoever else wants to know
			return dead.Failure()
		case <-ctx.Done():
			return fmt.Errorf("node %d is not ready: %w; the end of %s:\n%s", n.ID, ctx.Err(), n.Log, tail(n.Log, 2048))
		}
	}
}

func ready(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Stop asks every node to stop, kills those that have not within grace, and
// waits for all. It returns an error for each that did not stop cleanly.
func (c *Cluster) Stop(grace time.Duration) error {
	for _, n := range c.Nodes {
		_ = n.cmd.Process.Signal(syscall.SIGTERM) // one that has ended already is reported below
	}
	late := time.After(grace)
	var errs []error
	for _, n := range c.Nodes {
		select {
		case <-n.done:
		case <-late:
			late = closedClock
			_ = n.cmd.Process.Kill()
			<-n.done
		}
		if n.err != nil {
			errs = append(errs, fmt.Errorf("node %d: %w", n.ID, n.err))
		}
	}
	return errors.Join(errs...)
}

// closedClock is a time that has always come.
var closedClock = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// tail is the end of a file, for a message.
func tail(name string, most int64) string {
	f, err := os.Open(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(size-most, 0), io.SeekStart)
	}
	text, _ := io.ReadAll(f)
	return strings.TrimSpace(string(text))
}
