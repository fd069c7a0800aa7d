package archive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Kind groups the ways in which archiving can fail; the values are those of the
// label kind of perch_archive_errors_total.
type Kind string

// The kinds of failures.
const (
	KindUnreachable Kind = "unreachable" // no server, or it ended the connection
	KindAuth        Kind = "auth"        // it does not let us in, or forbids something
	KindConnections Kind = "connections" // it has no room for another connection
	KindFull        Kind = "full"        // its disk or memory is full
	KindTimeout     Kind = "timeout"     // it did not answer in time
	KindSchema      Kind = "schema"      // tables that this program cannot work with
	KindConflict    Kind = "conflict"    // what is archived is another history than this node's
	KindConfig      Kind = "config"      // URL, password file
	KindDatabase    Kind = "database"    // anything else that the server said
	KindNode        Kind = "node"        // the node's own log could not be read
)

var kinds = []Kind{KindUnreachable, KindAuth, KindConnections, KindFull, KindTimeout, KindSchema, KindConflict,
	KindConfig, KindDatabase, KindNode}

// Failure is why archiving does not go on. Text is for people, in one line and
// without a secret.
type Failure struct {
	Kind Kind
	Text string
}

func (f *Failure) Error() string { return f.Text }

// secretLeast is the length from which on a password is told from a word of the
// text that it happens to be in.
const secretLeast = 4

// classify makes of any error a Failure. secret is cut out of its text, should
// some layer have put it there.
func classify(err error, secret string) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	text := plain(err)
	var said *pgconn.PgError
	if errors.As(err, &said) {
		text = fmt.Sprintf("%s (SQLSTATE %s)", said.Message, said.Code)
	}
	if len(secret) >= secretLeast {
		text = strings.ReplaceAll(text, secret, "…")
	}
	return &Failure{Kind: kindOf(err, said), Text: text}
}

func kindOf(err error, said *pgconn.PgError) Kind {
	var network net.Error
	switch {
	case said != nil:
		return kindOfState(said.Code)
	case errors.Is(err, errSchema):
		return KindSchema
	case errors.Is(err, errConflict):
		return KindConflict
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return KindTimeout
	}
	return KindUnreachable // no connection, or it broke in some way
}

// kindOfState goes by SQLSTATE, PostgreSQL's appendix A.
func kindOfState(state string) Kind {
	switch {
	case state == "57014", state == "55P03", state == "25P03", state == "57P05": // cancelled by a time-out, a lock, idle
		return KindTimeout
	case strings.HasPrefix(state, "28"), state == "42501":
		return KindAuth
	case state == "53300":
		return KindConnections
	case strings.HasPrefix(state, "53"):
		return KindFull
	case strings.HasPrefix(state, "08"), strings.HasPrefix(state, "57P"):
		return KindUnreachable
	case strings.HasPrefix(state, "3D"), strings.HasPrefix(state, "42"):
		return KindSchema
	}
	return KindDatabase
}
