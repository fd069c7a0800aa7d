package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

// The commands that locks, semaphores and elections have in common.

// acquireCommand obtains what k is of.
func (o *Options) acquireCommand(k *kind, cmd *cobra.Command, more ...func(*wanted, *pflag.FlagSet)) *cobra.Command {
	var w wanted
	for _, declare := range more {
		declare(&w, cmd.Flags())
	}
	cmd.ValidArgsFunction = o.completeName(k.plural)
	cmd.Long = cmd.Short + `, in the session of --session or PERCH_SESSION, in perch shell in that of the shell, else
in one of its own. The fencing token alone goes to standard output; exit code 75 when it was not to be had in time.
With -o json the grant of the answer; it has session_token where the session is a new one.`
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		if err := w.check(k); err != nil {
			return err
		}
		if err := checkNames(args); err != nil {
			return err
		}
		drew, err := c.inSession(ctx)
		if err != nil {
			return err
		}
		var g client.Grant
		a, err := c.obtain(ctx, &w, &g, func(ctx context.Context, poll, stay time.Duration) (*http.Response, error) {
			return k.acquire(ctx, c, args, &w, poll, stay)
		})
		switch {
		case err != nil && ctx.Err() != nil && drew:
			return c.withdraw()
		case err != nil:
			return err
		}
		return c.grant(a, &g, drew)
	}, w.declareTTL, w.declareWait, withSession)
}

// withdraw ends the session of an acquisition that was interrupted: a place in a
// queue, or a grant whose answer was lost, goes with it.
func (c *conn) withdraw() error {
	s := ownSession{token: c.Session}
	if err := s.close(c); err != nil && exit.CodeOf(err) != exit.Gone {
		c.note("%v", err)
	}
	return &exit.Error{Code: exit.Interrupted, Err: errors.New("told to end before it was obtained")}
}

// renewCommand makes a hold longer, and proves it.
func (o *Options) renewCommand(k *kind) *cobra.Command {
	var ref holdRef
	cmd := &cobra.Command{
		Use: "renew NAME", Short: "Make sure that it is held still, and for how long", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName(k.plural),
		Long: "Renew a hold of the session, and print how many milliseconds it lasts now at least. Exit code 76 when it is lost.",
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err == nil {
			err = c.ownSessionOr()
		}
		if err != nil {
			return err
		}
		var g client.Grant
		a, err := c.ask(placed(ctx), &g, func(ctx context.Context) (*http.Response, error) {
			return k.renew(ctx, c, []string{n}, client.HolderRef{FencingToken: ptr(ref.fencing)})
		})
		if err != nil {
			return err
		}
		if g.RevokeRequested != nil && *g.RevokeRequested {
			c.note("somebody asks to give it up: %s", deref(g.RevokeReason))
		}
		return c.show(a, func() error { return c.line("%d", g.RemainingMs) })
	}, withSession, ref.declare)
}

// holdRef is which of the session's holds is meant.
type holdRef struct{ fencing int64 }

func (r *holdRef) declare(_ *config, f *pflag.FlagSet) {
	f.Int64Var(&r.fencing, "token", 0, "the fencing token of the hold that is meant (0: the one that the session has)")
}

// releaseCommand gives back what the session holds or waits for.
func (o *Options) releaseCommand(k *kind, use, short string, args cobra.PositionalArgs) *cobra.Command {
	var ref holdRef
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args, ValidArgsFunction: o.completeName(k.plural),
		Long: short + ". Doing it twice does no harm; exit code 76 when it was lost before.",
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		err := checkNames(args)
		if err == nil {
			err = c.ownSessionOr()
		}
		if err != nil {
			return err
		}
		_, err = c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) {
			return k.release(ctx, c, args, client.ReleaseRef{FencingToken: ptr(ref.fencing)})
		})
		return err
	}, withSession, withKey, ref.declare)
}

// ownSessionOr is needSession where that of the shell will do.
func (c *conn) ownSessionOr() error {
	if c.Session == "" && c.opt.own != nil {
		c.Session = c.opt.own.current()
	}
	return c.needSession()
}

// holdRunCommand runs a command while it holds.
func (o *Options) holdRunCommand(k *kind, cmd *cobra.Command, wordUsed string, more ...func(*wanted, *pflag.FlagSet)) *cobra.Command {
	g := guarded{kind: k}
	for _, declare := range more {
		declare(&g.want, cmd.Flags())
	}
	g.want.declareOwner(cmd.Flags(), process())
	cmd.Args = needCommand(wordUsed)
	cmd.Long += "\n" + guardHelp
	return o.asks(cmd, g.run, g.want.declareTTL, g.want.declareWaiting)
}

// stateCommand shows a lock or a semaphore.
func (o *Options) stateCommand(k *kind, get func(ctx context.Context, c *conn, name string) (*http.Response, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show NAME", Aliases: []string{"get"}, Short: "Show who holds it and how many wait", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName(k.plural),
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		var s client.LockState
		a, err := c.ask(ctx, &s, func(ctx context.Context) (*http.Response, error) { return get(ctx, c, n) })
		if err != nil {
			return err
		}
		return c.show(a, func() error { return c.lockState(&s) })
	}, withLocal)
}

func (c *conn) lockState(s *client.LockState) error {
	state := "free"
	if len(s.Holders) > 0 {
		state = "held"
	}
	revoke := ""
	if s.RevokeRequested != nil && *s.RevokeRequested {
		revoke = "asked for: " + deref(s.RevokeReason)
	}
	if err := c.fields("name", s.Name, "state", state, "holds", number(s.Held), "limit", number(s.Limit), "waiting", fmt.Sprint(s.Waiting), "revocation", revoke); err != nil || len(s.Holders) == 0 {
		return err
	}
	fmt.Fprintln(c.out)
	return c.table([]string{"TOKEN", "OWNER", "SESSION", "MODE", "PERMITS", "SINCE", "REMAINING"}, holderRows(s.Holders))
}

func holderRows(holders []client.Holder) (rows [][]string) {
	for i := range holders {
		h := &holders[i]
		rows = append(rows, []string{number(h.FencingToken), deref(h.Owner), strconv.FormatInt(h.SessionID, 10), deref(h.Mode),
			number(h.Permits), shortTime(h.Since, ""), milliseconds(h.RemainingMs)})
	}
	return rows
}

// listStatesCommand lists locks or semaphores that are in use.
func (o *Options) listStatesCommand(get func(ctx context.Context, c *conn, prefix, page *string) (*http.Response, error)) *cobra.Command {
	cmd := &cobra.Command{Use: "list [PREFIX]", Short: "List those that are held or waited for", Args: cobra.MaximumNArgs(1)}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		return list(ctx, c, "locks", func(ctx context.Context, page *string) (*http.Response, error) {
			return get(ctx, c, ptr(first(args)), page)
		}, []string{"NAME", "HOLDS", "WAITING", "HOLDERS"}, func(s client.LockState) []string {
			var who []string
			for i := range s.Holders {
				who = append(who, deref(s.Holders[i].Owner))
			}
			return []string{s.Name, number(s.Held), fmt.Sprint(s.Waiting), strings.Join(who, " ")}
		})
	}, withLocal)
}

// namesCommand lists those of the other kinds.
func (o *Options) namesCommand(get func(ctx context.Context, c *conn, prefix, page *string) (*http.Response, error)) *cobra.Command {
	cmd := &cobra.Command{Use: "list [PREFIX]", Short: "List the names in use", Args: cobra.MaximumNArgs(1)}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		return names(ctx, c, func(ctx context.Context, page *string) (*http.Response, error) {
			return get(ctx, c, ptr(first(args)), page)
		})
	}, withLocal)
}

// onName is a command about one name that has no answer.
func (o *Options) onName(use, short, plural string, do func(ctx context.Context, c *conn, name string) (*http.Response, error), more ...func(*config, *pflag.FlagSet)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName(plural)}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		a, err := c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) { return do(ctx, c, n) })
		if err != nil || !c.asJSON || a.status == http.StatusNoContent {
			return err
		}
		return c.json(a.body)
	}, append(more, withKey)...)
}

// parent makes a command that only has others below it. A word that is none of
// theirs is an error, not the help of the parent.
func parent(cmd *cobra.Command, below ...*cobra.Command) *cobra.Command {
	if cmd.RunE == nil {
		cmd.Args = WordBelow
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	cmd.AddCommand(below...)
	return cmd
}
