package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perch/archive"
	"perch/cmd/internal/exit"
	"perch/cmd/internal/progress"
)

// archiveReader is what the commands have in common that read an archive.
type archiveReader struct {
	archiveAccess
	Cluster  string
	Insecure bool
}

func (c *archiveReader) declare(f *pflag.FlagSet) {
	c.archiveAccess.declare(f)
	f.StringVar(&c.Cluster, "cluster", "", "cluster in the archive: its id, the beginning of it, or its name (none: the only one)")
	f.BoolVar(&c.Insecure, "insecure", false, "ask a database on another machine without TLS that proves who answers")
}

// prepare fills in what the environment says, as it does for perch serve, and
// reports what is wrong.
func (c *archiveReader) prepare(f *pflag.FlagSet, env map[string]string) error {
	for _, name := range []string{"archive", "archive-password-file"} {
		if value := env[envName(name)]; value != "" && !f.Changed(name) {
			_ = f.Set(name, value) // a string takes everything
		}
	}
	if c.URL == "" {
		return errors.New("--archive: say where the archive is: postgres://user@host:port/database")
	}
	return c.validate(c.Insecure)
}

// open opens the archive and finds the cluster in it.
func (c *archiveReader) open(ctx context.Context) (*archive.Archive, archive.ClusterInfo, error) {
	a, err := archive.Open(ctx, c.access())
	if err != nil {
		return nil, archive.ClusterInfo{}, archiveError(err)
	}
	cluster, err := a.Cluster(ctx, c.Cluster)
	if err != nil {
		a.Close()
		return nil, cluster, archiveError(err)
	}
	return a, cluster, nil
}

// archiveError gives an error of the archive the code that scripts go by.
func archiveError(err error) error {
	var failure *archive.Failure
	switch {
	case errors.Is(err, archive.ErrNotThere):
		return &exit.Error{Code: exit.NotFound, Err: err}
	case errors.As(err, &failure):
		return &exit.Error{Code: exit.Unavailable, Err: fmt.Errorf("the archive: %w", err)}
	}
	return err
}

func archiveCommand(env map[string]string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "archive",
		Short: "Look into the archive of clusters in PostgreSQL, and verify it",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		readingArchive(env, &cobra.Command{
			Use:   "status",
			Short: "Say which clusters are archived, and up to where",
		}, archiveStatus),
		readingArchive(env, &cobra.Command{
			Use:   "ls",
			Short: "List what can be restored: snapshots, and every position in the ranges behind them",
		}, archiveList),
		readingArchive(env, &cobra.Command{
			Use:   "verify",
			Short: "Read all that can be restored of a cluster, and say whether it is sound",
			Long: `Read all that can be restored of a cluster, and say whether it is sound: hashes of chunks, chain hashes of transactions,
and that they lead from each snapshot to a state with the digest of the next. It changes nothing.

Exit code 0: sound. 1: damaged, with what is wrong. 3: no such cluster. 69: the database could not be asked.`,
		}, archiveVerify),
		migrateCommand(env),
	)
	for _, sub := range cmd.Commands() {
		sub.Args = asUsage(cobra.NoArgs)
	}
	return cmd
}

// archiveView is how a command shows what it has read.
type archiveView struct {
	*archiveReader
	out, err io.Writer
	json     bool
}

// readingArchive makes a command of run that has checked its flags.
func readingArchive(env map[string]string, cmd *cobra.Command, run func(context.Context, *archiveView) error) *cobra.Command {
	var c archiveReader
	var output string
	c.declare(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, for people, or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		faults := []error{c.prepare(cmd.Flags(), env)}
		if output != "table" && output != "json" {
			faults = append(faults, fmt.Errorf("--output %q: must be table or json", output))
		}
		if err := errors.Join(faults...); err != nil {
			return exit.UsageError(err)
		}
		return run(cmd.Context(), &archiveView{&c, cmd.OutOrStdout(), cmd.ErrOrStderr(), output == "json"})
	}
	return cmd
}

func migrateCommand(env map[string]string) *cobra.Command {
	var c archiveReader
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Make the tables of an archive, where the nodes may not do so themselves",
	}
	c.declare(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.prepare(cmd.Flags(), env); err != nil {
			return exit.UsageError(err)
		}
		if err := archive.MakeTables(cmd.Context(), c.access()); err != nil {
			return archiveError(err)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "the tables are there")
		return err
	}
	return cmd
}

// table prints rows in columns.
func (v *archiveView) table(rows ...[]any) error {
	w := tabwriter.NewWriter(v.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func archiveStatus(ctx context.Context, v *archiveView) error {
	a, err := archive.Open(ctx, v.access())
	if err != nil {
		return archiveError(err)
	}
	defer a.Close()
	all, err := a.Clusters(ctx)
	if err != nil {
		return archiveError(err)
	}
	if v.json {
		return printJSON(v.out, all)
	}
	rows := [][]any{{"CLUSTER", "NAME", "ARCHIVED UP TO", "OF", "WRITTEN", "BY NODE"}}
	for _, c := range all {
		last := "-"
		if c.LastAt != nil {
			last = stamp(*c.LastAt)
		}
		rows = append(rows, []any{c.ID, c.Name, position(c.Zxid), last, (time.Duration(c.Ago) * time.Second).String() + " ago", c.Shipper})
	}
	return v.table(rows...)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func archiveList(ctx context.Context, v *archiveView) error {
	a, cluster, err := v.open(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	ranges, err := a.Ranges(ctx, cluster.ID)
	if err != nil {
		return archiveError(err)
	}
	snaps, err := a.Snapshots(ctx, cluster.ID)
	if err != nil {
		return archiveError(err)
	}
	if v.json {
		return printJSON(v.out, struct {
			Cluster   archive.ClusterInfo    `json:"cluster"`
			Ranges    []archive.Range        `json:"ranges"`
			Snapshots []archive.SnapshotInfo `json:"snapshots"`
		}{cluster, ranges, snaps})
	}
	fmt.Fprintf(v.out, "cluster %s (%s)\n\n", cluster.ID, cluster.Name)
	rows := [][]any{{"RESTORABLE FROM", "OF", "THROUGH", "OF", "TRANSACTIONS"}}
	for _, r := range ranges {
		rows = append(rows, []any{position(r.From), stamp(r.FromAt), position(r.Through), stamp(r.ThroughAt), r.Transactions})
	}
	if err := v.table(rows...); err != nil {
		return err
	}
	fmt.Fprintln(v.out)
	rows = [][]any{{"SNAPSHOT", "OF", "NODES", "SESSIONS", "BYTES", "COMPRESSED", "DIGEST"}}
	for _, s := range snaps {
		rows = append(rows, []any{position(s.Zxid), stamp(s.At), s.Nodes, s.Sessions, s.Bytes, s.Compressed, s.Digest})
	}
	return v.table(rows...)
}

func archiveVerify(ctx context.Context, v *archiveView) error {
	a, cluster, err := v.open(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	meter := progress.New(v.err, "verify", 0, progress.Items)
	defer meter.Done()
	var verdicts []archive.Verdict
	err = a.Verify(ctx, cluster, meter.Set, func(verdict archive.Verdict) {
		verdicts = append(verdicts, verdict)
		if !v.json {
			meter.Done()
			fmt.Fprintf(v.out, "sound: %s through %s, %d snapshots, %d transactions\n",
				position(verdict.From), position(verdict.Through), verdict.Snapshots, verdict.Replayed)
		}
	})
	if err != nil {
		return archiveError(err)
	}
	if v.json {
		return printJSON(v.out, verdicts)
	}
	return nil
}
