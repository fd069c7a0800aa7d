package cli

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

func (o *Options) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make, list and revoke API tokens"}
	return parent(cmd, o.createTokenCommand(), o.listTokensCommand(), o.revokeTokenCommand())
}

func (o *Options) createTokenCommand() *cobra.Command {
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
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		if lives < 0 {
			return exit.UsageError(errors.New("--expires: must not be below 0"))
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
		a, err := c.ask(ctx, &made, func(ctx context.Context) (*http.Response, error) { return c.api.CreateToken(ctx, nil, spec) })
		if err != nil {
			return err
		}
		return c.show(a, func() error {
			c.note("token %s of %s, expires: %s; it is not shown again", made.ID, made.Principal, shortTime(made.ExpiresAt, "never"))
			return c.line("%s", deref(made.Secret))
		})
	}, withKey)
}

func (o *Options) listTokensCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List API tokens, without their secrets", Args: cobra.NoArgs}
	return o.asks(cmd, func(ctx context.Context, c *conn, _ []string) error {
		return list(ctx, c, "tokens", func(ctx context.Context, page *string) (*http.Response, error) {
			return c.api.ListTokens(ctx, &client.ListTokensParams{PageToken: page})
		}, []string{"ID", "PRINCIPAL", "CREATED", "EXPIRES", "LABEL"}, func(t client.Token) []string {
			return []string{t.ID, t.Principal, shortTime(&t.CreatedAt, ""), shortTime(t.ExpiresAt, "never"), deref(t.Label)}
		})
	}, withLocal)
}

func (o *Options) revokeTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID", Short: "Revoke an API token", Args: cobra.ExactArgs(1)}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		id, err := name(args[0])
		if err != nil {
			return err
		}
		_, err = c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.RevokeToken(ctx, id, nil) })
		return err
	}, withKey)
}
