package cli

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perch/gen/client"
)

func declareLock(w *wanted, f *pflag.FlagSet) {
	f.BoolVar(&w.shared, "shared", false, "share the lock with others that share it")
	f.Var(&span{&w.delay}, "delay", "when this hold expires, nobody gets the lock for so much longer")
}

func (o *Options) lockCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "lock NAME [flags] -- COMMAND [ARGUMENT]...", Short: "Run a command under a lock; take, show and break locks",
		Long: "Run a command while a lock is held (perch lock run NAME is the same, for any name).",
		Example: `  perch lock nightly -- ./job
  perch lock nightly --wait 0 -- ./job            # not at all if somebody else runs it: exit code 75

  export PERCH_SESSION=$(perch session create --ttl 1m)
  TOKEN=$(perch lock acquire nightly --wait 20s)  # and later
  perch set /app/report done --fence nightly:$TOKEN
  perch lock release nightly`,
	}
	run := &cobra.Command{Use: "run NAME [flags] -- COMMAND [ARGUMENT]...", Short: "Run a command under a lock", Long: "Run a command while a lock is held."}
	return parent(o.holdRunCommand(&locks, cmd, "lock", declareLock),
		o.holdRunCommand(&locks, run, "lock run", declareLock),
		o.acquireCommand(&locks, &cobra.Command{
			Use: "acquire NAME...", Short: "Take a lock, or several at once: all or none, under one token", Args: cobra.MinimumNArgs(1),
		}, declareLock),
		o.renewCommand(&locks),
		o.releaseCommand(&locks, "release NAME...", "Release locks, or leave their queues", cobra.MinimumNArgs(1)),
		o.revokeCommand(),
		o.stateCommand(&locks, func(ctx context.Context, c *conn, name string) (*http.Response, error) {
			return c.api.GetLock(ctx, name, nil)
		}),
		o.listStatesCommand(func(ctx context.Context, c *conn, prefix, page *string) (*http.Response, error) {
			return c.api.ListLocks(ctx, &client.ListLocksParams{Prefix: prefix, PageToken: page, Limit: ptr(pageOf)})
		}),
		o.onName("break NAME", "End all holds of a lock, whoever has them (admin)", "locks",
			func(ctx context.Context, c *conn, name string) (*http.Response, error) {
				return c.api.BreakLock(ctx, name, nil)
			}))
}

func (o *Options) revokeCommand() *cobra.Command {
	var reason string
	var after time.Duration
	cmd := &cobra.Command{
		Use: "revoke NAME", Short: "Ask the holders of a lock to give it up", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("locks"),
		Long: "Ask the holders of a lock to give it up: their next renewal tells them. With --break-after it is taken from them then (admin).",
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the holders")
	cmd.Flags().Var(&span{&after}, "break-after", "take it from those who hold it still after so long (0: never)")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		var s client.LockState
		a, err := c.ask(ctx, &s, func(ctx context.Context) (*http.Response, error) {
			return c.api.RevokeLock(ctx, n, nil, client.RevokeSpec{Reason: ptr(reason), BreakAfterMs: ms(after)})
		})
		if err != nil {
			return err
		}
		return c.show(a, func() error { return c.lockState(&s) })
	}, withKey)
}

func declareSemaphore(w *wanted, f *pflag.FlagSet) {
	f.Int32Var(&w.limit, "limit", 0, "how many permits there are; all who use it say the same")
	f.Int32Var(&w.permits, "permits", 1, "how many are wanted")
}

func (o *Options) semCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "sem NAME --limit N [flags] -- COMMAND [ARGUMENT]...", Aliases: []string{"semaphore"},
		Short:   "Run a command with a permit of a semaphore; take, show and break permits",
		Long:    "Run a command while a permit of a semaphore is held (perch sem run NAME is the same, for any name).",
		Example: "  perch sem downloads --limit 3 -- ./download",
	}
	run := &cobra.Command{Use: "run NAME --limit N [flags] -- COMMAND [ARGUMENT]...", Short: "Run a command with a permit",
		Long: "Run a command while a permit of a semaphore is held."}
	return parent(o.holdRunCommand(&semaphores, cmd, "sem", declareSemaphore),
		o.holdRunCommand(&semaphores, run, "sem run", declareSemaphore),
		o.acquireCommand(&semaphores, &cobra.Command{
			Use: "acquire NAME --limit N", Short: "Take permits of a semaphore", Args: cobra.ExactArgs(1),
		}, declareSemaphore),
		o.renewCommand(&semaphores),
		o.releaseCommand(&semaphores, "release NAME", "Give permits back, or leave the queue", cobra.ExactArgs(1)),
		o.stateCommand(&semaphores, func(ctx context.Context, c *conn, name string) (*http.Response, error) {
			return c.api.GetSemaphore(ctx, name, nil)
		}),
		o.listStatesCommand(func(ctx context.Context, c *conn, prefix, page *string) (*http.Response, error) {
			return c.api.ListSemaphores(ctx, &client.ListSemaphoresParams{Prefix: prefix, PageToken: page, Limit: ptr(pageOf)})
		}),
		o.onName("break NAME", "End all holds of a semaphore, whoever has them (admin)", "semaphores",
			func(ctx context.Context, c *conn, name string) (*http.Response, error) {
				return c.api.BreakSemaphore(ctx, name, nil)
			}))
}

func declareElection(w *wanted, f *pflag.FlagSet) {
	f.StringVar(&w.value, "value", "", "what everybody is told of the leader, such as its address")
}

func (o *Options) electCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "elect NAME [flags] -- COMMAND [ARGUMENT]...", Aliases: []string{"election"},
		Short: "Run a command while this process is the elected one; campaign, show and resign",
		Long:  "Stand for leader, and run a command for as long as the leadership lasts (perch elect run NAME is the same, for any name).",
		Example: `  perch elect scheduler --value 10.0.0.7:80 -- ./scheduler
  perch elect show scheduler      # who leads`,
	}
	run := &cobra.Command{Use: "run NAME [flags] -- COMMAND [ARGUMENT]...", Short: "Run a command as the leader",
		Long: "Stand for leader, and run a command for as long as the leadership lasts."}
	return parent(o.holdRunCommand(&elections, cmd, "elect", declareElection),
		o.holdRunCommand(&elections, run, "elect run", declareElection),
		o.acquireCommand(&elections, &cobra.Command{
			Use: "campaign NAME", Aliases: []string{"acquire"}, Short: "Stand for leader", Args: cobra.ExactArgs(1),
		}, declareElection),
		o.renewCommand(&elections),
		o.releaseCommand(&elections, "resign NAME", "Resign, or withdraw from the queue", cobra.ExactArgs(1)),
		o.proclaimCommand(), o.leaderCommand(),
		o.namesCommand(func(ctx context.Context, c *conn, prefix, page *string) (*http.Response, error) {
			return c.api.ListElections(ctx, &client.ListElectionsParams{Prefix: prefix, PageToken: page, Limit: ptr(pageOf)})
		}))
}

func (o *Options) proclaimCommand() *cobra.Command {
	var ref holdRef
	cmd := &cobra.Command{
		Use: "proclaim NAME VALUE", Short: "Change the value that everybody is told of the leader", Args: cobra.ExactArgs(2), ValidArgsFunction: o.completeName("elections"),
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err == nil {
			err = c.ownSessionOr()
		}
		if err != nil {
			return err
		}
		a, err := c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) {
			return c.api.Proclaim(ctx, n, nil, client.Proclamation{Value: args[1], FencingToken: ptr(ref.fencing)})
		})
		if err != nil || !c.asJSON {
			return err
		}
		return c.json(a.body)
	}, withSession, withFences, withKey, ref.declare)
}

func (o *Options) leaderCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "show NAME", Aliases: []string{"leader", "get"}, Short: "Show who leads", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("elections"),
		Long: "Show who leads. With -w it then waits for the next change, and shows that.",
	}
	cmd.Flags().BoolVarP(&wait, "watch", "w", false, "then wait for the next change, and show that, too")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		tag, err := c.leader(ctx, n)
		if err != nil || !wait {
			return err
		}
		if _, err = c.follow(ctx, tag, func(ctx context.Context, tag string, waitMs int32) (*http.Response, error) {
			return c.api.GetLeader(ctx, n, &client.GetLeaderParams{IfNoneMatch: &tag, WaitMs: &waitMs})
		}); err != nil {
			return err
		}
		_, err = c.leader(ctx, n)
		return err
	}, withLocal)
}

// leader shows an election, and returns its tag.
func (c *conn) leader(ctx context.Context, n string) (tag string, err error) {
	var l client.Leadership
	a, err := c.ask(ctx, &l, func(ctx context.Context) (*http.Response, error) { return c.api.GetLeader(ctx, n, nil) })
	if err != nil {
		return "", err
	}
	return a.tag(), c.show(a, func() error {
		who, session := "(nobody)", ""
		if l.Leader != nil {
			who, session = deref(l.Leader.Owner), strconv.FormatInt(l.Leader.SessionID, 10)
		}
		return c.fields("name", l.Name, "leader", who, "value", deref(l.Value), "token", number(l.FencingToken), "session", session,
			"since", shortTime(l.Since, ""), "candidates", strconv.Itoa(int(l.Candidates)))
	})
}
