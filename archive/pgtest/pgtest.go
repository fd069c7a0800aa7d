// Package pgtest runs a PostgreSQL server for tests: Debian's, on a free port,
// with a directory and a password of its own. As root it runs as the user
// postgres, since the server refuses root.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience bounds what is waited for.
const patience = 60 * time.Second

// User is the superuser of the server.
const User = "perch"

// Server is one server.
type Server struct {
	Password string
	Port     int

	t      testing.TB
	dir    string
	cmd    *exec.Cmd
	log    *os.File
	made   int // databases
	frozen []int
}

// Start starts a server, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "perch-postgres-") // not TempDir: the user postgres must get in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{t: t, dir: dir, Password: rand.Text(), Port: freePort(t)}
	if err := os.WriteFile(s.path("password"), []byte(s.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	s.own()
	s.run("initdb", "--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--username="+User,
		"--pwfile="+s.path("password"), "--pgdata="+s.path("data"))
	t.Cleanup(s.Stop)
	s.Launch()
	return s
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// own gives the directory to the user that the server runs as.
func (s *Server) own() {
	s.t.Helper()
	if os.Getuid() != 0 {
		return
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		s.t.Fatalf("%v: install Debian's postgresql (make tools)", err)
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	for _, name := range []string{s.dir, s.path("password")} {
		if err := os.Chown(name, uid, gid); err != nil {
			s.t.Fatal(err)
		}
	}
}

// command is a program of PostgreSQL.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	s.t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		s.t.Fatalf("no %s below /usr/lib/postgresql: install Debian's postgresql (make tools)", name)
	}
	slices.Sort(found)
	line := append([]string{found[len(found)-1]}, args...)
	if os.Getuid() == 0 {
		line = append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"}, line...)
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = s.dir
	return cmd
}

func (s *Server) run(name string, args ...string) {
	s.t.Helper()
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Launch starts the server again after Stop, with more settings if need be:
// name=value.
func (s *Server) Launch(settings ...string) {
	s.t.Helper()
	args := []string{"-D", s.path("data"), "-p", strconv.Itoa(s.Port)}
	for _, setting := range append([]string{"listen_addresses=127.0.0.1", "unix_socket_directories=" + s.dir,
		"fsync=off", "max_connections=40", "shared_buffers=16MB"}, settings...) {
		args = append(args, "-c", setting)
	}
	s.cmd = s.command("postgres", args...)
	var err error
	if s.log, err = os.OpenFile(s.path("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; {
		conn, err := s.connect(context.Background(), "postgres")
		if err == nil {
			_ = conn.Close(context.Background())
			return
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(s.path("log"))
			s.t.Fatalf("the server does not start: %v\n%s", err, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Stop ends the server at once, as a crash would.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	s.Thaw()
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	_ = s.cmd.Wait()
	_ = s.log.Close()
	s.cmd = nil
}

// Freeze stops every process of the server where it stands, until Thaw.
func (s *Server) Freeze() {
	s.t.Helper()
	pid := s.cmd.Process.Pid
	s.frozen = []int{pid} // first the one that makes others
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, child := range strings.Fields(string(text)) {
		if id, err := strconv.Atoi(child); err == nil {
			s.frozen = append(s.frozen, id)
			_ = syscall.Kill(id, syscall.SIGSTOP)
		}
	}
}

// Thaw ends Freeze.
func (s *Server) Thaw() {
	for _, pid := range s.frozen {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	s.frozen = nil
}

// Database makes an empty database and returns its URL, without the password.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	s.made++
	name := fmt.Sprintf("archive%d", s.made)
	s.Exec(t, "postgres", "CREATE DATABASE "+name)
	return s.URL(name)
}

// URL is that of a database, without the password.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s", User, s.Port, database)
}

func (s *Server) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(s.URL(database) + "?sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.Password = s.Password
	return pgx.ConnectConfig(ctx, config)
}

// Connect opens a session that ends with the test; database is a name or a URL of
// Database.
func (s *Server) Connect(t testing.TB, database string) *pgx.Conn {
	t.Helper()
	conn, err := s.connect(context.Background(), filepath.Base(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// Exec runs statements.
func (s *Server) Exec(t testing.TB, database, sql string) {
	t.Helper()
	conn, err := s.connect(context.Background(), filepath.Base(database))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
