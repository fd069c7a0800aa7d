package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"perch/gen/client"
)

func principalCommand(env map[string]string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "principal", Short: "Say who may do what", Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(putPrincipalCommand(env), getPrincipalCommand(env), listPrincipalsCommand(env), deletePrincipalCommand(env))
	return cmd
}

func putPrincipalCommand(env map[string]string) *cobra.Command {
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
	return asking(env, cmd, func(cmd *cobra.Command, s *session, args []string) error {
		rules, err := parseGrants(grants)
		if err != nil {
			return usageError{err}
		}
		spec := client.PrincipalSpec{Grants: rules, Disabled: &disabled}
		if root != "" {
			spec.Root = &root
		}
		params := &client.PutPrincipalParams{}
		if match != "" {
			params.IfMatch = &match
		}
		if any := "*"; create {
			params.IfNoneMatch = &any
		}
		var put client.Principal
		resp, err := s.api.PutPrincipal(cmd.Context(), args[0], params, spec)
		if err := answered(resp, err, &put); err != nil {
			return err
		}
		return s.principals(put, put)
	})
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

func getPrincipalCommand(env map[string]string) *cobra.Command {
	cmd := &cobra.Command{Use: "get NAME", Short: "Show a principal", Args: cobra.ExactArgs(1)}
	return asking(env, cmd, func(cmd *cobra.Command, s *session, args []string) error {
		var got client.Principal
		resp, err := s.api.GetPrincipal(cmd.Context(), args[0], nil)
		if err := answered(resp, err, &got); err != nil {
			return err
		}
		return s.principals(got, got)
	})
}

func listPrincipalsCommand(env map[string]string) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List principals", Args: cobra.NoArgs}
	return asking(env, cmd, func(cmd *cobra.Command, s *session, _ []string) error {
		list := []client.Principal{}
		for next := (*string)(nil); ; {
			var page client.PrincipalPage
			resp, err := s.api.ListPrincipals(cmd.Context(), &client.ListPrincipalsParams{PageToken: next})
			if err := answered(resp, err, &page); err != nil {
				return err
			}
			list = append(list, page.Principals...)
			if next = page.NextPageToken; next == nil {
				return s.principals(list, list...)
			}
		}
	})
}

// principals shows list, as JSON in the form of whole.
func (s *session) principals(whole any, list ...client.Principal) error {
	if s.asJSON {
		return s.json(whole)
	}
	var rows [][]string
	for i := range list {
		p := &list[i]
		state := "enabled"
		if p.Disabled != nil && *p.Disabled {
			state = "disabled"
		}
		rows = append(rows, []string{p.Name, deref(p.Root), grantsText(p.Grants), state, p.Etag})
	}
	return s.table([]string{"NAME", "ROOT", "GRANTS", "STATE", "ETAG"}, rows)
}

// grantsText is grants as parseGrants reads them.
func grantsText(grants []client.GrantRule) string {
	var list []string
	for _, g := range grants {
		list = append(list, g.Prefix+"="+strings.Join(g.Perms, ","))
	}
	return strings.Join(list, " ")
}

func deletePrincipalCommand(env map[string]string) *cobra.Command {
	var match string
	cmd := &cobra.Command{Use: "delete NAME", Short: "Delete a principal, its tokens and its sessions", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&match, "if-match", "", "only if it still has this etag")
	return asking(env, cmd, func(cmd *cobra.Command, s *session, args []string) error {
		params := &client.DeletePrincipalParams{}
		if match != "" {
			params.IfMatch = &match
		}
		resp, err := s.api.DeletePrincipal(cmd.Context(), args[0], params)
		return answered(resp, err, nil)
	})
}

func whoamiCommand(env map[string]string) *cobra.Command {
	cmd := &cobra.Command{Use: "whoami", Short: "Show who the cluster takes you for, and what you may do", Args: cobra.NoArgs}
	return asking(env, cmd, func(cmd *cobra.Command, s *session, _ []string) error {
		var me client.Identity
		resp, err := s.api.Whoami(cmd.Context(), nil)
		if err := answered(resp, err, &me); err != nil {
			return err
		}
		if s.asJSON {
			return s.json(me)
		}
		name, roles := me.Principal, ""
		if name == "" {
			name = "(nobody in particular)"
		}
		if me.Roles != nil {
			roles = strings.Join(*me.Roles, " ")
		}
		return s.table([]string{"PRINCIPAL", name}, [][]string{
			{"ROLES", roles}, {"ROOT", deref(me.Root)}, {"GRANTS", grantsText(me.Grants)},
			{"ADDRESS", deref(me.Address)}, {"CERTIFICATE", deref(me.Certificate)},
		})
	})
}
