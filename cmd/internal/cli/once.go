package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

// runs are what is to be done once; they are held as locks are.
var runs = kind{
	word: "run", plural: "once",
	acquire: func(ctx context.Context, c *conn, names []string, w *wanted, poll, _ time.Duration) (*http.Response, error) {
		spec := client.OnceSpec{TTLMs: w.ttl.Milliseconds(), WaitMs: ms32(poll), Owner: ptr(w.owner), Key: ptr(w.key), PeriodMs: ms(w.period),
			OffsetMs: ms(w.offset), MaxAttempts: ptr(w.maxAttempts), KeepMs: ms(w.keep)}
		return c.api.BeginOnce(ctx, names[0], nil, spec)
	},
	renew: func(ctx context.Context, c *conn, _ []string, _ client.HolderRef) (*http.Response, error) {
		return c.api.KeepSessionAlive(ctx, "self", nil, client.KeepAlive{})
	},
}

func declareOnce(w *wanted, f *pflag.FlagSet) {
	f.StringVar(&w.key, "key", "", "once for this key, such as a date")
	f.Var(&span{&w.period}, "period", "once in each period, such as 24h")
	f.Var(&span{&w.offset}, "offset", "by which the periods are shifted")
	f.Int32Var(&w.maxAttempts, "max-attempts", 0, "it has failed when so many have begun and not completed it (0: never)")
	f.Var(&span{&w.keep}, "keep", "how long the result is remembered (0: seven days)")
}

func (w *wanted) checkOnce() error {
	if (w.key == "") == (w.period == 0) {
		return exit.UsageError(errors.New("give --key, which names the run, or --period, once in which it runs"))
	}
	return nil
}

func (o *Options) onceCommand() *cobra.Command {
	var g guarded
	cmd := &cobra.Command{
		Use: "once NAME (--key KEY | --period TIME) [flags] -- COMMAND [ARGUMENT]...", Short: "Run a command once, however many try",
		Long: `Run a command that one of many is to run, once for each key or period: when it exits with 0 it counts as done for all,
otherwise the next one may try. Where it is done already there is nothing to do: exit code 0. Where somebody runs it, this waits
(--wait), and runs it if he does not complete it.
` + guardHelp,
		Example: `  perch once report --period 24h -- ./report
  perch once migrate --key v42 -- ./migrate`,
		Args: needCommand("once"),
	}
	declareOnce(&g.want, cmd.Flags())
	g.want.declareOwner(cmd.Flags(), process())
	cmd = o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		if err := g.want.checkOnce(); err != nil {
			return err
		}
		g.kind = &runs
		g.done = func(ctx context.Context, code int) error { return g.endOnce(ctx, code) }
		err := g.run(ctx, c, args)
		if codeOf(err) == "once_done" {
			c.note("%s is done already", args[0])
			return nil
		}
		return err
	}, g.want.declareTTL, g.want.declareWaiting)
	return parent(cmd, o.beginOnceCommand(), o.completeOnceCommand(), o.abandonOnceCommand(), o.showOnceCommand(), o.forgetOnceCommand(),
		o.namesCommand(func(ctx context.Context, c *conn, prefix, page *string) (*http.Response, error) {
			return c.api.ListOnce(ctx, &client.ListOnceParams{Prefix: prefix, PageToken: page, Limit: ptr(pageOf)})
		}))
}

// endOnce completes the run of a command that succeeded, and lets another one try
// otherwise.
func (g *guarded) endOnce(ctx context.Context, code int) error {
	_, err := g.c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) {
		if code == 0 {
			return g.c.api.CompleteOnceWithBody(ctx, g.name, nil, octets, body(nil))
		}
		return g.c.api.AbandonOnce(ctx, g.name, nil, client.OnceRef{})
	})
	return err
}

func (o *Options) beginOnceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "begin NAME (--key KEY | --period TIME)", Short: "Begin a run, if nobody else runs or has done it", Args: cobra.ExactArgs(1)}
	cmd = o.acquireCommand(&runs, cmd, declareOnce)
	cmd.Long += "\nExit code 75 when somebody runs it, 4 when it has been done or has failed."
	return cmd
}

func (o *Options) completeOnceCommand() *cobra.Command {
	var value source
	var failed bool
	cmd := &cobra.Command{
		Use: "complete NAME [RESULT]", Short: "Say that the run is done, with a result that the others get", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: o.completeName("once"),
	}
	cmd.Flags().BoolVar(&failed, "failed", false, "it has failed, for good: nobody tries again")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err == nil {
			err = c.ownSessionOr()
		}
		if err != nil {
			return err
		}
		data, _, err := value.read(c, args[1:])
		if err != nil {
			return err
		}
		a, err := c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) {
			return c.api.CompleteOnceWithBody(ctx, n, &client.CompleteOnceParams{Failed: ptr(failed)}, octets, body(data))
		})
		if err != nil || !c.asJSON {
			return err
		}
		return c.json(a.body)
	}, value.declare, withSession, withFences, withKey)
}

func (o *Options) abandonOnceCommand() *cobra.Command {
	var key string
	cmd := &cobra.Command{Use: "abandon NAME", Short: "Let somebody else run it", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("once")}
	cmd.Flags().StringVar(&key, "key", "", "the run that is meant (none: the one of the session)")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err == nil {
			err = c.ownSessionOr()
		}
		if err != nil {
			return err
		}
		_, err = c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) {
			return c.api.AbandonOnce(ctx, n, nil, client.OnceRef{Key: ptr(key)})
		})
		return err
	}, withSession, withKey)
}

func (o *Options) showOnceCommand() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use: "show NAME", Aliases: []string{"get"}, Short: "Show a run, and its result", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("once"),
	}
	cmd.Flags().StringVar(&key, "key", "", "the run that is meant (none: the last one)")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		var s client.OnceState
		a, err := c.ask(ctx, &s, func(ctx context.Context) (*http.Response, error) {
			return c.api.GetOnce(ctx, n, &client.GetOnceParams{Key: ptr(key), Include: &client.Include{client.DetailText}})
		})
		if err != nil {
			return err
		}
		return c.show(a, func() error {
			who := ""
			if s.Holder != nil {
				who = deref(s.Holder.Owner)
			}
			return c.fields("name", s.Name, "key", s.Key, "state", s.State, "attempts", fmt.Sprint(s.Attempts), "runner", who,
				"completed", shortTime(s.CompletedAt, ""), "next", shortTime(s.NextAt, ""), "result", brief(valueOf(s.Data, s.Text)))
		})
	}, withLocal)
}

func (o *Options) forgetOnceCommand() *cobra.Command {
	var key string
	cmd := o.onName("forget NAME", "Forget a run, so that it can be done anew", "once",
		func(ctx context.Context, c *conn, name string) (*http.Response, error) {
			return c.api.ForgetOnce(ctx, name, &client.ForgetOnceParams{Key: ptr(key)})
		})
	cmd.Flags().StringVar(&key, "key", "", "the run that is meant")
	return cmd
}
