package archive

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
)

// The tables are made by the files in migrations, each once, in the order of
// their names. A file that was released is never changed.

//go:embed migrations/*.sql
var migrationFiles embed.FS

// errSchema is wrapped by what is returned for tables that this program cannot
// work with.
var errSchema = errors.New("the tables of the archive")

// migrateLock is the key of the advisory lock under which tables are made.
const migrateLock = 0x7065726368 // "perch"

// versions are the migrations that this program knows; the first is version 1.
func versions() []string {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // a bad pattern
	}
	return names
}

// Migrate makes the tables, or brings them to the version of this program. It
// does nothing where they are; it refuses those of a newer program.
func Migrate(ctx context.Context, conn *pgx.Conn) error {
	known := len(versions())
	at, err := schemaVersion(ctx, conn)
	if err != nil {
		return err
	}
	if at < known {
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return migrate(ctx, tx) })
	}
	if err == nil && at > known {
		err = newerSchema(at)
	}
	return err
}

func newerSchema(at int) error {
	return fmt.Errorf("%w have version %d, this program knows %d: use a newer one", errSchema, at, len(versions()))
}

// schemaVersion is 0 where there are no tables.
func schemaVersion(ctx context.Context, conn *pgx.Conn) (at int, err error) {
	var there bool
	if err := conn.QueryRow(ctx, `SELECT to_regclass('perch.migrations') IS NOT NULL`).Scan(&there); err != nil || !there {
		return 0, err
	}
	err = conn.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM perch.migrations`).Scan(&at)
	return at, err
}

// migrate runs what is missing. Several programs may start at once: each looks
// again under the lock.
func migrate(ctx context.Context, tx pgx.Tx) error {
	var encoding string
	if err := tx.QueryRow(ctx, `SHOW server_encoding`).Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("%w need a database with encoding UTF8, this one has %s", errSchema, encoding)
	}
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrateLock)); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS perch;
		CREATE TABLE IF NOT EXISTS perch.migrations (version integer PRIMARY KEY, file text NOT NULL, done_at timestamptz NOT NULL DEFAULT now())`); err != nil {
		return err
	}
	at, err := schemaVersion(ctx, tx.Conn())
	if err != nil {
		return err
	}
	all := versions()
	for i := at; i < len(all); i++ {
		sql, err := migrationFiles.ReadFile(all[i])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string(sql)); err != nil {
			return fmt.Errorf("%s: %w", all[i], err)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO perch.migrations (version, file) VALUES ($1, $2)`, i+1, all[i]); err != nil {
			return err
		}
	}
	return nil
}
