package archive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Access is how to get at the database.
type Access struct {
	// URL is postgres://user@host:port/database?options, without a password.
	// What it leaves out comes from libpq's environment variables and password
	// file.
	URL string
	// Password is asked for at every connection; nil: the environment's.
	Password func() (string, error)
	// Name is shown in pg_stat_activity.
	Name string
	// Within bounds one statement: a batch, a chunk. The server gives up then, and
	// soon after it the client does. Connecting has a third of it. After two
	// thirds of it without a statement the server ends a session, and with it the
	// lock of a shipper that is frozen or cut off. 0: 15 s.
	Within time.Duration
}

func (a Access) patience() time.Duration {
	setDefault(&a.Within, 15*time.Second)
	return a.Within
}

const closeWithin = 400 * time.Millisecond

// Check reports what is wrong with URL. With a host on another machine it demands
// TLS that verifies it, unless insecure. Its error never holds the URL.
func (a Access) Check(insecure bool) error {
	if !strings.HasPrefix(a.URL, "postgres://") && !strings.HasPrefix(a.URL, "postgresql://") {
		return errors.New("must be a URL postgres://user@host:port/database")
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		return errors.New("is no URL: write special characters as %XX")
	}
	_, given := u.User.Password()
	for name := range u.Query() {
		given = given || strings.Contains(strings.ToLower(name), "password")
	}
	if given {
		return errors.New("holds a password, which others would see in the list of processes: " +
			"give it in --archive-password-file, PGPASSWORD or PGPASSFILE")
	}
	config, err := pgx.ParseConfig(a.URL)
	if err != nil {
		return errors.New("cannot be used: " + plain(errors.Unwrap(err)))
	}
	if insecure {
		return nil
	}
	ways := append([]*pgconn.FallbackConfig{{Host: config.Host, TLSConfig: config.TLSConfig}}, config.Fallbacks...)
	for _, way := range ways {
		if !local(way.Host) && (way.TLSConfig == nil || way.TLSConfig.InsecureSkipVerify) {
			return fmt.Errorf("names %s, on another machine, without TLS that proves who answers: add sslmode=verify-full, or --insecure", way.Host)
		}
	}
	return nil
}

// local says whether only this machine has the host: a socket or loopback.
func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || strings.HasPrefix(host, "/") || host == "localhost" || ip != nil && ip.IsLoopback()
}

// plain is a text of err in one line.
func plain(err error) string {
	if err == nil {
		return "unknown reason"
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

// connect opens a session. Its errors are those of classify.
func (a Access) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(a.URL)
	if err != nil {
		return nil, &Failure{Kind: KindConfig, Text: "the URL cannot be used: " + plain(errors.Unwrap(err))}
	}
	if a.Password != nil {
		if config.Password, err = a.Password(); err != nil {
			return nil, &Failure{Kind: KindConfig, Text: plain(err)}
		}
	}
	config.RuntimeParams["application_name"] = a.Name
	ctx, cancel := context.WithTimeout(ctx, a.patience()/3)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err == nil {
		_, err = conn.Exec(ctx, fmt.Sprintf(`SET statement_timeout = %d; SET lock_timeout = %d; SET idle_session_timeout = %d;
			SET idle_in_transaction_session_timeout = %[1]d; SET search_path = pg_catalog`,
			a.patience().Milliseconds(), (a.patience()/3).Milliseconds(), (a.patience()*2/3).Milliseconds()))
	}
	if err == nil {
		return conn, nil
	}
	if conn != nil {
		closeConn(conn)
	}
	return nil, classify(err, config.Password)
}

// closeConn ends a session, whatever the server does.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	_ = conn.Close(ctx)
}

// within runs fn with a context that ends when a statement has hung at the
// server for longer than it lets one run itself.
func (a Access) within(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.patience()*7/6)
	defer cancel()
	return fn(ctx)
}
