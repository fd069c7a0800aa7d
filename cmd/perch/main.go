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
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFailure = 1 // it could not start, or had to stop
	exitUsage   = 2 // it was asked for something that it does not do
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr), os.Stderr))
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

// usageError marks a fault of whoever called, as opposed to a failure.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitCode reports err, when there is one, and says how to exit.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	var exit exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(stderr, "perch:", strings.TrimSuffix(line, "\n"))
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

func rootCommand(env map[string]string) *cobra.Command {
	root := &cobra.Command{
		Use:           "perch",
		Short:         "A coordination service that answers plain HTTP",
		SilenceErrors: true, // exitCode reports them
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serveCommand(env), gatewayCommand(env), tokenCommand(env), principalCommand(env), whoamiCommand(env), lockCommand(env),
		benchCommand(), logCommand(), versionCommand())
	for _, cmd := range append(root.Commands(), root) {
		cmd.Args = asUsage(cmd.Args)
	}
	return root
}

// asUsage marks what is wrong with arguments as the caller's fault.
func asUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check == nil {
			check = cobra.NoArgs
		}
		if err := check(cmd, args); err != nil {
			return usageError{err}
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
