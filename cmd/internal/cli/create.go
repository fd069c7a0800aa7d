package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"perch/gen/client"
)

// creation is one `perch create`.
type creation struct {
	value                 source
	sequential, ephemeral bool
	container, parents    bool
	ttl                   time.Duration
	acl                   string
}

func (o *Options) createCommand() *cobra.Command {
	var n creation
	cmd := &cobra.Command{
		Use: "create PATH [VALUE [ACL]]", Short: "Create a node, and print its path", Args: cobra.RangeArgs(1, 3),
		Long: `Create a node, and print its path. It has the value given, or none.

An ephemeral node (-e) lives as long as its session:
  with --session, or PERCH_SESSION, that of the session;
  in perch shell that of the shell;
  with -t a new one, which nobody keeps alive: its token goes to standard error, and perch session keepalive renews it;
  otherwise one that this command keeps alive, in the foreground, until it is told to end (Ctrl-C).`,
		Example: `  perch create -p /app/color blue
  perch create -s -p /app/jobs/job- 'what is to be done'   # prints /app/jobs/job-0000000000
  perch create -e -p /app/servers/a 10.0.0.7:80            # until Ctrl-C
  perch create -t 1m /app/hint x                           # goes when nobody has written it for a minute
  perch create /app/secret x world:anyone:r,principal:ci:cdrwa`,
		ValidArgsFunction: o.completePath,
	}
	f := cmd.Flags()
	f.BoolVarP(&n.sequential, "sequential", "s", false, "append ten digits that count up; PATH/ is an empty prefix")
	f.BoolVarP(&n.ephemeral, "ephemeral", "e", false, "the node ends with a session")
	f.BoolVarP(&n.container, "container", "c", false, "the node ends with its last child")
	f.VarP(&span{&n.ttl}, "ttl", "t", "the node ends when nobody has written it for so long; with -e: how long its session lives")
	f.BoolVarP(&n.parents, "parents", "p", false, "make the parents that are missing")
	f.StringVar(&n.acl, "acl", "", "SCHEME:ID:PERMS,…, its ACL instead of the default of the subtree")
	cmd.MarkFlagsMutuallyExclusive("ephemeral", "container")
	cmd.MarkFlagsMutuallyExclusive("container", "ttl")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		if len(args) == 3 { // as zkCli has it
			n.acl, args = args[2], args[:2]
		}
		place := o.path
		if n.sequential {
			place = o.prefix
		}
		at, err := place(args[0])
		if err != nil {
			return err
		}
		data, _, err := n.value.read(c, args[1:])
		if err != nil {
			return err
		}
		return n.run(ctx, c, at, data)
	}, n.value.declare, withSession, withFences, withKey)
}

func (n *creation) run(ctx context.Context, c *conn, at string, data []byte) error {
	if n.ttl != 0 {
		if err := checkTTL(n.ttl); err != nil {
			return err
		}
	}
	var mine *ownSession
	if n.ephemeral {
		var err error
		if mine, err = n.session(ctx, c); err != nil {
			return err
		}
	}
	created, err := n.send(ctx, c, at, data)
	if err == nil {
		err = created(c)
	}
	switch {
	case mine == nil:
		return err
	case err != nil || n.ttl != 0:
		if err == nil {
			c.note("its session lives %v unless it is renewed; its token: %s", n.ttl, mine.token)
		}
		return err
	}
	c.note("the node lives as long as this command: Ctrl-C ends both")
	c.Fences = nil
	return mine.keep(ctx, c)
}

// session is that of an ephemeral node; it is returned when it was opened for it.
func (n *creation) session(ctx context.Context, c *conn) (*ownSession, error) {
	switch {
	case c.Session != "":
		return nil, nil
	case c.opt.own != nil && n.ttl == 0:
		token, err := c.opt.own.open(ctx, c)
		c.Session = token
		return nil, err
	}
	mine := &ownSession{ttl: ttlDefault}
	if n.ttl != 0 {
		mine.ttl = n.ttl
	}
	token, err := mine.open(ctx, c)
	c.Session = token
	return mine, err
}

func (n *creation) mode() client.NodeMode {
	switch {
	case n.ephemeral:
		return client.NodeModeEphemeral
	case n.container:
		return client.NodeModeContainer
	case n.ttl != 0:
		return client.NodeModeTTL
	}
	return client.NodeModePersistent
}

// send creates the node, and returns what shows it.
func (n *creation) send(ctx context.Context, c *conn, at string, data []byte) (func(*conn) error, error) {
	if n.acl != "" {
		return n.sendWithACL(ctx, c, at, data)
	}
	params := client.CreateNodeParams{Mode: ptr(n.mode()), Sequential: ptr(n.sequential), Parents: ptr(n.parents)}
	if n.mode() == client.NodeModeTTL {
		params.TTLMs = ms(n.ttl)
	}
	var made client.Node
	a, err := c.ask(ctx, &made, func(ctx context.Context) (*http.Response, error) {
		return c.api.CreateNodeWithBody(ctx, at, &params, octets, body(data))
	})
	return func(c *conn) error { return c.show(a, func() error { return c.line("%s", made.Path) }) }, err
}

// sendWithACL creates by a multi, which is the one request that takes an ACL.
func (n *creation) sendWithACL(ctx context.Context, c *conn, at string, data []byte) (func(*conn) error, error) {
	entries, err := parseACL(n.acl)
	if err != nil {
		return nil, err
	}
	op := client.Op{Op: client.Create, Path: &at, Data: &data, Mode: ptr(n.mode()), Sequential: ptr(n.sequential), Parents: ptr(n.parents), ACL: &entries}
	if n.mode() == client.NodeModeTTL {
		op.TTLMs = ms(n.ttl)
	}
	var result struct{ Results []json.RawMessage }
	_, err = c.ask(ctx, &result, func(ctx context.Context) (*http.Response, error) {
		return c.api.Multi(ctx, nil, client.TxnRequest{Ops: []client.Op{op}})
	})
	if err == nil && len(result.Results) != 1 {
		err = errors.New("the answer has no result")
	}
	return func(c *conn) error {
		var made client.OpOutcome
		if err := json.Unmarshal(result.Results[0], &made); err != nil {
			return err
		}
		return c.show(&answer{body: result.Results[0]}, func() error { return c.line("%s", deref(made.Path)) })
	}, err
}
