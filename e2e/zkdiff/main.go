// Command zkdiff compares Perch with a real ZooKeeper: it starts one of each on
// loopback, drives both with the same random calls, and compares everything
// that can be seen of each call: what it answers, which error it is, names,
// data, children, ACLs, the whole Stat with the order of its zxids, and what
// watches of the whole tree and one-shot watches see.
//
// In what Perch means to differ stands in the table of differences and in
// docs/zookeeper.md; every run shows each of them. Any other difference ends the
// run with the seed and the shortest sequence of calls that still shows it.
package main

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "zkdiff:", err)
		cancel()
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	r := runner{kinds: map[kind]int{}, codes: map[int]int{}, explained: map[string]int{}}
	flag.IntVar(&r.ops, "ops", 5000, "calls to compare")
	flag.Uint64Var(&r.seed, "seed", 0, "of the calls; 0 draws one")
	flag.IntVar(&r.workers, "workers", 8, "worlds at a time")
	flag.Parse()
	if r.seed == 0 {
		r.seed = rand.Uint64N(1 << 32)
	}
	binary := os.Getenv("PERCH_BIN")
	if binary == "" {
		return errors.New("PERCH_BIN does not name the executable of Perch")
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "zkdiff")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if r.servers, err = startServers(ctx, dir, binary); err != nil {
		return err
	}
	defer r.servers.stop()
	return r.run(ctx)
}

// digestOf is an id of scheme digest.
func digestOf(user, password string) string {
	sum := sha1.Sum([]byte(user + ":" + password))
	return user + ":" + base64.StdEncoding.EncodeToString(sum[:])
}

// list is a sequence of ops as it stands in a report.
func list(ops []op) string {
	var b strings.Builder
	for i, o := range ops {
		fmt.Fprintf(&b, "  %2d. %v\n", i+1, o)
	}
	return b.String()
}
