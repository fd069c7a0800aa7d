package natsnet

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// serverLog is the logger of the embedded server. Lines go out at debug level,
// so many a second. It remembers the first fatal line, for the server does not
// stop after it, and passes on that a route came or went.
type serverLog struct {
	log    *slog.Logger
	secret string // cut out of every line; empty: none
	poke   func() // of routes; nil: the server has none
	limit  limiter

	mu    sync.Mutex
	fatal string
	next  [8]time.Time // of faults, by index: not to be logged before
}

func (l *serverLog) fatalText() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *serverLog) line(level, format string, args []any) {
	text := fmt.Sprintf(format, args...)
	if l.secret != "" {
		text = strings.ReplaceAll(text, l.secret, "[secret]")
	}
	if level == "fatal" {
		l.mu.Lock()
		if l.fatal == "" {
			l.fatal = text
		}
		l.mu.Unlock()
	}
	if l.poke != nil {
		if strings.Contains(text, "Router connection closed") || strings.Contains(text, "Route connection created") {
			l.poke()
		}
		l.explain(text)
	}
	if ok, missed := l.limit.allow(time.Now()); ok {
		l.log.Debug("nats server", "level", level, "line", text, "suppressed", missed)
	}
}

// faults are what the operator must hear of: each keeps a node out for ever and
// looks from outside like a peer that is down.
var faults = []struct{ line, text string }{
	{"Authentication Failure", "refused a node with another secret or cluster name"},
	{"Authorization Violation", "a peer refuses this node: another secret or cluster name"},
	{"Cluster Name Conflict", "a peer has another cluster name"},
	{"Duplicate Server Name", "two nodes have one id"},
	{"TLS route handshake error", "no TLS connection with a peer"},
}

func (l *serverLog) explain(line string) {
	for i, f := range faults {
		if strings.Contains(line, f.line) && l.due(i, time.Now()) {
			l.log.Warn("natsnet: "+f.text, "line", line)
		}
	}
}

// due says whether a fault may be logged again.
func (l *serverLog) due(fault int, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next[fault]) {
		return false
	}
	l.next[fault] = now.Add(10 * time.Second)
	return true
}

func (l *serverLog) Noticef(format string, v ...any) { l.line("notice", format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.line("warn", format, v) }
func (l *serverLog) Fatalf(format string, v ...any)  { l.line("fatal", format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.line("error", format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.line("debug", format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.line("trace", format, v) }

// limiter lets so many events a second pass and counts the others.
type limiter struct {
	perSecond int

	mu     sync.Mutex
	second int64
	passed int
	missed int
}

// allow says whether the event at now may pass, and if so, how many could not
// since the last that did.
func (l *limiter) allow(now time.Time) (ok bool, missed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := now.Unix(); s != l.second {
		l.second, l.passed = s, 0
	}
	if l.passed >= l.perSecond {
		l.missed++
		return false, 0
	}
	l.passed++
	missed, l.missed = l.missed, 0
	return true, missed
}
