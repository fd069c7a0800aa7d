package cli

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

const aclHelp = `An entry is SCHEME:ID:PERMS. Schemes: world (its id is anyone), auth, principal, digest, ip, x509.
Permissions are the first letters of create, delete, read, write and admin.`

func (o *Options) aclCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "acl", Short: "Show and set who may do what with a node", Long: "Show and set who may do what with a node.\n" + aclHelp,
		Example: `  perch acl get /app/secret
  perch acl set /app/secret world:anyone:r,principal:ci:cdrwa
  perch acl default set /app principal:ci:cdrwa`,
	}
	return parent(cmd, o.getACLCommand("get", false), o.setACLCommand("set", false), o.defaultACLCommand())
}

func (o *Options) defaultACLCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "default", Short: "The ACL that new nodes at and below a path get"}
	remove := &cobra.Command{Use: "delete PATH", Short: "Take the default away", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completePath}
	remove = o.asks(remove, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(args[0])
		if err != nil {
			return err
		}
		_, err = c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.DeleteDefaultACL(ctx, at, nil) })
		return err
	}, withFences, withKey)
	return parent(cmd, o.getACLCommand("get", true), o.setACLCommand("set", true), remove)
}

// getACLCommand is of the ACL of a node, or of the default of a subtree.
func (o *Options) getACLCommand(word string, ofDefault bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: word + " PATH", Short: "Show the ACL of a node", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completePath, Hidden: word == "getAcl",
	}
	if ofDefault {
		cmd.Short = "Show the default ACL of a subtree"
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(args[0])
		if err != nil {
			return err
		}
		var acl client.ACL
		a, err := c.ask(ctx, &acl, func(ctx context.Context) (*http.Response, error) {
			if ofDefault {
				return c.api.GetDefaultACL(ctx, at, nil)
			}
			return c.api.GetACL(ctx, at, nil)
		})
		if err != nil {
			return err
		}
		return c.show(a, func() error { return c.acl(&acl) })
	}, withLocal)
}

// acl shows entries as parseACL reads them.
func (c *conn) acl(acl *client.ACL) error {
	for _, e := range acl.Entries {
		if err := c.line("%s:%s:%s", e.Scheme, e.ID, e.Perms); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) setACLCommand(word string, ofDefault bool) *cobra.Command {
	version := int64(-1)
	cmd := &cobra.Command{
		Use: word + " PATH ENTRY,...", Short: "Replace the ACL of a node", Args: cobra.ExactArgs(2), ValidArgsFunction: o.completePath, Hidden: word == "setAcl",
		Long: "Replace the ACL of a node; those of its children stay as they are.\n" + aclHelp,
	}
	if ofDefault {
		cmd.Short = "Set the ACL that new nodes get"
		cmd.Long = "Set the ACL that nodes get which are created at or below a path; those that exist keep theirs.\n" + aclHelp
	} else {
		cmd.Flags().Int64VarP(&version, "version", "v", -1, "only if the ACL has this version (aversion)")
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(args[0])
		if err != nil {
			return err
		}
		acl := client.ACL{}
		if acl.Entries, err = parseACL(args[1]); err != nil {
			return err
		}
		if version >= 0 {
			acl.Aversion = &version
		}
		a, err := c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) {
			if ofDefault {
				return c.api.SetDefaultACL(ctx, at, nil, acl)
			}
			return c.api.SetACL(ctx, at, nil, acl)
		})
		if err != nil || !c.asJSON {
			return err
		}
		return c.json(a.body)
	}, withFences, withKey)
}

func (o *Options) quotaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "quota", Short: "Show and set how much a subtree may hold",
		Example: "  perch quota set /app --nodes 10000 --bytes 100000000\n  perch quota get /app",
	}
	return parent(cmd, o.getQuotaCommand(), o.setQuotaCommand(), o.deleteQuotaCommand())
}

func (o *Options) getQuotaCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "get PATH", Short: "Show what a subtree holds, and may", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completePath}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(args[0])
		if err != nil {
			return err
		}
		return c.quota(ctx, func(ctx context.Context) (*http.Response, error) { return c.api.GetQuota(ctx, at, nil) })
	}, withLocal)
}

func (o *Options) setQuotaCommand() *cobra.Command {
	var nodes, bytes int64
	cmd := &cobra.Command{
		Use: "set PATH", Short: "Bound the nodes and bytes of a subtree", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completePath,
		Long: "Bound the nodes and bytes of a subtree, the node itself included. What is not given is not bounded.",
	}
	cmd.Flags().Int64Var(&nodes, "nodes", -1, "most nodes")
	cmd.Flags().Int64Var(&bytes, "bytes", -1, "most bytes of values")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(args[0])
		if err != nil {
			return err
		}
		if nodes < 0 && bytes < 0 {
			return exit.UsageError(errors.New("give --nodes, --bytes or both"))
		}
		spec := client.QuotaSpec{}
		if nodes >= 0 {
			spec.MaxNodes = &nodes
		}
		if bytes >= 0 {
			spec.MaxBytes = &bytes
		}
		return c.quota(ctx, func(ctx context.Context) (*http.Response, error) { return c.api.SetQuota(ctx, at, nil, spec) })
	}, withFences, withKey)
}

func (o *Options) deleteQuotaCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "delete PATH", Short: "Take the bounds away", Args: cobra.ExactArgs(1), ValidArgsFunction: o.completePath}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		at, err := o.path(args[0])
		if err != nil {
			return err
		}
		_, err = c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.DeleteQuota(ctx, at, nil) })
		return err
	}, withFences, withKey)
}

func (c *conn) quota(ctx context.Context, do call) error {
	var q client.Quota
	a, err := c.ask(ctx, &q, do)
	if err != nil {
		return err
	}
	most := func(n *int64) string {
		if n == nil {
			return "any number"
		}
		return strconv.FormatInt(*n, 10)
	}
	return c.show(a, func() error {
		return c.table([]string{"", "USED", "MOST"}, [][]string{
			{"nodes", strconv.FormatInt(q.Nodes, 10), most(q.MaxNodes)},
			{"bytes", strconv.FormatInt(q.Bytes, 10), most(q.MaxBytes)},
		})
	})
}
