package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/bench"
	"perch/cmd/internal/exit"
)

// benchLockConfig is what `perch bench lock` was asked for.
type benchLockConfig struct {
	URLs     []string
	Start    int
	Workers  []int
	Warmup   time.Duration
	Duration time.Duration
}

func benchLockCommand() *cobra.Command {
	var c benchLockConfig
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Measure cycles of acquire and release, on one lock and on locks of their own",
		Args:  asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.URLs, "url", []string{"http://127.0.0.1:7070"}, "nodes; workers go to them in turn")
	f.IntVar(&c.Start, "start", 0, "start so many nodes on loopback, in a temporary directory, and measure those")
	f.IntSliceVar(&c.Workers, "workers", []int{1, 16}, "numbers of workers")
	f.DurationVar(&c.Warmup, "warmup", 500*time.Millisecond, "load before each measurement that does not count")
	f.DurationVar(&c.Duration, "duration", 5*time.Second, "length of each measurement")
	return cmd
}

// run measures. Two workers that hold one lock at a time are a failure.
func (c *benchLockConfig) run(ctx context.Context, out, progress io.Writer) (err error) {
	addrs, err := c.check()
	if err != nil {
		return exit.UsageError(err)
	}
	if c.Start > 0 {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		var stop func() error
		if addrs, stop, err = startNodes(ctx, self, c.Start); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	bench.LockHead(out)
	overlaps := 0
	for _, workers := range c.Workers {
		for _, own := range []bool{false, true} {
			load := bench.LockLoad{Addrs: addrs, Workers: workers, Own: own, Warmup: c.Warmup, Duration: c.Duration}
			r, err := load.Run(ctx)
			if err != nil {
				return err
			}
			r.Line(out, load)
			overlaps += r.Overlaps
			if r.Cycles == 0 {
				return fmt.Errorf("%d workers: not one cycle; the first failure: %s", workers, r.Error)
			}
			if r.Errors > 0 {
				fmt.Fprintf(progress, "%d workers: %d requests failed, the first: %s\n", workers, r.Errors, r.Error)
			}
		}
	}
	if overlaps > 0 {
		return fmt.Errorf("two workers held one lock at the same time, %d times", overlaps)
	}
	return nil
}

func (c *benchLockConfig) check() ([]string, error) {
	addrs, faults := benchAddrs(c.URLs)
	for _, n := range c.Workers {
		if n < 1 || n > 10_000 {
			faults = append(faults, fmt.Errorf("--workers %d: must be 1 to 10000", n))
		}
	}
	if c.Duration <= 0 || c.Warmup < 0 || c.Start < 0 || c.Start > 9 || len(addrs) == 0 || len(c.Workers) == 0 {
		faults = append(faults, errors.New("--duration must be above 0, --warmup not below, --start 0 to 9, --url and --workers need an entry"))
	}
	return addrs, errors.Join(faults...)
}
