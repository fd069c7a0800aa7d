package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/cmd/internal/progress"
)

// lineBytesMax is the longest line that is taken: a value is part of it.
const lineBytesMax = 8 << 20

// errQuit ends the shell.
var errQuit = errors.New("quit")

// shell is one `perch shell`. Each line is a command of its own; what lines have
// in common is the node they are at, and the session.
type shell struct {
	opt      Options
	in       io.Reader // what commands read
	out, err io.Writer
	stop     bool // at the first line that fails

	last error // of the line before
	keep sync.WaitGroup
}

// ShellCommand is perch shell.
func (o *Options) ShellCommand() *cobra.Command {
	var stop bool
	cmd := &cobra.Command{
		Use: "shell", Short: "Type commands one after the other, with history and completion",
		Long: `Type commands one after the other, as in ZooKeeper's zkCli: each line is a command of perch, without "perch" in front.
cd and pwd are there besides; paths without a leading slash begin where cd went. Words are quoted as in a shell: 'a b',
"it's", a\ b. Tab completes commands, flags, nodes and names; Ctrl-R searches the history, in which a line that begins
with a space is not kept; Ctrl-C ends a command, Ctrl-D or quit the shell.

The shell has a session of its own from the first line on that needs one: nodes created with create -e and locks that
were taken go when it ends.

When standard input is no terminal its lines are run, # begins a comment, and the exit code is that of the last line.`,
		Example: "  perch shell\n  printf 'cd /app\\ncreate -s job- x\\nls\\n' | perch shell -e",
	}
	cmd.Flags().BoolVarP(&stop, "errexit", "e", false, "end at the first line that fails")
	return o.asks(cmd, func(ctx context.Context, c *conn, _ []string) error {
		s := &shell{opt: o.inShell(c), in: c.in.InOrStdin(), out: c.out, err: c.err, stop: stop}
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer s.keep.Wait() // closes the session
		defer cancel()
		s.opt.own = &ownSession{ttl: ttlDefault, opened: func(c *conn) { s.keepSession(ctx, c) }}
		return s.run(ctx, cmd.Context())
	})
}

// inShell has the lines reach the cluster that the shell was started for.
func (o *Options) inShell(c *conn) Options {
	env := maps.Clone(o.Env)
	if env == nil {
		env = map[string]string{}
	}
	env["PERCH_URL"], env["PERCH_TOKEN_FILE"], env["PERCH_CA_FILE"] = c.URL, c.TokenFile, c.CAFile
	env["PERCH_OUTPUT"], env["PERCH_TIMEOUT"] = c.Output, c.Timeout.String()
	return Options{Env: env, insecure: c.Insecure}
}

// keepSession has the session of the shell renewed until ctx ends.
func (s *shell) keepSession(ctx context.Context, c *conn) {
	beside, err := c.beside()
	if err != nil {
		c.note("%v; the session of this shell is not kept alive", err)
		return
	}
	s.keep.Go(func() {
		if err := s.opt.own.keep(ctx, beside); err != nil && ctx.Err() == nil {
			c.note("%v; the nodes and locks of this shell are gone", err)
		}
	})
}

// run runs lines until there is no more, somebody quits or outer ends. outer ends
// with an interrupt, too, which at a terminal is meant for one command.
func (s *shell) run(ctx, outer context.Context) error {
	if in, ok := s.in.(*os.File); ok && progress.IsTerminal(in) && progress.IsTerminal(s.out) {
		return s.interact(ctx)
	}
	lines, failed := s.lines()
	s.in = strings.NewReader("") // the lines are not for commands to read
	for {
		select {
		case <-outer.Done():
			return s.ended()
		case line, more := <-lines:
			switch {
			case !more:
				return cmp.Or(<-failed, s.ended())
			case s.line(outer, line):
				return s.ended()
			}
		}
	}
}

// lines reads standard input. Nobody can stop that, so it may outlive the shell:
// the process ends with it.
func (s *shell) lines() (lines chan string, failed chan error) {
	lines, failed = make(chan string), make(chan error, 1)
	scan := bufio.NewScanner(s.in)
	scan.Buffer(nil, lineBytesMax)
	go func() {
		defer close(lines)
		for scan.Scan() {
			lines <- scan.Text()
		}
		err := scan.Err()
		if err != nil {
			err = fmt.Errorf("standard input: %w", err)
		}
		failed <- err
	}()
	return lines, failed
}

// ended is how the shell ends: as its last line did, which has been told.
func (s *shell) ended() error {
	if s.last == nil {
		return nil
	}
	return exit.Silent(exit.CodeOf(s.last))
}

// line runs one, and says whether it was the last.
func (s *shell) line(ctx context.Context, line string) (end bool) {
	words, err := split(line)
	if len(words) == 0 || strings.HasPrefix(strings.TrimSpace(line), "#") {
		return false
	}
	if err != nil {
		err = exit.UsageError(err)
	} else {
		root := s.root()
		root.SetArgs(texts(words))
		root.SetIn(s.in)
		root.SetOut(s.out)
		root.SetErr(s.err)
		err = root.ExecuteContext(ctx)
	}
	if errors.Is(err, errQuit) {
		return true
	}
	exit.Report(s.err, err)
	s.last = err
	return err != nil && s.stop
}

// root is all commands of a line. It is made anew for each, because flags keep
// what they were set to.
func (s *shell) root() *cobra.Command {
	s.opt.reach = nil // that of the commands of the line before
	root := &cobra.Command{
		Use: "perch", Short: "Commands of the shell", SilenceErrors: true, SilenceUsage: true,
		Args: WordBelow,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(s.opt.Commands()...)
	root.AddCommand(s.cdCommand(), &cobra.Command{
		Use: "pwd", Short: "Print where relative paths begin", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), s.place())
			return err
		},
	}, &cobra.Command{
		Use: "quit", Aliases: []string{"exit"}, Short: "End the shell", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return errQuit },
	})
	Arrange(root)
	return root
}

// place is the node that relative paths begin at.
func (s *shell) place() string { return "/" + strings.TrimPrefix(s.opt.dir, "/") }

func (s *shell) cdCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cd [PATH]", Short: "Have relative paths begin at a node", Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.opt.completePath}
	return s.opt.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		to := "/"
		if len(args) > 0 {
			to = args[0]
		}
		at, err := s.opt.path(to + "/.") // takes a slash at the end away
		if err != nil {
			return err
		}
		if at != "" {
			if _, err := c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.StatNode(ctx, at, nil) }); err != nil {
				return err
			}
		}
		s.opt.dir = ""
		if at != "" {
			s.opt.dir = "/" + at
		}
		return nil
	})
}

// lineContext ends with an interrupt while a line runs.
func lineContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt)
}

// terminated is told when the process is asked to end.
func terminated() (told chan os.Signal, stop func()) {
	told = make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	return told, func() { signal.Stop(told) }
}
