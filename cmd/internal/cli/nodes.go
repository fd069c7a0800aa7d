package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

const octets = "application/octet-stream"

func (o *Options) getCommand() *cobra.Command {
	var stat, wait bool
	cmd := &cobra.Command{
		Use: "get PATH", Short: "Print the value of a node", Args: cobra.ExactArgs(1),
		Long: `Print the value of a node, byte for byte; only on a terminal a line end is added, and what could do harm is quoted.
With -o json it is the node of /v1/stat with its value: text, or data (base64) when it is not UTF-8.`,
		Example: `  perch get /app/config > config.yaml
  perch get -w /app/color   # the value, and the next one as soon as somebody writes it`,
		ValidArgsFunction: o.completePath,
	}
	cmd.Flags().BoolVarP(&stat, "stat", "s", false, "then show what is known of the node")
	cmd.Flags().BoolVarP(&wait, "watch", "w", false, "then wait for the next change, and print that value, too")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(args[0])
		if err != nil {
			return err
		}
		tag, err := c.get(ctx, at, stat)
		if err != nil || !wait {
			return err
		}
		_, err = c.follow(ctx, tag, func(ctx context.Context, tag string, waitMs int32) (*http.Response, error) {
			return c.api.HeadNode(ctx, at, &client.HeadNodeParams{IfNoneMatch: &tag, WaitMs: &waitMs})
		})
		if err != nil {
			return err
		}
		_, err = c.get(ctx, at, stat)
		return err
	}, withLocal)
}

// get prints a value, and returns the tag of the node.
func (c *conn) get(ctx context.Context, at string, stat bool) (tag string, err error) {
	var n client.Node
	if !c.asJSON && !stat {
		a, err := c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.ReadNode(ctx, at, nil) })
		if err != nil {
			return "", err
		}
		return a.tag(), c.value(a.body)
	}
	detail := client.DetailText
	if !c.asJSON {
		detail = client.DetailData
	}
	a, err := c.ask(ctx, &n, func(ctx context.Context) (*http.Response, error) {
		return c.api.StatNode(ctx, at, &client.StatNodeParams{Include: &client.Include{detail}})
	})
	if err != nil {
		return "", err
	}
	return n.Etag, c.show(a, func() error {
		value := valueOf(n.Data, n.Text)
		if err := c.value(value); err != nil {
			return err
		}
		if !c.seen && !bytes.HasSuffix(value, []byte("\n")) {
			fmt.Fprintln(c.out)
		}
		return c.stat(&n)
	})
}

func (o *Options) statCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "stat PATH", Aliases: []string{"exists"}, Short: "Show what is known of a node, beside its value", Args: cobra.ExactArgs(1),
		Long: `Show what is known of a node: ZooKeeper's Stat, and the etag by which --etag makes sure that it is still the same.
With -w it then waits until the node changes, and shows it anew; a node that does not exist is waited for.`,
		Example: "  perch stat -w /app/ready", ValidArgsFunction: o.completePath,
	}
	cmd.Flags().BoolVarP(&wait, "watch", "w", false, "then wait for the next change, and show that, too")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(args[0])
		if err != nil {
			return err
		}
		ask := func(ctx context.Context, tag string, waitMs int32) (*http.Response, error) {
			return c.api.StatNode(ctx, at, &client.StatNodeParams{IfNoneMatch: ptr(tag), WaitMs: ptr(waitMs)})
		}
		tag, err := c.statOnce(ctx, func(ctx context.Context) (*http.Response, error) { return ask(ctx, "", 0) })
		switch {
		case !wait:
			return err
		case codeOf(err) == "no_node":
			c.note("/%s does not exist; waiting for it", at)
			tag = `"absent"`
		case err != nil:
			return err
		}
		if _, err = c.follow(ctx, tag, ask); err != nil {
			return err
		}
		_, err = c.statOnce(ctx, func(ctx context.Context) (*http.Response, error) { return ask(ctx, "", 0) })
		return err
	}, withLocal)
}

// statOnce shows a node, and returns the tag of what it showed.
func (c *conn) statOnce(ctx context.Context, do call) (tag string, err error) {
	var n client.Node
	a, err := c.ask(ctx, &n, do)
	if err != nil {
		return "", err
	}
	return a.tag(), c.show(a, func() error { return c.stat(&n) })
}

func (c *conn) stat(n *client.Node) error {
	s := &n.Stat
	owner := ""
	if s.EphemeralOwner != 0 {
		owner = fmt.Sprint(s.EphemeralOwner)
	}
	return c.fields("path", n.Path, "etag", n.Etag, "version", fmt.Sprint(s.Version), "bytes", fmt.Sprint(s.DataLength),
		"children", fmt.Sprint(s.NumChildren), "mode", modeOf(s), "owner", owner, "created", s.Ctime.UTC().Format(time.RFC3339Nano),
		"changed", s.Mtime.UTC().Format(time.RFC3339Nano), "czxid", fmt.Sprint(s.Czxid), "mzxid", fmt.Sprint(s.Mzxid), "pzxid", fmt.Sprint(s.Pzxid),
		"cversion", fmt.Sprint(s.Cversion), "aversion", fmt.Sprint(s.Aversion))
}

// change is one `perch set`.
type change struct {
	value               source
	stat, make, parents bool
	version             int64
	etag                string
}

func (o *Options) setCommand() *cobra.Command {
	var n change
	cmd := &cobra.Command{
		Use: "set PATH [VALUE]", Short: "Change the value of a node", Args: cobra.RangeArgs(1, 2),
		Long: `Change the value of a node that exists; with --create make it if it does not. With -v or --etag only if nobody
has changed it meanwhile: exit code 4 otherwise.`,
		Example: `  perch set /app/color green
  perch set --create -p -f app.yaml /app/config
  perch set -v 3 /app/color red`,
		ValidArgsFunction: o.completePath,
	}
	f := cmd.Flags()
	f.BoolVarP(&n.stat, "stat", "s", false, "show what is known of the node then")
	f.Int64VarP(&n.version, "version", "v", -1, "only if the value has this version")
	f.StringVar(&n.etag, "etag", "", "only if the node has this etag")
	f.BoolVar(&n.make, "create", false, "create the node if it does not exist")
	f.BoolVarP(&n.parents, "parents", "p", false, "with --create: make the parents that are missing")
	cmd.MarkFlagsMutuallyExclusive("version", "etag", "create")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(args[0])
		if err != nil {
			return err
		}
		data, err := n.value.must(c, args[1:])
		if err != nil {
			return err
		}
		return n.run(ctx, c, at, data)
	}, n.value.declare, withSession, withFences, withKey)
}

func (n *change) run(ctx context.Context, c *conn, at string, data []byte) error {
	params := client.PutNodeParams{Parents: ptr(n.parents), IfMatch: ptr(n.etag)}
	switch {
	case n.version >= 0:
		params.Version = &n.version
	case n.etag == "" && !n.make:
		params.IfMatch = ptr("*")
	}
	var changed client.Node
	a, err := c.ask(ctx, &changed, func(ctx context.Context) (*http.Response, error) {
		return c.api.PutNodeWithBody(ctx, at, &params, octets, body(data))
	})
	if codeOf(err) == "etag_mismatch" && n.etag == "" { // any tag would have done
		return &exit.Error{Code: exit.NotFound, Err: fmt.Errorf("no_node: the node /%s does not exist", at), Hint: "--create creates it"}
	}
	if err != nil || !n.stat && !c.asJSON {
		return err
	}
	return c.show(a, func() error { return c.stat(&changed) })
}

func (o *Options) deleteCommand() *cobra.Command {
	return o.deleting(&cobra.Command{
		Use: "delete PATH...", Aliases: []string{"rm"}, Short: "Delete a node, or with -r all of a subtree", Args: cobra.MinimumNArgs(1),
		Long: `Delete nodes, one after the other; perch multi deletes several at one position. With -r everything below goes with
a node, at one position.`,
		Example: "  perch delete -v 3 /app/color\n  perch delete -r /app", ValidArgsFunction: o.completePath,
	}, false)
}

// deleteAllCommand is for fingers that know zkCli.
func (o *Options) deleteAllCommand() *cobra.Command {
	return o.deleting(&cobra.Command{
		Use: "deleteall PATH...", Aliases: []string{"rmr"}, Short: "Delete a subtree: perch delete -r", Args: cobra.MinimumNArgs(1), Hidden: true,
		ValidArgsFunction: o.completePath,
	}, true)
}

func (o *Options) deleting(cmd *cobra.Command, recursive bool) *cobra.Command {
	var version int64
	var etag string
	f := cmd.Flags()
	f.BoolVarP(&recursive, "recursive", "r", recursive, "delete everything below, too")
	f.Int64VarP(&version, "version", "v", -1, "only if the value has this version")
	f.StringVar(&etag, "etag", "", "only if the node has this etag")
	cmd.MarkFlagsMutuallyExclusive("version", "etag")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		params := client.DeleteNodeParams{Recursive: ptr(recursive), IfMatch: ptr(etag)}
		if version >= 0 {
			params.Version = &version
		}
		if (version >= 0 || etag != "") && len(args) > 1 {
			return exit.UsageError(errors.New("-v and --etag are of one node: give one path"))
		}
		for _, arg := range args {
			at, err := o.path(arg)
			if err != nil {
				return err
			}
			if _, err = c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) {
				return c.api.DeleteNode(ctx, at, &params)
			}); err != nil {
				return err
			}
		}
		return nil
	}, withSession, withFences, withKey)
}

// body is bytes that can be sent more than once.
func body(data []byte) io.Reader { return bytes.NewReader(data) }
