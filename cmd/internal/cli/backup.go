package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// Backup is a backup as it comes from a cluster. Whoever reads it compares what
// came with Size: a connection that breaks ends it early.
type Backup struct {
	io.Reader
	Header http.Header
	Size   int64 // bytes; negative when the server does not say
	JSON   bool  // -o json: how to tell what was done
}

// Backups makes a command of do, which is given a backup. It has the flags of all
// commands; --timeout is until the backup begins to come.
func (o *Options) Backups(cmd *cobra.Command, do func(ctx context.Context, b *Backup, args []string) error) *cobra.Command {
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		asking, cancel := context.WithCancel(context.WithValue(ctx, streaming, true))
		defer cancel()
		late := time.AfterFunc(c.Timeout, cancel)
		resp, err := c.api.DownloadSnapshot(asking, nil)
		if err != nil {
			if u := (*url.Error)(nil); errors.As(err, &u) && asking.Err() != nil {
				u.Err = context.DeadlineExceeded // what late did, unless ctx is over too
			}
			return c.lost(ctx, err)
		}
		defer resp.Body.Close()
		late.Stop()
		if resp.StatusCode != http.StatusOK {
			return c.refused(resp)
		}
		return do(ctx, &Backup{Reader: resp.Body, Header: resp.Header, Size: resp.ContentLength, JSON: c.asJSON}, args)
	})
}
