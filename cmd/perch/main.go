// Command perch is a node of a Perch cluster, a gateway to one, and the tools
// around them.
//
// This package is flags and wiring: it is the only one that reads flags and
// the environment. It guarantees that a wrong configuration starts nothing and
// is reported whole, not one fault at a time (exit code 2), that every other
// failure ends the process with one clear line (exit code 1), and that SIGTERM
// and SIGINT end a node or a gateway within a second with exit code 0.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"perch/cmd/internal/cli"
	"perch/cmd/internal/exit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(exit.Report(os.Stderr, run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)))
}

// run is the whole program but for the process around it: args are what
// follows the program's name, env is as os.Environ gives it. It returns when
// the command is done or ctx has ended and everything was stopped.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) error {
	root := rootCommand(environment(env))
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// more are commands that only some builds have.
var more []func() *cobra.Command

func rootCommand(env map[string]string) *cobra.Command {
	root := &cobra.Command{
		Use:           "perch",
		Short:         "A coordination service that answers plain HTTP",
		Long:          rootHelp,
		SilenceErrors: true, // main reports them
		SilenceUsage:  true,
		Args:          cli.WordBelow,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	own := []*cobra.Command{serveCommand(env), gatewayCommand(env), archiveCommand(env), restoreCommand(env), benchCommand(), logCommand(), versionCommand()}
	for _, cmd := range own {
		cmd.Args = asUsage(cmd.Args)
	}
	asking := &cli.Options{Env: env}
	root.AddCommand(own...)
	root.AddCommand(asking.Commands()...)
	root.AddCommand(asking.ShellCommand(), snapshotCommand(asking))
	for _, make := range more {
		root.AddCommand(make())
	}
	cli.Arrange(root)
	return root
}

const rootHelp = `Perch is a coordination service: a small replicated tree of nodes, with sessions, watches, locks and queues, over
plain HTTP.

  perch serve                  run a node at http://127.0.0.1:7070, data in ./perch-data
  perch create -p /app/color blue
  perch get /app/color
  perch watch -R /app          follow what happens
  perch shell                  type commands one after the other, with completion

The commands ask http://127.0.0.1:7070, or the cluster that --url or PERCH_URL names.`

// asUsage marks what is wrong with arguments as the caller's fault.
func asUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check == nil {
			check = cobra.NoArgs
		}
		if err := check(cmd, args); err != nil {
			return exit.UsageError(err)
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "perch", version())
			return err
		},
	}
}
