package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"perch/gen/client"
)

var lsExample = `  perch ls /app             # the children of /app, one a line
  perch ls -R /app          # everything at and below it, as full paths
  perch ls -s -w /app       # with versions and sizes; then again as soon as a child comes or goes`

func (o *Options) lsCommand() *cobra.Command {
	var long, deep, wait bool
	cmd := &cobra.Command{
		Use: "ls [PATH]", Aliases: []string{"ls2"}, Short: "List the children of a node", Args: cobra.MaximumNArgs(1),
		Long: `List the children of a node, by name. With -o json one array; its entries are those of /v1/children,
or with -R of /v1/tree.`, Example: lsExample, ValidArgsFunction: o.completePath,
	}
	f := cmd.Flags()
	f.BoolVarP(&long, "stat", "s", false, "show version, size, children, mode and time of each")
	f.BoolVarP(&deep, "recursive", "R", false, "everything at and below the node, as full paths")
	f.BoolVarP(&wait, "watch", "w", false, "then wait until a child comes or goes, and list once more")
	cmd.MarkFlagsMutuallyExclusive("recursive", "watch")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(strings.Join(args, ""))
		if err != nil {
			return err
		}
		l := lister{c: c, at: at, long: long}
		if deep {
			return l.tree(ctx)
		}
		if !wait {
			return l.children(ctx)
		}
		return l.twice(ctx)
	}, withLocal)
}

// lister is one list of nodes.
type lister struct {
	c    *conn
	at   string
	long bool
}

const pageOf int32 = 1000

// children lists once.
func (l *lister) children(ctx context.Context) error {
	params := client.ListChildrenParams{Limit: ptr(pageOf)}
	if l.long {
		params.Include = &client.Include{client.DetailStat}
	}
	return l.print(ctx, func(ctx context.Context, page *string) (*http.Response, error) {
		params.PageToken = page
		return l.c.api.ListChildren(ctx, l.at, &params)
	}, path.Base)
}

// twice lists, waits for a change and lists anew. The tag is taken first: what
// changes while it lists counts, too.
func (l *lister) twice(ctx context.Context) error {
	params := client.ListChildrenParams{Limit: ptr[int32](1)} // a list with stat has no tag
	a, err := l.c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) { return l.c.api.ListChildren(ctx, l.at, &params) })
	if err != nil {
		return err
	}
	if err := l.children(ctx); err != nil {
		return err
	}
	if _, err = l.c.follow(ctx, a.tag(), func(ctx context.Context, tag string, waitMs int32) (*http.Response, error) {
		params.IfNoneMatch, params.WaitMs = &tag, &waitMs
		return l.c.api.ListChildren(ctx, l.at, &params)
	}); err != nil {
		return err
	}
	return l.children(ctx)
}

// tree lists what is at and below.
func (l *lister) tree(ctx context.Context) error {
	params := client.ListTreeParams{Limit: ptr(pageOf)}
	if l.long {
		params.Include = &client.Include{client.DetailStat}
	}
	return l.print(ctx, func(ctx context.Context, page *string) (*http.Response, error) {
		params.PageToken = page
		return l.c.api.ListTree(ctx, l.at, &params)
	}, func(full string) string { return full })
}

// print lists as many pages as there are, each node by what shown makes of its path.
func (l *lister) print(ctx context.Context, get func(ctx context.Context, page *string) (*http.Response, error), shown func(string) string) error {
	whole, rows := []json.RawMessage{}, [][]string{}
	err := pages(ctx, l.c, "nodes", get, func(raw json.RawMessage, n client.Child) error {
		switch {
		case l.c.asJSON:
			whole = append(whole, raw)
		case l.long:
			rows = append(rows, append(statRow(n.Stat), shown(n.Path)))
		default:
			return l.c.line("%s", shown(n.Path))
		}
		return nil
	})
	switch {
	case err != nil:
	case l.c.asJSON:
		err = l.c.jsonList(whole)
	case l.long:
		err = l.c.table([]string{"VERSION", "BYTES", "CHILDREN", "MODE", "CHANGED", "NAME"}, rows)
	}
	return err
}

func statRow(s *client.Stat) []string {
	if s == nil {
		s = &client.Stat{}
	}
	return []string{strconv.FormatInt(s.Version, 10), strconv.Itoa(int(s.DataLength)), strconv.Itoa(int(s.NumChildren)),
		modeOf(s), shortTime(&s.Mtime, "")}
}

// modeOf is what ends the node, with how long it takes.
func modeOf(s *client.Stat) string {
	text := deref(s.Mode)
	if text == "" {
		text = "persistent"
	}
	if s.TTLMs != nil {
		text += " " + milliseconds(s.TTLMs)
	}
	return text
}

func (o *Options) treeCommand() *cobra.Command {
	var depth int32
	var data bool
	cmd := &cobra.Command{
		Use: "tree [PATH]", Short: "Show a subtree, indented", Args: cobra.MaximumNArgs(1),
		Long:    "Show a subtree, all of it at one position. With -o json one array; its entries are those of /v1/tree.",
		Example: "  perch tree -d --depth 2 /app", ValidArgsFunction: o.completePath,
	}
	cmd.Flags().Int32Var(&depth, "depth", 0, "so many levels below the node (0: all)")
	cmd.Flags().BoolVarP(&data, "data", "d", false, "show the values, too")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(strings.Join(args, ""))
		if err != nil {
			return err
		}
		params := client.ListTreeParams{Limit: ptr(pageOf), Depth: ptr(depth)}
		if data {
			params.Include = &client.Include{client.DetailText}
		}
		return c.tree(ctx, at, &params)
	}, withLocal)
}

func (c *conn) tree(ctx context.Context, at string, params *client.ListTreeParams) error {
	whole := []json.RawMessage{}
	top := strings.Count(strings.Trim("/"+at, "/"), "/")
	if at == "" {
		top = -1
	}
	err := pages(ctx, c, "nodes", func(ctx context.Context, page *string) (*http.Response, error) {
		params.PageToken = page
		return c.api.ListTree(ctx, at, params)
	}, func(raw json.RawMessage, n client.Child) error {
		if c.asJSON {
			whole = append(whole, raw)
			return nil
		}
		depth, shown := strings.Count(strings.Trim(n.Path, "/"), "/")-top, path.Base(n.Path)
		if n.Path == "/" {
			depth = 0
		}
		if depth == 0 {
			shown = n.Path
		}
		if value := valueOf(n.Data, n.Text); params.Include != nil && len(value) > 0 {
			shown += "  " + brief(value)
		}
		return c.line("%s%s", strings.Repeat("  ", depth), shown)
	})
	if err != nil || !c.asJSON {
		return err
	}
	return c.jsonList(whole)
}

// valueOf is a value that came as text or, not being UTF-8, as data.
func valueOf(data *[]byte, text *string) []byte {
	if text != nil {
		return []byte(*text)
	}
	if data != nil {
		return *data
	}
	return nil
}
