package cli

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

// guarded is a command that runs while something is held.
type guarded struct {
	kind *kind
	name string
	want wanted
	c    *conn
	done func(ctx context.Context, code int) error // gives it back; code is the command's exit code, −1 when it was not run

	fencing int64
	until   time.Time // it is held so long, by this clock
}

const guardHelp = `It is renewed as long as the command runs, and given back when it ends. When it is lost, because no node could be
reached for its whole time or an administrator broke it, the command is told to end (SIGTERM), and killed after 5 seconds.
The command finds the fencing token in PERCH_FENCING_TOKEN, and the session in PERCH_SESSION.
Exit status: that of the command; 75 when it was not to be had in time; 76 when it was lost; 127 when the command could not be run;
else as in perch help exit-codes.`

// needCommand checks NAME -- COMMAND.
func needCommand(word string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < 2 {
			return fmt.Errorf("want a name and a command: perch %s NAME -- COMMAND", word)
		}
		return nil
	}
}

// run holds, and runs the command meanwhile. The session is its own: what ends
// with the command must not be what others hold things in.
func (g *guarded) run(ctx context.Context, c *conn, args []string) error {
	if err := g.want.check(g.kind); err != nil {
		return err
	}
	n, err := name(args[0])
	if err != nil {
		return err
	}
	g.c, g.name, c.Session = c, n, drawn()
	if g.done == nil {
		g.done = func(ctx context.Context, _ int) error { return g.release(ctx) }
	}
	if err := g.acquire(ctx); err != nil {
		return err
	}
	return g.command(ctx, args[1:])
}

func (g *guarded) acquire(ctx context.Context) error {
	var grant client.Grant
	a, err := g.c.obtain(ctx, &g.want, &grant, func(ctx context.Context, poll, stay time.Duration) (*http.Response, error) {
		return g.kind.acquire(ctx, g.c, []string{g.name}, &g.want, poll, stay)
	})
	if err == nil {
		g.held(&grant, a.sent)
		return nil
	}
	interrupted := ctx.Err() != nil
	if code := exit.CodeOf(err); interrupted || code == exit.NotObtained || code == exit.Unavailable || code == exit.Unknown {
		g.giveBack(-1) // a place, or a grant whose answer was lost
		if interrupted {
			g.c.note("told to end while it waits for the %s %s; the command was not run", g.kind.word, g.name)
		} else {
			g.c.note("%v", err)
		}
		return exit.Silent(exit.NotObtained)
	}
	return err
}

func (g *guarded) command(ctx context.Context, args []string) error {
	c := exec.Command(args[0], args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = g.c.in.InOrStdin(), g.c.out, g.c.err
	c.Env = append(os.Environ(), "PERCH_LOCK="+g.name, "PERCH_SESSION="+g.c.Session, fmt.Sprintf("PERCH_FENCING_TOKEN=%d", g.fencing))
	c.SysProcAttr = diesWithParent()
	// What dies with its parent dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.Start(); err != nil {
		g.giveBack(-1)
		g.c.note("%v", err)
		return exit.Silent(exit.NotRun)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	lost := g.guard(ctx, c, ended)
	if back := g.giveBack(c.ProcessState.ExitCode()); lost || !back {
		g.c.note("the %s %s was lost while the command ran", g.kind.word, g.name)
		return exit.Silent(exit.Gone)
	}
	return exitOf(c)
}

// exitOf is how the command ended, as a shell says it.
func exitOf(c *exec.Cmd) error {
	if status, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exit.Silent(128 + int(status.Signal()))
	}
	if code := c.ProcessState.ExitCode(); code != 0 {
		return exit.Silent(code)
	}
	return nil
}

// held notes a grant or a renewal, asked for at sent: what the server counts
// begins no earlier.
func (g *guarded) held(grant *client.Grant, sent time.Time) {
	if grant.FencingToken != 0 {
		g.fencing = grant.FencingToken
	}
	g.until = sent.Add(time.Duration(grant.WaitedMs+grant.RemainingMs) * time.Millisecond)
}

// guard renews the hold until the command has ended. It says whether it was lost
// before; then the command was ended.
func (g *guarded) guard(ctx context.Context, c *exec.Cmd, ended <-chan error) (lost bool) {
	told := ctx.Done()
	next := time.NewTimer(time.Until(g.until) / holdShare)
	defer next.Stop()
	for {
		select {
		case <-ended:
			return false
		case <-told: // the command is told what this process was told
			_ = c.Process.Signal(syscall.SIGTERM)
			told = nil
		case <-next.C:
			if !g.renew() {
				g.end(c, ended)
				return true
			}
			next.Reset(max(holdRetry, time.Until(g.until)/holdShare))
		}
	}
}

// renew says whether it is held still, as far as can be known.
func (g *guarded) renew() bool {
	margin := g.want.ttl / holdLast
	if time.Until(g.until) <= margin {
		return false
	}
	ctx, cancel := context.WithDeadline(placed(context.Background()), g.until.Add(-margin))
	defer cancel()
	for {
		var grant client.Grant
		a, err := g.c.ask(ctx, &grant, func(ctx context.Context) (*http.Response, error) {
			return g.kind.renew(ctx, g.c, []string{g.name}, client.HolderRef{FencingToken: ptr(g.fencing)})
		})
		switch {
		case err == nil:
			if g.held(&grant, a.sent); grant.RevokeRequested != nil && *grant.RevokeRequested {
				g.c.note("somebody asks to give the %s %s up", g.kind.word, g.name)
			}
			return true
		case exit.CodeOf(err) == exit.Gone, ctx.Err() != nil:
			g.c.note("%v", err)
			return false
		}
		pauseFor(ctx, holdRetry)
	}
}

// end ends the command: at first it is asked to.
func (g *guarded) end(c *exec.Cmd, ended <-chan error) {
	_ = c.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(holdGrace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		_ = c.Process.Kill()
		<-ended
	}
}

// giveBack says whether it was still held; when nobody answers its time ends it.
func (g *guarded) giveBack(code int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), holdGrace)
	defer cancel()
	for {
		err := g.done(ctx, code)
		switch {
		case err == nil:
			return true
		case exit.CodeOf(err) == exit.Gone:
			return false
		case ctx.Err() != nil || exit.CodeOf(err) != exit.Unavailable && exit.CodeOf(err) != exit.Unknown:
			return true
		}
		pauseFor(ctx, holdRetry)
	}
}

func (g *guarded) release(ctx context.Context) error {
	_, err := g.c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) {
		return g.kind.release(ctx, g.c, []string{g.name}, client.ReleaseRef{})
	})
	return err
}
