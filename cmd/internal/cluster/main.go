// Command cluster runs three nodes on loopback until it is interrupted: what
// `make cluster` does.
//
// PERCH_HTTP (default 127.0.0.1:7070) is the address before the first node's:
// the nodes answer on the three ports after it, and speak to each other 430
// ports above those. PERCH_DATA (default ./perch-data) holds their data and
// logs in its folder cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"perch/cmd/internal/local"
)

const (
	nodes     = 3
	peerShift = 430 // 7071 … 7073 speak to each other on 7501 … 7503
	readyWait = 30 * time.Second
	stopWait  = 10 * time.Second
)

func main() {
	binary := flag.String("perch", "bin/perch", "the perch executable")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string, env func(string) string, out io.Writer) error {
	o, err := options(binary, env)
	if err != nil {
		return err
	}
	c, err := local.Start(o)
	if err != nil {
		return err
	}
	err = serve(ctx, c, out)
	fmt.Fprintln(out, "stopping …")
	if err = errors.Join(err, c.Stop(stopWait)); err == nil {
		fmt.Fprintln(out, "stopped; the data stays in", o.Dir)
	}
	return err
}

func options(binary string, env func(string) string) (local.Options, error) {
	at, data := env("PERCH_HTTP"), env("PERCH_DATA")
	if at == "" {
		at = "127.0.0.1:7070"
	}
	if data == "" {
		data = "perch-data"
	}
	o := local.Options{Binary: binary, Dir: filepath.Join(data, "cluster")}
	host, portText, err := net.SplitHostPort(at)
	if err != nil {
		return o, fmt.Errorf("PERCH_HTTP: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 1 || port+nodes+peerShift > 65535 {
		return o, fmt.Errorf("PERCH_HTTP: port %q must be a number up to %d", portText, 65535-nodes-peerShift)
	}
	for i := range nodes {
		o.HTTP = append(o.HTTP, net.JoinHostPort(host, strconv.Itoa(port+i+1)))
		o.Peers = append(o.Peers, net.JoinHostPort(host, strconv.Itoa(port+i+1+peerShift)))
	}
	return o, nil
}

// serve tells what runs, until ctx ends or a node does.
func serve(ctx context.Context, c *local.Cluster, out io.Writer) error {
	waiting, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	if err := c.WaitReady(waiting); err != nil {
		if ctx.Err() != nil {
			return nil // interrupted before it was ready
		}
		return err
	}
	for _, n := range c.Nodes {
		fmt.Fprintf(out, "node %d  %s  log %s\n", n.ID, n.URL(), n.Log)
	}
	fmt.Fprintf(out, "three nodes form one cluster; ask any of them: curl %s/v1/cluster\n", c.Nodes[0].URL())
	fmt.Fprintln(out, "Ctrl-C stops them")
	for left := nodes; left > 0; left-- {
		select {
		case <-ctx.Done():
			return nil
		case n := <-c.Ended():
			fmt.Fprintln(out, n.Failure())
		}
	}
	return errors.New("all nodes have ended")
}
