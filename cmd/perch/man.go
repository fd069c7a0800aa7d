//go:build man

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
)

// With the tag man the command writes its manual pages, one for each command:
// `make man`. The binary that people run does not carry what that takes.
func init() {
	more = append(more, func() *cobra.Command {
		return &cobra.Command{
			Use: "man DIR", Short: "Write the manual pages into a directory", Hidden: true, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return writeMan(cmd.Root(), args[0]) },
		}
	})
}

// writeMan writes pages that are the same wherever they are made.
func writeMan(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root.DisableAutoGenTag = true
	var codes strings.Builder
	exit.Table(&codes)
	root.Long += "\n\nExit codes of all commands:\n\n" + codes.String()
	hideHere(root)
	header := &doc.GenManHeader{Section: "1", Source: "Perch", Manual: "Perch Manual"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return err
	}
	pages, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(root.OutOrStdout(), "%d manual pages in %s\n", len(pages), dir)
	return err
}

// hideHere keeps what is so on this machine out of the pages: the default of
// --owner names it.
func hideHere(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if host, _ := os.Hostname(); host != "" && strings.Contains(f.DefValue, host) {
			f.DefValue = ""
		}
	})
	for _, below := range cmd.Commands() {
		hideHere(below)
	}
}
