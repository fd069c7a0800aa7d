package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"perch/gen/client"
)

func tokenCommand(env map[string]string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Short: "Make, list and revoke API tokens", Args: asUsage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(createTokenCommand(env), listTokensCommand(env), revokeTokenCommand(env))
	return cmd
}

func createTokenCommand(env map[string]string) *cobra.Command {
	var label string
	var lives time.Duration
	cmd := &cobra.Command{
		Use:   "create PRINCIPAL",
		Short: "Make an API token; it alone goes to standard output",
		Long: `Make an API token of a principal, which can have two at a time, so that one can take the place of the other.
The token goes to standard output and is never shown again; the rest goes to standard error.`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&label, "label", "", "what it is for")
	cmd.Flags().DurationVar(&lives, "expires", 0, "how long it counts, such as 720h (0: until it is revoked)")
	return asking(env, cmd, func(cmd *cobra.Command, s *session, args []string) error {
		if lives < 0 {
			return usageError{errors.New("--expires: must not be below 0")}
		}
		spec := client.TokenSpec{Principal: args[0]}
		if label != "" {
			spec.Label = &label
		}
		if lives > 0 {
			at := time.Now().Add(lives)
			spec.ExpiresAt = &at
		}
		var made client.Token
		resp, err := s.api.CreateToken(cmd.Context(), nil, spec)
		if err := answered(resp, err, &made); err != nil {
			return err
		}
		if s.asJSON {
			return s.json(made)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "token %s of %s, expires: %s; it is not shown again\n",
			made.ID, made.Principal, shortTime(made.ExpiresAt, "never"))
		_, err = fmt.Fprintln(s.out, deref(made.Secret))
		return err
	})
}

func listTokensCommand(env map[string]string) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List API tokens, without their secrets", Args: cobra.NoArgs}
	return asking(env, cmd, func(cmd *cobra.Command, s *session, _ []string) error {
		tokens := []client.Token{}
		for next := (*string)(nil); ; {
			var page client.TokenPage
			resp, err := s.api.ListTokens(cmd.Context(), &client.ListTokensParams{PageToken: next})
			if err := answered(resp, err, &page); err != nil {
				return err
			}
			tokens = append(tokens, page.Tokens...)
			if next = page.NextPageToken; next == nil {
				break
			}
		}
		if s.asJSON {
			return s.json(tokens)
		}
		var rows [][]string
		for i := range tokens {
			t := &tokens[i]
			rows = append(rows, []string{
				t.ID, t.Principal, shortTime(&t.CreatedAt, ""), shortTime(t.ExpiresAt, "never"), deref(t.Label)})
		}
		return s.table([]string{"ID", "PRINCIPAL", "CREATED", "EXPIRES", "LABEL"}, rows)
	})
}

func revokeTokenCommand(env map[string]string) *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID", Short: "Revoke an API token", Args: cobra.ExactArgs(1)}
	return asking(env, cmd, func(cmd *cobra.Command, s *session, args []string) error {
		resp, err := s.api.RevokeToken(cmd.Context(), args[0], nil)
		return answered(resp, err, nil)
	})
}
