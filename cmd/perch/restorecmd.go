package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perch/archive"
	"perch/cmd/internal/exit"
	"perch/cmd/internal/progress"
	"perch/lease"
	"perch/quorum/restore"
)

// archiveTarget says which state of an archive is wanted.
type archiveTarget struct {
	Zxid string
	Time string

	target archive.Target // parsed; filled in by validate
}

func (c *archiveTarget) declare(f *pflag.FlagSet) {
	f.StringVar(&c.Zxid, "zxid", "", "restore the state at this position: a zxid, or EPOCH,COUNTER (none: the newest)")
	f.StringVar(&c.Time, "time", "", "restore the state after the last transaction up to this time, by the leader's clock: 2026-11-20T14:05:00Z")
}

func (c *archiveTarget) validate(f *pflag.FlagSet) error {
	for _, name := range []string{"zxid", "time"} {
		if f.Changed(name) && f.Lookup(name).Value.String() == "" {
			return fmt.Errorf("--%s: is empty; leave it out for the newest state", name)
		}
	}
	var err, timeErr error
	c.target.Zxid, err = parseZxid("--zxid", c.Zxid)
	if c.Zxid != "" && err == nil && c.target.Zxid == 0 {
		err = fmt.Errorf("--zxid %q: no state is at 0; leave it out for the newest", c.Zxid)
	}
	if c.Time != "" {
		if c.target.Time, timeErr = time.Parse(time.RFC3339, c.Time); timeErr != nil {
			timeErr = fmt.Errorf("--time %q: must be like 2026-11-20T14:05:00Z or 2026-11-20T15:05:00+01:00", c.Time)
		}
		if c.Zxid != "" {
			err = errors.Join(err, errors.New("--zxid and --time: give one of them"))
		}
	}
	return errors.Join(err, timeErr)
}

func restoreCommand(env map[string]string) *cobra.Command {
	var from archiveReader
	var which archiveTarget
	var to restoreTarget
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Prepare an empty data directory with a state from the archive, for one voter of a new cluster",
		Long: `Prepare an empty data directory with a state from the archive, for one voter of a new cluster: perch archive ls says
what there is. Run it for every voter with the same position, each with its own --id and --data, then start them all;
the cluster forms only when all of them hold the same state. It has a new id. What was written behind that position is
lost, and clients are told so: their cursors, tags and fencing tokens from that time answer 410 history_lost; sessions
end, with what they hold. What is damaged is refused, and nothing but an empty directory is written to.

A state from a file is restored by perch snapshot restore FILE.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(from.prepare(cmd.Flags(), env), which.validate(cmd.Flags()), to.validate()); err != nil {
				return exit.UsageError(err)
			}
			return restoreArchived(cmd.Context(), &from, which.target, &to, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	from.declare(cmd.Flags())
	which.declare(cmd.Flags())
	to.declare(cmd.Flags())
	return cmd
}

func restoreArchived(ctx context.Context, from *archiveReader, which archive.Target, to *restoreTarget, out, errOut io.Writer) error {
	plan, view, err := replay(ctx, from, which, errOut)
	if err != nil {
		return err
	}
	sum, err := to.into(restore.Source{View: view, Epoch: plan.Cluster.Epoch}, errOut)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s holds the state of cluster %s at %s, digest %s: snapshot %s and %d transactions; %d nodes; %d sessions end.\n%s\n",
		to.Data, plan.Cluster.ID, position(sum.Zxid), restore.DigestText(sum.Digest), position(plan.Snapshot.Zxid), plan.Transactions,
		sum.Nodes, sum.Sessions, to.next())
	if err == nil && to.voters() > 1 {
		_, err = fmt.Fprintf(out, "Give the others --zxid %d: the archive may go on meanwhile.\n", uint64(sum.Zxid))
	}
	return err
}

// replay brings a state back from the archive, verified.
func replay(ctx context.Context, from *archiveReader, which archive.Target, errOut io.Writer) (archive.Plan, *lease.View, error) {
	a, cluster, err := from.open(ctx)
	if err != nil {
		return archive.Plan{}, nil, err
	}
	defer a.Close()
	plan, err := a.Plan(ctx, cluster, which)
	if err != nil {
		return plan, nil, archiveError(err)
	}
	meter := progress.New(errOut, "replay", plan.Transactions, progress.Items)
	defer meter.Done()
	view, err := a.Replay(ctx, plan, meter.Set)
	return plan, view, archiveError(err)
}
