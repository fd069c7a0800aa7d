// Command search-engine shows a small distributed system that leans on Perch:
// search servers that come and go, a master that knows which are there, a
// spare for it, and a front end that finds whoever is master.
//
// Every part is a process that speaks plain HTTP; none imports anything of
// Perch. Without arguments the program starts three Perch nodes and all the
// parts, takes down one after the other, prints what happened as a timeline,
// and exits 0 only if every step was observed in its time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	var (
		as    = flag.String("as", "", "the part to play: server, master or front (none: all of them, and Perch)")
		name  = flag.String("name", "", "name of this part")
		nodes = flag.String("nodes", "http://127.0.0.1:7070", "Perch nodes, with commas between them")
		ttl   = flag.Duration("ttl", 2*time.Second, "how long a part that died stays listed")
		perch = flag.String("perch", "bin/perch", "the perch executable")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *as == "" {
		err = orchestrate(ctx, *perch, *ttl)
	} else {
		err = play(ctx, *as, *name, strings.Split(*nodes, ","), *ttl)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "search-engine:", err)
		os.Exit(1)
	}
	if *as == "" && ctx.Err() != nil {
		os.Exit(1) // interrupted before every step was seen
	}
}

// play is one part, until ctx ends.
func play(ctx context.Context, as, name string, nodes []string, ttl time.Duration) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	r := &role{name: name, perch: newClient(nodes), ttl: ttl, out: os.Stdout, listen: l}
	switch as {
	case "server":
		return r.server(ctx)
	case "master":
		return r.master(ctx)
	case "front":
		return r.front(ctx)
	}
	return errors.New("-as must be server, master or front")
}
