package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

// Barriers and counters.

func (o *Options) barrierCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "barrier", Short: "Wait for each other: enter, leave, put up and take down barriers",
		Example: `  perch barrier enter round-1 --count 3 && ./next     # returns when three have entered
  perch barrier close gate                            # who enters waits …
  perch barrier open gate                             # … until it is open`,
	}
	return parent(cmd, o.enterCommand(), o.leaveCommand(),
		o.onName("close NAME", "Put a barrier up: who enters waits until it is opened", "barriers",
			func(ctx context.Context, c *conn, name string) (*http.Response, error) {
				return c.api.CloseBarrier(ctx, name, nil)
			}, withFences),
		o.onName("open NAME", "Take a barrier down, and let all go", "barriers",
			func(ctx context.Context, c *conn, name string) (*http.Response, error) {
				return c.api.OpenBarrier(ctx, name, nil)
			}, withFences),
		o.showBarrierCommand(),
		o.namesCommand(func(ctx context.Context, c *conn, prefix, page *string) (*http.Response, error) {
			return c.api.ListBarriers(ctx, &client.ListBarriersParams{Prefix: prefix, PageToken: page, Limit: ptr(pageOf)})
		}))
}

func (o *Options) enterCommand() *cobra.Command {
	var w wanted
	var count int32
	var generation int64
	cmd := &cobra.Command{
		Use: "enter NAME --count N", Short: "Enter a barrier, and wait until so many have", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("barriers"),
		Long: `Enter a barrier, and wait until so many have. It prints the generation that opened, a number that rises with each opening.
Exit code 75 when it did not open in time.`,
	}
	f := cmd.Flags()
	f.Int32Var(&count, "count", 0, "so many open it")
	f.Int64Var(&generation, "generation", 0, "ask again for this one, which was entered before")
	w.declareOwner(f, process())
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		if count < 1 {
			return exit.UsageError(errors.New("--count: how many open it? at least 1"))
		}
		if err := checkTTL(w.ttl); err != nil {
			return err
		}
		drew, err := c.inSession(ctx)
		if err != nil {
			return err
		}
		var b client.BarrierState
		a, err := c.obtain(ctx, &w, &b, func(ctx context.Context, poll, _ time.Duration) (*http.Response, error) {
			return c.api.EnterBarrier(ctx, n, nil, client.BarrierSpec{Count: count, WaitMs: ms32(poll), TTLMs: ms(w.ttl), Generation: ptr(generation), Owner: ptr(w.owner)})
		})
		if err != nil {
			return err
		}
		if drew && !c.asJSON {
			c.note("in a session of its own; to leave: export PERCH_SESSION=%s", c.Session)
		}
		return c.show(a, func() error { return c.line("%d", b.Generation) })
	}, w.declareTTL, w.declareWaiting, withSession)
}

func (o *Options) leaveCommand() *cobra.Command {
	var w wanted
	var generation int64
	cmd := &cobra.Command{
		Use: "leave NAME", Short: "Leave a barrier, and wait until all have", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("barriers"),
	}
	cmd.Flags().Int64Var(&generation, "generation", 0, "the one that was entered (0: that of the session)")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err == nil {
			err = c.ownSessionOr()
		}
		if err != nil {
			return err
		}
		w.ttl = ttlDefault
		a, err := c.obtain(ctx, &w, nil, func(ctx context.Context, poll, _ time.Duration) (*http.Response, error) {
			return c.api.LeaveBarrier(ctx, n, nil, client.BarrierLeave{Generation: ptr(generation), WaitMs: ms32(poll)})
		})
		if err != nil || !c.asJSON {
			return err
		}
		return c.json(a.body)
	}, w.declareWaiting, withSession)
}

func (o *Options) showBarrierCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "show NAME", Aliases: []string{"get"}, Short: "Show a barrier", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("barriers")}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		var b client.BarrierState
		a, err := c.ask(ctx, &b, func(ctx context.Context) (*http.Response, error) { return c.api.GetBarrier(ctx, n, nil) })
		if err != nil {
			return err
		}
		return c.show(a, func() error {
			return c.fields("name", b.Name, "open", strconv.FormatBool(b.Open), "entered", fmt.Sprint(b.Entered), "count", fmt.Sprint(b.Count),
				"leaving", number(b.Leaving), "generation", fmt.Sprint(b.Generation))
		})
	}, withLocal)
}

func (o *Options) counterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "counter", Short: "Show and change integers, each in one step",
		Example: `  perch counter add orders        # prints the new value
  perch counter add orders 5 --expect 1`,
	}
	return parent(cmd, o.getCounterCommand(),
		o.changeCounterCommand("add NAME [N]", "Add to a counter, and print its value", cobra.RangeArgs(1, 2),
			func(ctx context.Context, c *conn, name string, n int64, expect *int64) (*http.Response, error) {
				return c.api.AddCounter(ctx, name, nil, client.CounterSpec{Add: n, Expect: expect})
			}),
		o.changeCounterCommand("set NAME N", "Set a counter", cobra.ExactArgs(2),
			func(ctx context.Context, c *conn, name string, n int64, expect *int64) (*http.Response, error) {
				return c.api.SetCounter(ctx, name, nil, client.CounterSet{Value: n, Expect: expect})
			}),
		o.onName("delete NAME", "Delete a counter", "counters",
			func(ctx context.Context, c *conn, name string) (*http.Response, error) {
				return c.api.DeleteCounter(ctx, name, nil)
			}, withFences),
		o.namesCommand(func(ctx context.Context, c *conn, prefix, page *string) (*http.Response, error) {
			return c.api.ListCounters(ctx, &client.ListCountersParams{Prefix: prefix, PageToken: page, Limit: ptr(pageOf)})
		}))
}

func (o *Options) getCounterCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "get NAME", Aliases: []string{"show"}, Short: "Print a counter", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("counters")}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		return c.counter(ctx, func(ctx context.Context) (*http.Response, error) { return c.api.GetCounter(ctx, n, nil) })
	}, withLocal)
}

func (c *conn) counter(ctx context.Context, do call) error {
	var n client.Counter
	a, err := c.ask(ctx, &n, do)
	if err != nil {
		return err
	}
	return c.show(a, func() error { return c.line("%d", n.Value) })
}

func (o *Options) changeCounterCommand(use, short string, args cobra.PositionalArgs, do func(ctx context.Context, c *conn, name string, n int64, expect *int64) (*http.Response, error)) *cobra.Command {
	var expect optionalInt
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args, ValidArgsFunction: o.completeName("counters"),
		Long: short + ". A number below 0 stands behind --, as in perch counter add NAME -- -1. With --expect exit code 4 when it is another value.",
	}
	cmd.Flags().Var(&expect, "expect", "only if this is the value")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		counter, err := name(args[0])
		if err != nil {
			return err
		}
		n := int64(1)
		if len(args) > 1 {
			if n, err = strconv.ParseInt(args[1], 10, 64); err != nil {
				return exit.UsageError(fmt.Errorf("%q: must be an integer of 64 bits", args[1]))
			}
		}
		return c.counter(ctx, func(ctx context.Context) (*http.Response, error) { return do(ctx, c, counter, n, expect.n) })
	}, withFences, withKey)
}

// optionalInt is a flag for a number of which 0 is one.
type optionalInt struct{ n *int64 }

func (i *optionalInt) String() string { return number(i.n) }
func (i *optionalInt) Type() string   { return "int" }

func (i *optionalInt) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return errors.New("must be an integer")
	}
	i.n = &n
	return nil
}
