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

func (o *Options) queueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "queue", Short: "Put, claim, ack and look at messages",
		Example: `  perch queue put jobs 'what is to be done'
  perch queue claim jobs --ttl 5m --wait 20s -o json   # with the receipt that ack takes
  perch queue ack jobs RECEIPT`,
	}
	return parent(cmd, o.putMessageCommand(), o.claimCommand(),
		o.receiptsCommand("ack NAME RECEIPT...", "Say that messages are done", func(ctx context.Context, c *conn, name string, receipts []string, _ time.Duration) (*http.Response, error) {
			return c.api.AckMessages(ctx, name, nil, client.AckSpec{Receipts: receipts})
		}, ""),
		o.receiptsCommand("nack NAME RECEIPT...", "Give messages back, for others to claim", func(ctx context.Context, c *conn, name string, receipts []string, delay time.Duration) (*http.Response, error) {
			return c.api.NackMessages(ctx, name, nil, client.NackSpec{Receipts: receipts, DelayMs: ms(delay)})
		}, "delay"),
		o.receiptsCommand("extend NAME RECEIPT...", "Claim messages for longer", func(ctx context.Context, c *conn, name string, receipts []string, ttl time.Duration) (*http.Response, error) {
			return c.api.ExtendMessages(ctx, name, nil, client.ExtendSpec{Receipts: receipts, TTLMs: ttl.Milliseconds()})
		}, "ttl"),
		o.peekCommand(), o.showQueueCommand(), o.configureQueueCommand(), o.redriveCommand(), o.deleteQueueCommand(),
		o.namesCommand(func(ctx context.Context, c *conn, prefix, page *string) (*http.Response, error) {
			return c.api.ListQueues(ctx, &client.ListQueuesParams{Prefix: prefix, PageToken: page, Limit: ptr(pageOf)})
		}))
}

func (o *Options) putMessageCommand() *cobra.Command {
	var value source
	var priority int32
	var delay time.Duration
	cmd := &cobra.Command{
		Use: "put NAME [VALUE]", Aliases: []string{"enqueue"}, Short: "Put a message into a queue, and print its id", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: o.completeName("queues"),
	}
	cmd.Flags().Int32Var(&priority, "priority", 0, "lower numbers are claimed first")
	cmd.Flags().Var(&span{&delay}, "delay", "before it can be claimed")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		data, err := value.must(c, args[1:])
		if err != nil {
			return err
		}
		var put client.Enqueued
		a, err := c.ask(ctx, &put, func(ctx context.Context) (*http.Response, error) {
			return c.api.EnqueueWithBody(ctx, n, &client.EnqueueParams{DelayMs: ms(delay), Priority: ptr(priority)}, octets, body(data))
		})
		if err != nil {
			return err
		}
		return c.show(a, func() error { return c.line("%d", put.ID) })
	}, value.declare, withSession, withFences, withKey)
}

func (o *Options) claimCommand() *cobra.Command {
	w := wanted{ttl: ttlDefault}
	var count int32
	cmd := &cobra.Command{
		Use: "claim NAME", Short: "Take messages, until they are acked or their time is over", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("queues"),
		Long: `Take messages. Each is nobody else's until it is acked, or given back, or the time of the claim is over.
Exit code 75 when there was none in time. With -o json the answer of /v1/queues/NAME/claim, values as text where they are UTF-8.`,
	}
	f := cmd.Flags()
	f.Int32Var(&count, "count", 1, "at most so many")
	f.VarP(&span{&w.ttl}, "ttl", "t", "how long the claim lasts (1s to 24h)")
	f.Var(&span{&w.wait}, "wait", "how long to wait for a message (0: not at all; below 0: for ever)")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		if err := checkTTL(w.ttl); err != nil {
			return err
		}
		return c.claim(ctx, n, count, &w)
	}, withSession, withKey)
}

// claim asks until there is a message. Each request has a key of its own, under
// which the claim of an answer that was lost is found again.
func (c *conn) claim(ctx context.Context, n string, count int32, w *wanted) error {
	for began := time.Now(); ; {
		poll, sent := w.perPoll(began), time.Now()
		var claim client.Claim
		a, err := c.askFor(ctx, poll, &claim, func(ctx context.Context) (*http.Response, error) {
			return c.api.ClaimMessages(ctx, n, &client.ClaimMessagesParams{Include: &client.Include{client.DetailText}},
				client.ClaimSpec{Count: ptr(count), TTLMs: ms(w.ttl), WaitMs: ms32(poll)})
		})
		switch {
		case err != nil && (w.wait >= 0 || exit.CodeOf(err) != exit.Unavailable || ctx.Err() != nil):
			return err
		case err == nil && len(claim.Messages) > 0:
			return c.show(a, func() error { return c.messages(claim.Messages) })
		case w.over(began):
			return notObtained("there is no message in %s", n)
		}
		breathe(ctx, sent)
	}
}

func (c *conn) messages(list []client.Message) error {
	var rows [][]string
	for i := range list {
		m := &list[i]
		rows = append(rows, []string{strconv.FormatInt(m.ID, 10), m.Receipt, fmt.Sprint(m.Attempts), milliseconds(&m.RemainingMs), brief(valueOf(m.Data, m.Text))})
	}
	return c.table([]string{"ID", "RECEIPT", "ATTEMPT", "REMAINING", "VALUE"}, rows)
}

// receiptsCommand does something with messages that were claimed; flag is its
// time, if it takes one.
func (o *Options) receiptsCommand(use, short string, do func(ctx context.Context, c *conn, name string, receipts []string, d time.Duration) (*http.Response, error), flag string) *cobra.Command {
	var d time.Duration
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.MinimumNArgs(2), ValidArgsFunction: o.completeName("queues"),
		Long: short + ".\nExit code 76 when one of the claims is over; the others count all the same.",
	}
	switch flag {
	case "delay":
		cmd.Flags().Var(&span{&d}, "delay", "before they can be claimed again")
	case "ttl":
		d = ttlDefault
		cmd.Flags().VarP(&span{&d}, "ttl", "t", "how long the claim lasts from now on (1s to 24h)")
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		a, err := c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) { return do(ctx, c, n, args[1:], d) })
		var r *refusal
		if errors.As(err, &r) && r.Receipts != nil {
			for _, lost := range r.Receipts.Lost {
				c.note("lost: %s", lost)
			}
		}
		if err != nil || !c.asJSON {
			return err
		}
		return c.json(a.body)
	}, withFences, withKey)
}

func (o *Options) peekCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "peek NAME", Short: "List the messages of a queue, claimed or not", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("queues")}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		return list(ctx, c, "messages", func(ctx context.Context, page *string) (*http.Response, error) {
			return c.api.PeekMessages(ctx, n, &client.PeekMessagesParams{PageToken: page, Include: &client.Include{client.DetailText}})
		}, []string{"ID", "STATE", "ATTEMPTS", "PRIORITY", "SINCE", "VALUE"}, func(m client.QueuedMessage) []string {
			return []string{strconv.FormatInt(m.ID, 10), m.State, fmt.Sprint(m.Attempts), number(m.Priority), shortTime(m.EnqueuedAt, ""), brief(valueOf(m.Data, m.Text))}
		})
	}, withLocal)
}

func (o *Options) showQueueCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "show NAME", Aliases: []string{"get"}, Short: "Show how many messages a queue has", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("queues")}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		return c.queue(ctx, func(ctx context.Context) (*http.Response, error) { return c.api.GetQueue(ctx, n, nil) })
	}, withLocal)
}

func (c *conn) queue(ctx context.Context, do call) error {
	var q client.QueueState
	a, err := c.ask(ctx, &q, do)
	if err != nil {
		return err
	}
	return c.show(a, func() error {
		return c.fields("name", q.Name, "ready", fmt.Sprint(q.Ready), "claimed", fmt.Sprint(q.Leased), "delayed", fmt.Sprint(q.Delayed),
			"oldest", milliseconds(q.OldestMs), "max attempts", number(q.MaxAttempts), "dead letters go to", deref(q.DeadLetter))
	})
}

func (o *Options) configureQueueCommand() *cobra.Command {
	var attempts int32
	var dead string
	cmd := &cobra.Command{
		Use: "config NAME", Short: "Say after how many claims a message is put aside, and where", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completeName("queues"),
	}
	cmd.Flags().Int32Var(&attempts, "max-attempts", 0, "a message that comes back after so many claims is put aside (0: never)")
	cmd.Flags().StringVar(&dead, "dead-letter", "", "the queue that it goes to (none: NAME.dead)")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		return c.queue(ctx, func(ctx context.Context) (*http.Response, error) {
			return c.api.ConfigureQueue(ctx, n, nil, client.QueueSpec{MaxAttempts: &attempts, DeadLetter: ptr(dead)})
		})
	}, withFences, withKey)
}

func (o *Options) redriveCommand() *cobra.Command {
	var limit int32
	cmd := &cobra.Command{
		Use: "redrive NAME TO", Short: "Move messages to another queue, such as dead letters back", Args: cobra.ExactArgs(2), ValidArgsFunction: o.completeName("queues"),
		Long: "Move messages that can be claimed to another queue, and print how many were moved: as many as one transaction takes.",
	}
	cmd.Flags().Int32Var(&limit, "limit", 0, "at most so many (0: as many as one transaction may)")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		var moved client.Redriven
		a, err := c.ask(ctx, &moved, func(ctx context.Context) (*http.Response, error) {
			return c.api.RedriveMessages(ctx, n, nil, client.Redrive{To: args[1], Limit: ptr(limit)})
		})
		if err != nil {
			return err
		}
		return c.show(a, func() error { return c.line("%d", moved.Moved) })
	}, withFences, withKey)
}

func (o *Options) deleteQueueCommand() *cobra.Command {
	var force bool
	cmd := o.onName("delete NAME", "Delete a queue", "queues", func(ctx context.Context, c *conn, name string) (*http.Response, error) {
		return c.api.DeleteQueue(ctx, name, &client.DeleteQueueParams{Force: ptr(force)})
	}, withFences)
	cmd.Flags().BoolVar(&force, "force", false, "with the messages in it")
	return cmd
}
