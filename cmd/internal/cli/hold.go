package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/user"
	"time"

	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

const (
	holdGrace = 5 * time.Second        // between asking a command to end and killing it; and of a last request
	holdRetry = 200 * time.Millisecond // after a request that failed
	holdShare = 3                      // a hold is renewed when a third of its time is over …
	holdLast  = 10                     // … and given up when a tenth is left
	holdStay  = 5 * time.Second        // a place in the queue outlives the request that waits in it
)

// wanted is what is asked for, of any kind.
type wanted struct {
	ttl, wait time.Duration // wait below 0: for ever
	delay     time.Duration // of a lock
	shared    bool          // of a lock
	limit     int32         // of a semaphore
	permits   int32         // of a semaphore
	value     string        // of an election
	owner     string

	key         string // of once
	period      time.Duration
	offset      time.Duration
	maxAttempts int32
	keep        time.Duration
}

// kind is one of the things that sessions hold. Only locks take several names at
// once: all or none.
type kind struct {
	word   string // for people
	plural string // in a fence, and in URLs

	acquire func(ctx context.Context, c *conn, names []string, w *wanted, poll, stay time.Duration) (*http.Response, error)
	renew   func(ctx context.Context, c *conn, names []string, ref client.HolderRef) (*http.Response, error)
	release func(ctx context.Context, c *conn, names []string, ref client.ReleaseRef) (*http.Response, error)
}

func (w *wanted) declareTTL(_ *config, f *pflag.FlagSet) {
	w.ttl = ttlDefault
	f.VarP(&span{&w.ttl}, "ttl", "t", "how long it is held without a renewal (1s to 24h)")
}

// declareWait is of commands that end when they have what they want.
func (w *wanted) declareWait(_ *config, f *pflag.FlagSet) {
	f.Var(&span{&w.wait}, "wait", "how long to wait for it (0: not at all; below 0: for ever)")
	w.declareOwner(f, owner())
}

// declareWaiting is of commands that are there to wait.
func (w *wanted) declareWaiting(_ *config, f *pflag.FlagSet) {
	w.wait = -1
	f.Var(&span{&w.wait}, "wait", "how long to wait for it (0: not at all; below 0: for ever)")
}

func (w *wanted) declareOwner(f *pflag.FlagSet, name string) {
	f.StringVar(&w.owner, "owner", name, "what others see of the holder")
}

// owner names who sits there, alike in each of his commands: with the session it
// tells holds apart.
func owner() string {
	host, _ := os.Hostname()
	if me, err := user.Current(); err == nil {
		return me.Username + "@" + host
	}
	return host
}

// process names this process, for what it holds by itself.
func process() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// perPoll is how long one request waits: a session outlives it, because a parked
// request is no proof of life.
func (w *wanted) perPoll(began time.Time) time.Duration {
	poll := max(time.Second, min(pollFor, w.ttl/2))
	if w.wait >= 0 {
		poll = min(poll, max(0, w.wait-time.Since(began)))
	}
	return poll
}

// over says whether the wait is.
func (w *wanted) over(began time.Time) bool { return w.wait >= 0 && time.Since(began) >= w.wait }

// obtain asks until what is wanted is there, or the wait is over: then err is the
// last refusal. That others have it, or that nobody answers, is waited out; any
// other refusal ends it at once.
func (c *conn) obtain(ctx context.Context, w *wanted, v any, do func(ctx context.Context, poll, stay time.Duration) (*http.Response, error)) (*answer, error) {
	told := false
	for began := time.Now(); ; {
		poll, stay := w.perPoll(began), time.Duration(0)
		if w.wait < 0 || poll < w.wait-time.Since(began) {
			stay = holdStay // it is asked again
		}
		sent := time.Now()
		a, err := c.askFor(placed(ctx), poll, v, func(ctx context.Context) (*http.Response, error) { return do(ctx, poll, stay) })
		switch code := exit.CodeOf(err); {
		case err == nil, ctx.Err() != nil, w.over(began):
			return a, err
		case code != exit.NotObtained && code != exit.Unavailable && code != exit.Unknown, codeOf(err) == "superseded":
			return nil, err
		case code != exit.NotObtained && !told:
			c.note("%v; waiting on", err)
			told = true
		}
		breathe(ctx, sent)
	}
}

// breathe keeps whoever answers sooner than he was asked to from being asked all
// the time.
func breathe(ctx context.Context, sent time.Time) {
	if time.Since(sent) < holdRetry {
		pauseFor(ctx, holdRetry)
	}
}

// inSession gives the conversation a session to hold things in: the one named, in
// the shell that of the shell, else one drawn here, which the first request opens.
// drawn says that it is a new one.
func (c *conn) inSession(ctx context.Context) (drew bool, err error) {
	switch {
	case c.Session != "":
		return false, nil
	case c.opt.own != nil:
		c.Session, err = c.opt.own.open(ctx, c)
		return false, err
	}
	c.Session = drawn()
	return true, nil
}

// grant shows what was obtained: the fencing token alone on standard output, and
// where a session was drawn how to go on with it.
func (c *conn) grant(a *answer, g *client.Grant, drew bool) error {
	if c.asJSON {
		if drew {
			return c.jsonWith(a.body, "session_token", c.Session)
		}
		return c.json(a.body)
	}
	c.note("held for %v more unless it is renewed", time.Duration(g.RemainingMs)*time.Millisecond)
	if drew {
		c.note("in a session of its own; to renew or release it: export PERCH_SESSION=%s", c.Session)
	}
	return c.line("%d", g.FencingToken)
}

var locks = kind{
	word: "lock", plural: "locks",
	acquire: func(ctx context.Context, c *conn, names []string, w *wanted, poll, stay time.Duration) (*http.Response, error) {
		var mode *client.HoldMode
		if w.shared {
			mode = ptr(client.Shared)
		}
		if len(names) > 1 {
			set := client.LockSetSpec{TTLMs: ms(w.ttl), WaitMs: ms32(poll), StayMs: ms32(stay), Owner: ptr(w.owner)}
			for _, name := range names {
				set.Locks = append(set.Locks, client.LockRef{Name: name, Mode: mode})
			}
			return c.api.AcquireLockSet(ctx, nil, set)
		}
		return c.api.AcquireLock(ctx, names[0], nil, client.AcquireSpec{TTLMs: ms(w.ttl), WaitMs: ms32(poll), StayMs: ms32(stay),
			Owner: ptr(w.owner), LockDelayMs: ms32(w.delay), Mode: mode})
	},
	renew: func(ctx context.Context, c *conn, names []string, ref client.HolderRef) (*http.Response, error) {
		return c.api.RenewLock(ctx, names[0], nil, ref)
	},
	release: func(ctx context.Context, c *conn, names []string, ref client.ReleaseRef) (*http.Response, error) {
		if len(names) > 1 {
			return c.api.ReleaseLockSet(ctx, nil, client.LockSetRef{Names: &names})
		}
		return c.api.ReleaseLock(ctx, names[0], nil, ref)
	},
}

var semaphores = kind{
	word: "semaphore", plural: "semaphores",
	acquire: func(ctx context.Context, c *conn, names []string, w *wanted, poll, stay time.Duration) (*http.Response, error) {
		return c.api.AcquireSemaphore(ctx, names[0], nil, client.SemaphoreSpec{TTLMs: ms(w.ttl), WaitMs: ms32(poll), StayMs: ms32(stay),
			Owner: ptr(w.owner), Limit: w.limit, Permits: ptr(w.permits)})
	},
	renew: func(ctx context.Context, c *conn, names []string, ref client.HolderRef) (*http.Response, error) {
		return c.api.RenewSemaphore(ctx, names[0], nil, ref)
	},
	release: func(ctx context.Context, c *conn, names []string, ref client.ReleaseRef) (*http.Response, error) {
		return c.api.ReleaseSemaphore(ctx, names[0], nil, ref)
	},
}

var elections = kind{
	word: "election", plural: "elections",
	acquire: func(ctx context.Context, c *conn, names []string, w *wanted, poll, stay time.Duration) (*http.Response, error) {
		return c.api.Campaign(ctx, names[0], nil, client.CampaignSpec{TTLMs: ms(w.ttl), WaitMs: ms32(poll), StayMs: ms32(stay),
			Owner: ptr(w.owner), Value: ptr(w.value)})
	},
	renew: func(ctx context.Context, c *conn, names []string, ref client.HolderRef) (*http.Response, error) {
		return c.api.RenewLeadership(ctx, names[0], nil, ref)
	},
	release: func(ctx context.Context, c *conn, names []string, ref client.ReleaseRef) (*http.Response, error) {
		return c.api.Resign(ctx, names[0], nil, ref)
	},
}

func ms32(d time.Duration) *int32 { return ptr(int32(min(d.Milliseconds(), math.MaxInt32))) }

// check refuses what the server would, before a session is drawn for it.
func (w *wanted) check(k *kind) error {
	if err := checkTTL(w.ttl); err != nil {
		return err
	}
	if k == &semaphores && w.limit < 1 {
		return exit.UsageError(errors.New("--limit: how many permits are there? at least 1"))
	}
	return nil
}
