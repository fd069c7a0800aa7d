package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

const (
	ttlDefault = 30 * time.Second
	aliveShare = 3 // a session is renewed when a third of its time is over
)

// ownSession is a session that this process keeps alive. It is opened by the
// first that needs it; until is its keeper's.
type ownSession struct {
	ttl    time.Duration
	opened func(c *conn) // is told so; may be nil

	mu    sync.Mutex
	token string // "" until it is open, and when it is over

	until time.Time
}

// current is the token, when it is open.
func (s *ownSession) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// open opens the session, unless it is open already, and returns its token. The
// token is drawn here, so that a request whose answer is lost opens one only.
func (s *ownSession) open(ctx context.Context, c *conn) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" {
		return s.token, nil
	}
	token := drawn()
	if _, err := s.renewal(ctx, c, func(ctx context.Context) (*http.Response, error) {
		return c.api.CreateSession(ctx, &client.CreateSessionParams{PerchSession: &token}, client.SessionSpec{TTLMs: ms(s.ttl)})
	}); err != nil {
		return "", err
	}
	s.token = token
	if s.opened != nil {
		s.opened(c)
	}
	return token, nil
}

// renewal notes what a request says about the session's time.
func (s *ownSession) renewal(ctx context.Context, c *conn, do call) (*answer, error) {
	var now client.Session
	a, err := c.ask(ctx, &now, do)
	if err == nil && now.RemainingMs != nil {
		s.until = a.sent.Add(time.Duration(*now.RemainingMs) * time.Millisecond)
	}
	return a, err
}

// keep renews the session until ctx ends, and closes it then. It returns an
// error when the session is lost before.
func (s *ownSession) keep(ctx context.Context, c *conn) error {
	for token := s.current(); ; {
		pauseFor(ctx, max(againFirst, time.Until(s.until)/aliveShare))
		if ctx.Err() != nil {
			return s.close(c)
		}
		within, cancel := context.WithDeadline(placed(ctx), s.until)
		_, err := s.renewal(within, c, func(ctx context.Context) (*http.Response, error) {
			return c.api.KeepSessionAlive(ctx, "self", &client.KeepSessionAliveParams{PerchSession: &token}, client.KeepAlive{})
		})
		cancel()
		switch {
		case err == nil || ctx.Err() != nil:
		case exit.CodeOf(err) == exit.Gone, time.Until(s.until) <= 0:
			s.mu.Lock()
			s.token = ""
			s.mu.Unlock()
			return &exit.Error{Code: exit.Gone, Err: fmt.Errorf("the session is lost: %w", err)}
		}
	}
}

// close ends the session. It does not take long: the session ends anyway.
func (s *ownSession) close(c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), holdGrace)
	defer cancel()
	_, err := c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) {
		return c.api.CloseSession(ctx, "self", &client.CloseSessionParams{PerchSession: &s.token})
	})
	s.token = ""
	return err
}

func (o *Options) sessionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "session", Short: "Open, renew, show and close sessions, which own ephemeral nodes and hold locks",
		Example: `  export PERCH_SESSION=$(perch session create --ttl 1m)
  perch create -e -p /app/servers/a 10.0.0.7:80
  perch session keepalive --loop &      # or one perch session keepalive a minute
  perch session close`,
	}
	return parent(cmd, o.createSessionCommand(), o.keepAliveCommand(), o.closeSessionCommand(), o.getSessionCommand(), o.listSessionsCommand())
}

func (o *Options) createSessionCommand() *cobra.Command {
	ttl := ttlDefault
	cmd := &cobra.Command{
		Use: "create", Short: "Open a session; its token alone goes to standard output",
		Long: `Open a session. Its token is a secret: whoever has it is the session. It alone goes to standard output.
With -o json the session of the answer, with the token in it.`,
		Example: "  export PERCH_SESSION=$(perch session create --ttl 1m)",
	}
	cmd.Flags().VarP(&span{&ttl}, "ttl", "t", "how long it lives without a renewal (1s to 24h)")
	return o.asks(cmd, func(ctx context.Context, c *conn, _ []string) error {
		if err := checkTTL(ttl); err != nil {
			return err
		}
		s, token := client.Session{}, drawn()
		a, err := c.ask(ctx, &s, func(ctx context.Context) (*http.Response, error) {
			return c.api.CreateSession(ctx, &client.CreateSessionParams{PerchSession: &token}, client.SessionSpec{TTLMs: ms(ttl)})
		})
		if err != nil {
			return err
		}
		if c.asJSON {
			return c.jsonWith(a.body, "token", token)
		}
		c.note("session %d lives %v without a renewal", s.ID, ttl)
		return c.line("%s", token)
	}, withKey)
}

// jsonWith prints an object with one more field, which the client knows and the
// server did not say.
func (p *printer) jsonWith(object []byte, field, value string) error {
	var fields map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(object)))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return err
	}
	fields[field] = value
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return p.json(text)
}

// needSession refuses a command that is about a session when there is none.
func (c *conn) needSession() error {
	if c.Session == "" {
		return exit.UsageError(errors.New("which session? give its token with --session or PERCH_SESSION (perch session create makes one)"))
	}
	return nil
}

func (o *Options) keepAliveCommand() *cobra.Command {
	var loop bool
	var ttl time.Duration
	cmd := &cobra.Command{
		Use: "keepalive", Short: "Renew a session, and print how long it lives now",
		Long: `Renew the session of --session or PERCH_SESSION, and print how many milliseconds it lives now at least.
With --loop go on until told to end; the session is not closed then. Exit code 76 when the session is over.`,
	}
	cmd.Flags().BoolVar(&loop, "loop", false, "renew it again and again, until told to end")
	cmd.Flags().VarP(&span{&ttl}, "ttl", "t", "its length from now on (0: as before)")
	return o.asks(cmd, func(ctx context.Context, c *conn, _ []string) error {
		if err := c.needSession(); err != nil {
			return err
		}
		if !loop {
			_, err := c.keepAlive(ctx, ttl)
			return err
		}
		for ctx.Err() == nil {
			lives, err := c.keepAlive(ctx, ttl)
			switch {
			case ctx.Err() != nil:
			case err == nil:
				pauseFor(ctx, lives/aliveShare)
			case exit.CodeOf(err) != exit.Unavailable:
				return err
			default:
				c.note("%v; trying on", err)
				pauseFor(ctx, againLast)
			}
		}
		return nil
	}, withSession)
}

// keepAlive renews the session once, shows it, and returns how long it lives.
func (c *conn) keepAlive(ctx context.Context, ttl time.Duration) (lives time.Duration, err error) {
	var s client.Session
	a, err := c.ask(placed(ctx), &s, func(ctx context.Context) (*http.Response, error) {
		return c.api.KeepSessionAlive(ctx, "self", nil, client.KeepAlive{TTLMs: ms(ttl)})
	})
	if err != nil {
		return 0, err
	}
	return time.Duration(s.TTLMs) * time.Millisecond, c.show(a, func() error { return c.line("%s", number(s.RemainingMs)) })
}

func (o *Options) closeSessionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "close [ID]", Short: "Close a session, and with it all that it owns and holds", Args: cobra.MaximumNArgs(1),
		Long: "Close the session of --session or PERCH_SESSION, or as an administrator the one with this id.",
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		id, err := c.sessionID(args)
		if err != nil {
			return err
		}
		_, err = c.ask(ctx, nil, func(ctx context.Context) (*http.Response, error) { return c.api.CloseSession(ctx, id, nil) })
		return err
	}, withSession, withKey)
}

// sessionID is the one of the argument, or that of the token.
func (c *conn) sessionID(args []string) (string, error) {
	if len(args) == 0 {
		return "self", c.needSession()
	}
	if _, err := strconv.ParseUint(args[0], 10, 63); err != nil {
		return "", exit.UsageError(fmt.Errorf("%q: the id of a session is a number", args[0]))
	}
	c.Session = "" // another one is meant, and need not be alive
	return args[0], nil
}

func (o *Options) getSessionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show [ID]", Aliases: []string{"get"}, Short: "Show a session, what it owns and what it holds", Args: cobra.MaximumNArgs(1),
		Long: "Show the session of --session or PERCH_SESSION, which renews it, or the one with this id.",
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		id, err := c.sessionID(args)
		if err != nil {
			return err
		}
		var s client.Session
		a, err := c.ask(ctx, &s, func(ctx context.Context) (*http.Response, error) { return c.api.GetSession(ctx, id, nil) })
		if err != nil {
			return err
		}
		return c.show(a, func() error {
			return c.fields("id", strconv.FormatInt(s.ID, 10), "ttl", milliseconds(&s.TTLMs), "remaining", milliseconds(s.RemainingMs),
				"principal", deref(s.Principal), "nodes", joined(s.Ephemerals), "holds", joined(s.Locks))
		})
	}, withSession, withLocal)
}

func joined(list *[]string) string {
	if list == nil {
		return ""
	}
	return strings.Join(*list, " ")
}

func (o *Options) listSessionsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the sessions"}
	return o.asks(cmd, func(ctx context.Context, c *conn, _ []string) error {
		return list(ctx, c, "sessions", func(ctx context.Context, page *string) (*http.Response, error) {
			return c.api.ListSessions(ctx, &client.ListSessionsParams{PageToken: page, Limit: ptr(pageOf)})
		}, []string{"ID", "TTL", "NODES", "PRINCIPAL"}, func(s client.Session) []string {
			return []string{strconv.FormatInt(s.ID, 10), milliseconds(&s.TTLMs), number(s.EphemeralCount), deref(s.Principal)}
		})
	}, withLocal)
}
