package cli

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
)

// healthWithin is how long a healthy node or gateway may take to say so. Neither
// route that is asked waits for anything, so this is time for a starved machine.
const healthWithin = 4 * time.Second

// healthCommand is the health check of an image that has nothing else in it.
func (o *Options) healthCommand() *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a node or a gateway whether it can serve: exit code 0 if so, else 1",
		Long: `Ask a node or a gateway whether it can serve (/readyz): exit code 0 if so, else 1 with the reason on standard error.
It is asked once. No token is needed. For certificates that this machine does not know give --ca-file; they must name the host in --url.`,
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether it runs (/livez), with a quorum or without")
	return o.asks(cmd, func(ctx context.Context, c *conn, _ []string) error {
		c.Timeout = min(c.Timeout, healthWithin)
		ctx = repeatedBy(ctx, single)
		healthy, path := "ready", c.api.Readyz
		if live {
			healthy, path = "alive", c.api.Livez
		}
		if _, err := c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) { return path(ctx) }); err != nil {
			return &exit.Error{Code: exit.Failure, Err: err} // whoever runs health checks knows 0 and 1
		}
		if c.asJSON {
			return c.jsonLine(map[string]string{"status": healthy})
		}
		return c.line("%s", healthy)
	})
}
