package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/cli"
	"perch/cmd/internal/exit"
	"perch/cmd/internal/progress"
	"perch/lease"
	"perch/quorum"
	"perch/quorum/disk"
	"perch/quorum/restore"
)

func snapshotCommand(asking *cli.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Save the state of a cluster to a file, look at the file, and restore it",
		Args:  cli.WordBelow,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(saveCommand(asking), inspectCommand(), restoreFileCommand())
	return cmd
}

func saveCommand(asking *cli.Options) *cobra.Command {
	var out, errOut io.Writer
	cmd := &cobra.Command{
		Use:   "save FILE",
		Short: "Save the state of the cluster, as of now, to a file",
		Long: `Save the state of the cluster, as of now, to a file. Writes go on meanwhile. The file appears under its name when
it is whole, was read back and is on the disk; one of that name is replaced then. It holds the data of all tenants and
no secret but hashes of tokens; it gets mode 0600.`,
		Args: cobra.ExactArgs(1),
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			out, errOut = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return nil
		},
	}
	return asking.Backups(cmd, func(_ context.Context, b *cli.Backup, args []string) error {
		head, err := save(args[0], b, errOut)
		if err != nil {
			return fmt.Errorf("save %s: %w", args[0], err)
		}
		if b.JSON {
			return printJSON(out, head)
		}
		_, err = fmt.Fprintf(out, "%s holds the state of cluster %s at %s, digest %s\n", args[0], head.Cluster, position(head.Zxid), head.Digest)
		return err
	})
}

// save writes a backup to a file that appears whole and verified, or not at all.
func save(path string, b *cli.Backup, errOut io.Writer) (head restore.Head, err error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if info, err := os.Lstat(path); name == "" || err == nil && !info.Mode().IsRegular() {
		return head, &exit.Error{Code: exit.Usage, Err: errors.New("no regular file: it would be replaced; name a new one, or one of before")} // a device, or a link to one, would be replaced
	}
	temp := name + disk.TempSuffix
	f, err := (disk.OS{}).Open(filepath.Join(dir, temp), disk.Create)
	if err != nil {
		return head, err
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(filepath.Join(dir, temp))
		}
	}()
	meter := progress.New(errOut, "save", max(0, b.Size), progress.Bytes)
	defer meter.Done()
	n, err := io.Copy(io.NewOffsetWriter(f, 0), meter.Reader(b))
	switch {
	case errors.As(err, new(*os.PathError)):
		return head, err // of the file, and not of the connection
	case err != nil:
		return head, fmt.Errorf("the connection broke after %d bytes: %w", n, err)
	case b.Size >= 0 && n != b.Size:
		return head, fmt.Errorf("the connection ended after %d of %d bytes", n, b.Size)
	}
	if head, err = check(filepath.Join(dir, temp)); err != nil {
		return head, fmt.Errorf("what came is no backup: %w", err)
	}
	if digest := b.Header.Get("Perch-Digest"); digest != head.Digest {
		return head, fmt.Errorf("the server announced the digest %s and sent the state with %s", digest, head.Digest)
	}
	return head, disk.Publish(disk.OS{}, f, dir, temp, name)
}

// check reads a backup through and compares its checksums.
func check(path string) (restore.Head, error) {
	b, err := restore.OpenBackup(path)
	if err != nil {
		return restore.Head{}, err
	}
	defer func() { _ = b.Close() }()
	_, err = io.Copy(io.Discard, struct{ io.Reader }{b})
	return b.Head, err
}

// load reads a backup and the state in it.
func load(path string, errOut io.Writer) (restore.Head, *lease.State, error) {
	b, err := restore.OpenBackup(path)
	if err != nil {
		return restore.Head{}, nil, err
	}
	defer func() { _ = b.Close() }()
	meter := progress.New(errOut, "read", b.Size, progress.Bytes)
	defer meter.Done()
	state, err := lease.Restore(meter.Reader(b))
	if err != nil {
		return b.Head, nil, fmt.Errorf("read %s: %w", path, err)
	}
	if v := state.View(); v.Zxid() != b.Zxid || restore.DigestText(v.Digest()) != b.Digest {
		return b.Head, nil, fmt.Errorf("read %s: it holds the state at %v, its first line says %v", path, v.Zxid(), b.Zxid)
	}
	return b.Head, state, nil
}

// backupError gives an error of a file the code that scripts go by.
func backupError(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return &exit.Error{Code: exit.NotFound, Err: err}
	}
	return err
}

// inspected is what perch snapshot inspect says.
type inspected struct {
	restore.Head
	AgeMs      uint64 `json:"cluster_age_ms"`
	Level      uint32 `json:"level"` // feature level
	Nodes      int    `json:"nodes"`
	Sessions   int    `json:"sessions"`
	Events     int    `json:"events"`
	OldestZxid uint64 `json:"oldest_zxid"` // of the events
	Auth       bool   `json:"auth"`
}

func inspectCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Say what a saved state is, and verify it",
		Long: `Say what a saved state is: its position, the cluster it is of, what it holds. The whole file is read, and the state in
it must have the digest that it was saved with.

Exit code 0: sound. 1: damaged, with the place and the reason; or it could not be read. 3: there is no such file.`,
		Args: asUsage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return exit.UsageError(fmt.Errorf("--output %q: must be table or json", output))
			}
			head, state, err := load(args[0], cmd.ErrOrStderr())
			if err != nil {
				return backupError(err)
			}
			v := state.View()
			i := &inspected{
				Head: head, AgeMs: v.Age(), Level: v.Level(), Nodes: v.Nodes(), Sessions: v.Sessions(),
				Events: v.KeptEvents(), OldestZxid: uint64(v.Oldest()), Auth: v.Auth(),
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), i)
			}
			return i.table(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, for people, or json")
	return cmd
}

func (i *inspected) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range [][2]any{
		{"cluster", i.Cluster + " (" + i.Name + ")"}, {"zxid", position(i.Zxid)}, {"highest epoch known", i.Epoch},
		{"digest", i.Digest + ", as it was saved with"}, {"cluster age", (time.Duration(i.AgeMs) * time.Millisecond).Round(time.Second)},
		{"feature level", i.Level}, {"nodes", i.Nodes}, {"sessions", i.Sessions}, {"events kept", i.Events},
		{"authentication", map[bool]string{true: "on", false: "off"}[i.Auth]}, {"bytes", i.Size},
	} {
		fmt.Fprintf(w, "%v\t%v\n", row[0], row[1])
	}
	return w.Flush()
}

func restoreFileCommand() *cobra.Command {
	var c restoreTarget
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Prepare an empty data directory with a saved state, for one voter of a new cluster",
		Long: `Prepare an empty data directory with a saved state, for one voter of a new cluster. Run it for every voter with the
same file, each with its own --id and --data, then start them all; the cluster forms only when all of them hold the same
state. It has a new id. What was written after the file was saved is lost, and clients are told so: their cursors,
tags and fencing tokens from that time answer 410 history_lost; sessions end, with what they hold. A damaged file is
refused, and nothing but an empty directory is written to.`,
		Args: asUsage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.validate(); err != nil {
				return exit.UsageError(err)
			}
			head, state, err := load(args[0], cmd.ErrOrStderr())
			if err != nil {
				return backupError(err)
			}
			sum, err := c.into(restore.Source{View: state.View(), Epoch: head.Epoch}, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s holds the state of cluster %s at %s, digest %s: %d nodes; %d sessions end.\n%s\n",
				c.Data, head.Cluster, position(sum.Zxid), restore.DigestText(sum.Digest), sum.Nodes, sum.Sessions, c.next())
			return err
		},
	}
	c.declare(cmd.Flags())
	return cmd
}

// position shows a zxid as the number that the API knows, and what it is made of.
func position(z quorum.Zxid) string { return fmt.Sprintf("%d %v", uint64(z), z) }

func printJSON(out io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}
