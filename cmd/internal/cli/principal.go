package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

func (o *Options) principalCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "principal", Short: "Say who may do what"}
	return parent(cmd, o.putPrincipalCommand(), o.getPrincipalCommand(), o.listPrincipalsCommand(), o.deletePrincipalCommand())
}

func (o *Options) putPrincipalCommand() *cobra.Command {
	var (
		root, match      string
		grants           []string
		disabled, create bool
	)
	cmd := &cobra.Command{
		Use:   "put NAME",
		Short: "Create or replace a principal",
		Long: `Create or replace a principal, with exactly the grants that are given: it may do nothing else.
A grant is PREFIX=PERMISSION,… and holds at and below its prefix: read, write, create, delete, admin (ACLs and quotas),
use (locks and the like); cluster, on / alone, lets it do everything. Example: --grant /app=read,write,create`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&root, "root", "", "node that is / to it; prefixes are below it")
	f.StringArrayVar(&grants, "grant", nil, "what it may do where; may be repeated")
	f.BoolVar(&disabled, "disabled", false, "refuse its requests")
	f.StringVar(&match, "if-match", "", "replace it only if it still has this etag")
	f.BoolVar(&create, "create", false, "do not replace one that is there")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		rules, err := parseGrants(grants)
		if err != nil {
			return exit.UsageError(err)
		}
		spec := client.PrincipalSpec{Grants: rules, Disabled: &disabled}
		if root != "" {
			spec.Root = &root
		}
		params := &client.PutPrincipalParams{IfMatch: ptr(match)}
		if create {
			params.IfNoneMatch = ptr("*")
		}
		return c.principal(ctx, func(ctx context.Context) (*http.Response, error) { return c.api.PutPrincipal(ctx, n, params, spec) })
	}, withKey)
}

// parseGrants reads PREFIX=PERMISSION,…; whether there are such permissions is
// for the node to say.
func parseGrants(list []string) ([]client.GrantRule, error) {
	rules := []client.GrantRule{}
	for _, item := range list {
		// A path may have an equals sign in it, a permission has none.
		at := strings.LastIndexByte(item, '=')
		if at < 1 || at == len(item)-1 {
			return nil, fmt.Errorf("--grant %q: must be PREFIX=PERMISSION,…", item)
		}
		rules = append(rules, client.GrantRule{Prefix: item[:at], Perms: strings.Split(item[at+1:], ",")})
	}
	return rules, nil
}

func (o *Options) getPrincipalCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "get NAME", Short: "Show a principal", Args: cobra.ExactArgs(1)}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		return c.principal(ctx, func(ctx context.Context) (*http.Response, error) { return c.api.GetPrincipal(ctx, n, nil) })
	}, withLocal)
}

var principalHeads = []string{"NAME", "ROOT", "GRANTS", "STATE", "ETAG"}

func principalRow(p client.Principal) []string {
	state := "enabled"
	if p.Disabled != nil && *p.Disabled {
		state = "disabled"
	}
	return []string{p.Name, deref(p.Root), grantsText(p.Grants), state, p.Etag}
}

// principal shows the principal of an answer.
func (c *conn) principal(ctx context.Context, do call) error {
	var p client.Principal
	a, err := c.ask(ctx, &p, do)
	if err != nil {
		return err
	}
	return c.show(a, func() error { return c.table(principalHeads, [][]string{principalRow(p)}) })
}

func (o *Options) listPrincipalsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List principals", Args: cobra.NoArgs}
	return o.asks(cmd, func(ctx context.Context, c *conn, _ []string) error {
		return list(ctx, c, "principals", func(ctx context.Context, page *string) (*http.Response, error) {
			return c.api.ListPrincipals(ctx, &client.ListPrincipalsParams{PageToken: page})
		}, principalHeads, principalRow)
	}, withLocal)
}

// grantsText is grants as parseGrants reads them.
func grantsText(grants []client.GrantRule) string {
	var list []string
	for _, g := range grants {
		list = append(list, g.Prefix+"="+strings.Join(g.Perms, ","))
	}
	return strings.Join(list, " ")
}

func (o *Options) deletePrincipalCommand() *cobra.Command {
	var match string
	cmd := &cobra.Command{Use: "delete NAME", Short: "Delete a principal, its tokens and its sessions", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&match, "if-match", "", "only if it still has this etag")
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		n, err := name(args[0])
		if err != nil {
			return err
		}
		_, err = c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) {
			return c.api.DeletePrincipal(ctx, n, &client.DeletePrincipalParams{IfMatch: ptr(match)})
		})
		return err
	}, withKey)
}

func (o *Options) whoamiCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "whoami", Short: "Show who the cluster takes you for, and what you may do", Args: cobra.NoArgs}
	return o.asks(cmd, func(ctx context.Context, c *conn, _ []string) error {
		var me client.Identity
		a, err := c.ask(ctx, &me, func(ctx context.Context) (*http.Response, error) { return c.api.Whoami(ctx, nil) })
		if err != nil {
			return err
		}
		name, roles := me.Principal, ""
		if name == "" {
			name = "(nobody in particular)"
		}
		if me.Roles != nil {
			roles = strings.Join(*me.Roles, " ")
		}
		return c.show(a, func() error {
			return c.table([]string{"PRINCIPAL", name}, [][]string{
				{"ROLES", roles}, {"ROOT", deref(me.Root)}, {"GRANTS", grantsText(me.Grants)},
				{"ADDRESS", deref(me.Address)}, {"CERTIFICATE", deref(me.Certificate)},
			})
		})
	})
}
