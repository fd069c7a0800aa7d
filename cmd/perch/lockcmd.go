package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"perch/gen/client"
)

// Exit codes of `perch lock`, besides those of the command that it runs: as in
// sysexits.h, try again later; and one of its own.
const (
	exitNotHeld  = 75 // the lock was not to be had in time; the command was not run
	exitHoldLost = 76 // the lock was lost while the command ran, which was killed
	exitNotRun   = 127
)

const (
	lockPoll  = 25 * time.Second       // that one request waits: below the time-outs of common proxies
	lockGrace = 5 * time.Second        // between asking the command to end and killing it
	lockRetry = 200 * time.Millisecond // after a request that failed
	lockShare = 3                      // it renews when a third of its time is over …
	lockLast  = 10                     // … and gives up when a tenth is left
)

// exitError ends the process with a code; it has been reported.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit %d", e.code) }

// lockRun is one `perch lock`.
type lockRun struct {
	name   string
	ttl    time.Duration
	wait   time.Duration // negative: for ever
	shared bool
	owner  string
	token  string // session
	api    *client.Client
	stderr func(format string, args ...any)

	fencing int64
	until   time.Time // the lock is held so long, by this clock
}

func lockCommand(env map[string]string) *cobra.Command {
	l := lockRun{}
	cmd := &cobra.Command{
		Use:   "lock NAME [flags] -- COMMAND [ARGUMENT]...",
		Short: "Run a command under a lock",
		Long: `Run a command while a lock is held. The lock is renewed as long as the command runs, and released when it ends.
When the lock is lost, because no node could be reached for its whole time or an administrator broke it, the command is
told to end (SIGTERM), and killed after 5 seconds.
The command finds the fencing token in PERCH_FENCING_TOKEN, and the session in PERCH_SESSION.
Exit status: that of the command; 75 when the lock was not to be had in time; 76 when it was lost; 127 when the command could not be run;
1 when the lock was refused for another reason; 2 for wrong arguments.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return errors.New("want the name of a lock and a command: perch lock NAME -- COMMAND")
			}
			return nil
		},
	}
	host, _ := os.Hostname()
	f := cmd.Flags()
	f.DurationVar(&l.ttl, "ttl", 30*time.Second, "how long the lock outlives this process (1s to 24h)")
	f.DurationVar(&l.wait, "wait", -1, "how long to wait for the lock (0: not at all; below 0: for ever)")
	f.BoolVar(&l.shared, "shared", false, "share the lock with others that share it")
	f.StringVar(&l.owner, "owner", fmt.Sprintf("%s/%d", host, os.Getpid()), "what others see of the holder")
	return asking(env, cmd, func(cmd *cobra.Command, s *session, args []string) error {
		if l.ttl < time.Second || l.ttl > 24*time.Hour {
			return usageError{errors.New("--ttl: must be 1s to 24h")}
		}
		var secret [16]byte
		_, _ = rand.Read(secret[:]) // never fails
		l.name, l.api, l.token = args[0], s.api, hex.EncodeToString(secret[:])
		l.stderr = func(format string, args ...any) {
			fmt.Fprintf(cmd.ErrOrStderr(), "perch: "+format+"\n", args...)
		}
		return l.run(cmd, args[1:])
	})
}

func (l *lockRun) run(cmd *cobra.Command, command []string) error {
	ctx := cmd.Context()
	if err := l.acquire(ctx); err != nil {
		return err
	}
	c := exec.Command(command[0], command[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
	c.Env = append(os.Environ(), "PERCH_LOCK="+l.name, "PERCH_SESSION="+l.token, fmt.Sprintf("PERCH_FENCING_TOKEN=%d", l.fencing))
	c.SysProcAttr = diesWithParent()
	// What dies with its parent dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.Start(); err != nil {
		l.release()
		l.stderr("%v", err)
		return exitError{exitNotRun}
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	lost := l.guard(ctx, c, ended)
	if released := l.release(); lost || !released {
		l.stderr("the lock %s was lost while the command ran", l.name)
		return exitError{exitHoldLost}
	}
	return exitOf(c)
}

// exitOf is how the command ended, as a shell says it.
func exitOf(c *exec.Cmd) error {
	if status, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitError{128 + int(status.Signal())}
	}
	if code := c.ProcessState.ExitCode(); code != 0 {
		return exitError{code}
	}
	return nil
}

// acquire asks until it has the lock, or the wait is over.
func (l *lockRun) acquire(ctx context.Context) error {
	var last error
	for began := time.Now(); ; {
		wait := lockPoll
		if l.wait >= 0 {
			wait = min(wait, max(0, l.wait-time.Since(began)))
		}
		sent := time.Now()
		var grant client.Grant
		resp, err := l.api.AcquireLock(ctx, l.name, &client.AcquireLockParams{PerchSession: &l.token}, l.spec(wait))
		again := err != nil || resp.StatusCode == http.StatusConflict || resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests
		conflict := err == nil && resp.StatusCode == http.StatusConflict
		if last = answered(resp, err, &grant); last == nil {
			l.held(&grant, sent)
			return nil
		}
		switch {
		case ctx.Err() != nil:
			l.release()
			l.stderr("told to end while it waits for the lock %s; the command was not run", l.name)
			return exitError{exitNotHeld}
		case !again:
			return last
		case l.wait >= 0 && time.Since(began) >= l.wait:
			l.release() // a place, or a grant whose answer was lost
			l.stderr("%v", last)
			return exitError{exitNotHeld}
		case !conflict:
			pauseFor(ctx, lockRetry)
		}
	}
}

func (l *lockRun) spec(wait time.Duration) client.AcquireSpec {
	ttl, waitMs := l.ttl.Milliseconds(), int32(wait.Milliseconds())
	spec := client.AcquireSpec{TTLMs: &ttl, WaitMs: &waitMs, Owner: &l.owner}
	if l.shared {
		mode := client.Shared
		spec.Mode = &mode
	}
	return spec
}

// held notes a grant or a renewal, asked for at sent: what the server counts
// begins no earlier.
func (l *lockRun) held(g *client.Grant, sent time.Time) {
	l.fencing = g.FencingToken
	l.until = sent.Add(time.Duration(g.WaitedMs+g.RemainingMs) * time.Millisecond)
}

// guard renews the lock until the command has ended. It says whether the lock
// was lost before; then the command was ended.
func (l *lockRun) guard(ctx context.Context, c *exec.Cmd, ended <-chan error) (lost bool) {
	told := ctx.Done()
	next := time.NewTimer(time.Until(l.until) / lockShare)
	defer next.Stop()
	for {
		select {
		case <-ended:
			return false
		case <-told: // the command is told what this process was told
			_ = c.Process.Signal(syscall.SIGTERM)
			told = nil
		case <-next.C:
			if !l.renew() {
				l.end(c, ended)
				return true
			}
			next.Reset(max(lockRetry, time.Until(l.until)/lockShare))
		}
	}
}

// renew says whether the lock is held still, as far as can be known.
func (l *lockRun) renew() bool {
	margin := l.ttl / lockLast
	if time.Until(l.until) <= margin {
		return false
	}
	ctx, cancel := context.WithDeadline(context.Background(), l.until.Add(-margin))
	defer cancel()
	for last := error(nil); ; {
		sent := time.Now()
		var grant client.Grant
		resp, err := l.api.RenewLock(ctx, l.name, &client.RenewLockParams{PerchSession: &l.token}, client.HolderRef{FencingToken: &l.fencing})
		gone := err == nil && resp.StatusCode == http.StatusGone
		err = answered(resp, err, &grant)
		switch {
		case err == nil:
			if l.held(&grant, sent); grant.RevokeRequested != nil && *grant.RevokeRequested {
				l.stderr("somebody asks to give the lock %s up", l.name)
			}
			return true
		case gone, last == nil && ctx.Err() != nil:
			l.stderr("%v", err)
			return false
		case ctx.Err() != nil:
			l.stderr("%v", last)
			return false
		}
		last = err
		pauseFor(ctx, lockRetry)
	}
}

// end ends the command: at first it is asked to.
func (l *lockRun) end(c *exec.Cmd, ended <-chan error) {
	_ = c.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(lockGrace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		_ = c.Process.Kill()
		<-ended
	}
}

// release gives the lock back, and says whether it was still held.
func (l *lockRun) release() bool {
	ctx, cancel := context.WithTimeout(context.Background(), lockGrace)
	defer cancel()
	for {
		resp, err := l.api.ReleaseLock(ctx, l.name, &client.ReleaseLockParams{PerchSession: &l.token}, client.ReleaseRef{})
		gone := err == nil && resp.StatusCode == http.StatusGone
		if answered(resp, err, nil) == nil {
			return true
		}
		if gone || ctx.Err() != nil {
			return !gone // its time will end it
		}
		pauseFor(ctx, lockRetry)
	}
}

// pauseFor waits for d, or until ctx ends.
func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
