package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/bench"
	"perch/cmd/internal/exit"
	"perch/cmd/internal/local"
	"perch/cmd/internal/progress"
)

// benchConfig is what `perch bench` was asked for.
type benchConfig struct {
	URLs     []string
	Start    int
	Bare     bool
	Modes    []string
	Conns    []int
	Rounds   int
	Warmup   time.Duration
	Duration time.Duration
	Value    int
}

func benchCommand() *cobra.Command {
	var c benchConfig
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure writes and reads of a cluster, beside a bare net/http handler",
		Long: `Measure writes, linearizable reads and local reads of a cluster at several numbers of connections.
Each connection sends one request after the other; only complete 2xx answers count.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.URLs, "url", []string{"http://127.0.0.1:7070"}, "nodes; connections go to them in turn")
	f.IntVar(&c.Start, "start", 0, "start so many nodes on loopback, in a temporary directory, and measure those")
	f.BoolVar(&c.Bare, "bare", false, "measure a bare net/http handler, a process of its own, in turn with the cluster")
	f.StringSliceVar(&c.Modes, "mode", []string{"write", "read", "local"}, "what to measure: write, read (linearizable), local")
	f.IntSliceVar(&c.Conns, "conns", []int{1, 16, 128}, "numbers of connections")
	f.IntVar(&c.Rounds, "rounds", 5, "measurements of which the median counts")
	f.DurationVar(&c.Warmup, "warmup", 500*time.Millisecond, "load before each measurement that does not count")
	f.DurationVar(&c.Duration, "duration", 2*time.Second, "length of each measurement")
	f.IntVar(&c.Value, "value", 256, "bytes of a value")
	cmd.AddCommand(bareCommand(), benchLockCommand())
	return cmd
}

func (c *benchConfig) run(ctx context.Context, out, stderr io.Writer) (err error) {
	m, err := c.matrix()
	if err != nil {
		return exit.UsageError(err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if c.Start > 0 {
		var stop func() error
		if m.Addrs, stop, err = startNodes(ctx, self, c.Start); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	if c.Bare {
		var stop func() error
		if m.Bare, stop, err = startBare(ctx, self, c.Value); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	bench.Head(out, c.Bare)
	meter, rounds := progress.New(stderr, "rounds", int64(len(m.Modes)*len(m.Conns)*m.Rounds), progress.Items), int64(0)
	defer meter.Done()
	m.Began = func() {
		meter.Set(rounds)
		rounds++
	}
	return m.Run(ctx, func(cell bench.Cell) {
		meter.Done()
		cell.Line(out)
		if cell.Perch.Errors > 0 {
			fmt.Fprintf(stderr, "%s at %d: %d requests failed, the first: %s\n", cell.Mode, cell.Conns, cell.Perch.Errors, cell.Perch.Error)
		}
	})
}

// matrix checks what was asked for, all of it at once.
func (c *benchConfig) matrix() (bench.Matrix, error) {
	m := bench.Matrix{
		Conns: c.Conns, Rounds: c.Rounds,
		Load: bench.Load{Warmup: c.Warmup, Duration: c.Duration, Value: c.Value},
	}
	var faults []error
	for _, mode := range c.Modes {
		if !slices.Contains(bench.Modes, bench.Mode(mode)) {
			faults = append(faults, fmt.Errorf("--mode %q: must be write, read or local", mode))
		}
		m.Modes = append(m.Modes, bench.Mode(mode))
	}
	var wrong []error
	m.Addrs, wrong = benchAddrs(c.URLs)
	faults = append(faults, wrong...)
	if len(c.Modes) == 0 || len(c.Conns) == 0 || len(c.URLs) == 0 {
		faults = append(faults, errors.New("--mode, --conns and --url need at least one entry each"))
	}
	for _, conns := range c.Conns {
		if conns < 1 || conns > 10_000 {
			faults = append(faults, fmt.Errorf("--conns %d: must be 1 to 10000", conns))
		}
	}
	if c.Rounds < 1 || c.Duration <= 0 || c.Warmup < 0 || c.Value < 0 || c.Value > 1<<20 || c.Start < 0 || c.Start > 9 {
		faults = append(faults, errors.New("--rounds and --duration must be above 0, --warmup not below, --value 0 to 1048576, --start 0 to 9"))
	}
	return m, errors.Join(faults...)
}

// benchAddrs are the host:port of nodes.
func benchAddrs(urls []string) (addrs []string, faults []error) {
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			faults = append(faults, fmt.Errorf("--url %q: must be http://host:port", text))
			continue
		}
		addrs = append(addrs, u.Host)
	}
	return addrs, faults
}

// startNodes starts n nodes and returns their addresses once all are ready.
func startNodes(ctx context.Context, self string, n int) (addrs []string, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "perch-bench-")
	if err != nil {
		return nil, nil, err
	}
	free, err := local.FreeAddrs(2 * n)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	cluster, err := local.Start(local.Options{Binary: self, Dir: dir, HTTP: free[:n], Peers: free[n:]})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop = func() error { return errors.Join(cluster.Stop(10*time.Second), os.RemoveAll(dir)) }
	waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := cluster.WaitReady(waiting); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return free[:n], stop, nil
}

// startBare starts the reference in a process of its own, as a node is one.
func startBare(ctx context.Context, self string, value int) (addr string, stop func() error, err error) {
	cmd := exec.CommandContext(ctx, self, "bench", "bare", "--value", fmt.Sprint(value))
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("bare handler: %w", err), stop())
	}
	return strings.TrimSpace(line), stop, nil
}

// bareCommand is the process that startBare starts: it prints its address and
// serves until its standard input ends, so it cannot outlive its parent.
func bareCommand() *cobra.Command {
	value := 256
	cmd := &cobra.Command{
		Use:    "bare",
		Short:  "Serve a bare net/http handler until standard input ends",
		Hidden: true,
		Args:   asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			srv := &http.Server{Handler: bench.Bare(value), ReadHeaderTimeout: 5 * time.Second}
			go func() {
				_, _ = io.Copy(io.Discard, cmd.InOrStdin())
				_ = srv.Close()
			}()
			fmt.Fprintln(cmd.OutOrStdout(), l.Addr())
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&value, "value", value, "bytes of a value")
	return cmd
}
