package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

// watcher is one `perch watch`.
type watcher struct {
	at             string
	below, subtree bool
	since          string
	count          int
	within         time.Duration // 0: for ever

	seen int
}

func (o *Options) watchCommand() *cobra.Command {
	var w watcher
	cmd := &cobra.Command{
		Use: "watch [PATH]", Aliases: []string{"addWatch"}, Short: "Print the events of a node, or of a subtree, as they happen",
		Args: cobra.MaximumNArgs(1),
		Long: `Print what happens to a node, with -R to everything at and below it: every event, in order, none missing and none
twice, also while nodes and gateways go and come. It goes on until it is told to end (Ctrl-C), and then says with which
--since another watch goes on. The node need not exist.

With -o json each event is one line, as in /v1/watch. Without --count the end of --timeout is exit code 0; with it the
code is 75 when there were fewer events by then.`,
		Example: `  perch watch -R /app
  perch watch -R --since 0 --timeout 1s /app       # what happened so far, as far as it is kept
  perch watch --count 1 /app/color && echo changed`,
		ValidArgsFunction: o.completePath,
	}
	f := cmd.Flags()
	f.BoolVarP(&w.subtree, "recursive", "R", false, "everything at and below the node")
	f.BoolVar(&w.below, "children", false, "its children coming and going, instead of the node itself")
	f.StringVar(&w.since, "since", "", "from this cursor on: a zxid, or what a watch ended with (none: from now on)")
	f.IntVar(&w.count, "count", 0, "end after so many events (0: never)")
	f.Var(&span{&w.within}, "timeout", "end after so long (0: never)")
	cmd.MarkFlagsMutuallyExclusive("recursive", "children")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) (err error) {
		if w.count < 0 || w.within < 0 {
			return exit.UsageError(errors.New("--count and --timeout: must not be below 0"))
		}
		if w.at, err = o.path(first(args)); err != nil {
			return err
		}
		return w.run(ctx, c)
	})
}

// first is the argument, or nothing.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (w *watcher) run(ctx context.Context, c *conn) error {
	end := ctx
	if w.within > 0 {
		var cancel context.CancelFunc
		end, cancel = context.WithTimeout(ctx, w.within)
		defer cancel()
	}
	cursor, err := w.follow(end, c)
	if cursor != "" {
		c.note("the watch goes on with --since %s", cursor)
	}
	if err == nil && w.seen < w.count {
		return notObtained("%d of %d events", w.seen, w.count)
	}
	return err
}

// follow prints events until there were enough or the time is over, and returns
// the cursor that it came to. Once somebody has answered it outlives that nobody
// does.
func (w *watcher) follow(end context.Context, c *conn) (cursor string, err error) {
	cursor = w.since
	for answered, told := false, false; !w.done() && end.Err() == nil; {
		batch, err := w.poll(end, c, cursor)
		switch {
		case end.Err() != nil:
			return cursor, nil
		case answered && exit.CodeOf(err) == exit.Unavailable:
			if !told {
				c.note("%v; watching on", err)
			}
			told = true
			pauseFor(end, againLast)
			continue
		case err != nil && !answered:
			return "", err // nothing has begun that could go on
		case err != nil:
			return cursor, err
		}
		if !answered {
			c.note("watching /%s since %s", w.at, cmp.Or(w.since, batch.Cursor))
		}
		answered, told = true, false
		if cursor, err = w.print(c, batch); err != nil {
			return cursor, err
		}
	}
	return cursor, nil
}

func (w *watcher) done() bool { return w.count > 0 && w.seen >= w.count }

// eventBatch is client.EventBatch with its events as they came.
type eventBatch struct {
	Events []json.RawMessage
	Cursor string
}

// poll asks for the events behind cursor, and waits for one if there is none;
// without a cursor it asks where the watch begins.
func (w *watcher) poll(ctx context.Context, c *conn, cursor string) (*eventBatch, error) {
	scope, wait := client.WatchScopeNode, pollFor
	switch {
	case w.subtree:
		scope = client.WatchScopeSubtree
	case w.below:
		scope = client.WatchScopeChildren
	}
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	if cursor == "" {
		wait = 0
	}
	var batch eventBatch
	_, err := c.askFor(ctx, wait, &batch, func(ctx context.Context) (*http.Response, error) {
		return c.api.WatchNode(ctx, w.at, &client.WatchNodeParams{Scope: &scope, Since: ptr(cursor), WaitMs: ptr(int32(wait.Milliseconds()))})
	})
	return &batch, err
}

// print shows a batch, or as much of it as was asked for, and returns the cursor
// behind that. A transaction is not split, so it may be some events more.
func (w *watcher) print(c *conn, batch *eventBatch) (cursor string, err error) {
	last := int64(0)
	for _, raw := range batch.Events {
		var e client.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			return batch.Cursor, err
		}
		if w.done() && e.Zxid != last {
			return fmt.Sprint(last), nil
		}
		last = e.Zxid
		w.seen++
		if c.asJSON {
			err = c.jsonLine(raw)
		} else {
			err = c.line("%s", eventText(&e))
		}
		if err != nil {
			return batch.Cursor, err
		}
	}
	return batch.Cursor, nil
}

func eventText(e *client.Event) string {
	text := fmt.Sprintf("%-8s %s", e.Type, e.Path)
	if e.Stat != nil {
		text += fmt.Sprintf("  version %d, %d bytes", e.Stat.Version, e.Stat.DataLength)
	}
	if e.Cause != "request" {
		text += "  (" + e.Cause + ")"
	}
	return fmt.Sprintf("%s  zxid %d", text, e.Zxid)
}
