package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/cmd/internal/logview"
	"perch/quorum"
)

func logCommand() *cobra.Command {
	var asJSON bool
	var from, to string
	cmd := &cobra.Command{
		Use:   "log DIR",
		Short: "Show the log of a node, or say with `perch log verify DIR` whether it is sound",
		Long: `Show everything in the log of a node, in the order in which it was written: what was asked for, never a value.
DIR is the data directory of the node, or the log in it. The node may run; nothing is changed.
What is damaged is shown as far as it can be read: perch log verify says whether it is.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt := logview.Options{JSON: asJSON}
			var fromErr, toErr error
			opt.From, fromErr = parseZxid("--from", from)
			opt.To, toErr = parseZxid("--to", to)
			if err := errors.Join(fromErr, toErr); err != nil {
				return exit.UsageError(err)
			}
			return logError(logview.Dump(cmd.OutOrStdout(), args[0], opt))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.Flags().StringVar(&from, "from", "", "show only what concerns this position or a later one: a zxid, or EPOCH,COUNTER")
	cmd.Flags().StringVar(&to, "to", "", "show only what concerns this position or an earlier one")
	cmd.AddCommand(verifyLogCommand())
	return cmd
}

func verifyLogCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Read the whole log of a node and its snapshots, and say whether they are sound",
		Long: `Read the whole log of a node and its snapshots, and say whether they are sound: checksums, contiguity, chain hashes,
headers, marks, the watermark, and of snapshots the digest of the state in them. The node may run; nothing is changed.
A write that was torn at the end, of which nobody was told, is no damage.

Exit code 0: sound. 1: damaged, with file, offset, reason and remedy; or it could not be read. 2: there is no log.`,
		Args: asUsage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			sound, err := logview.Verify(cmd.OutOrStdout(), args[0], asJSON)
			if err == nil && !sound {
				err = fmt.Errorf("%s is damaged", args[0])
			}
			return logError(err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

// logError marks a directory without a log as the caller's fault.
func logError(err error) error {
	if errors.Is(err, logview.ErrNoLog) {
		return exit.UsageError(err)
	}
	return err
}

// parseZxid reads a position as the HTTP API writes it, or as EPOCH,COUNTER; ""
// is 0.
func parseZxid(flag, text string) (quorum.Zxid, error) {
	if text == "" {
		return 0, nil
	}
	epoch, counter, both := strings.Cut(strings.Trim(text, "()"), ",")
	if !both {
		z, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s %q: must be a zxid or EPOCH,COUNTER", flag, text)
		}
		return quorum.Zxid(z), nil
	}
	e, err1 := strconv.ParseUint(epoch, 10, 32)
	c, err2 := strconv.ParseUint(counter, 10, 32)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%s %q: must be a zxid or EPOCH,COUNTER", flag, text)
	}
	return quorum.MakeZxid(quorum.Epoch(e), uint32(c)), nil
}
