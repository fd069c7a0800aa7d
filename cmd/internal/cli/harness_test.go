package cli

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// perch runs a command as perch does.
func perch(args, env []string, stdin string, stdout, stderr io.Writer) error {
	o := &Options{Env: map[string]string{}}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		o.Env[name] = value
	}
	root := &cobra.Command{Use: "perch", SilenceErrors: true, SilenceUsage: true, Args: WordBelow, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	root.AddCommand(o.Commands()...)
	root.AddCommand(o.ShellCommand())
	Arrange(root)
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(context.Background())
}
