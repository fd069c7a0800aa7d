package e2e

import (
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
)

// postgres is a PostgreSQL server: Debian's, on a free port, with a directory and
// a password of its own. As root it runs as the user postgres, since the server
// refuses root.
type postgres struct {
	t        testing.TB
	dir      string
	addr     string
	password string
	cmd      *exec.Cmd
	frozen   []int
}

func startPostgres(t testing.TB) *postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "perch-e2e-postgres-") // not TempDir: the user postgres must get in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &postgres{t: t, dir: dir, addr: freeAddrs(t, 1)[0], password: rand.Text()}
	if err := os.WriteFile(p.passwordFile(), []byte(p.password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	init := filepath.Join(dir, "initial")
	if err := os.WriteFile(init, []byte(p.password), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		account, err := user.Lookup("postgres")
		if err != nil {
			t.Fatalf("%v: install Debian's postgresql (make tools)", err)
		}
		uid, _ := strconv.Atoi(account.Uid)
		for _, name := range []string{dir, init} {
			if err := os.Chown(name, uid, -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, err := p.command("initdb", "--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--username=perch",
		"--pwfile="+init, "--pgdata="+filepath.Join(dir, "data")).CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	t.Cleanup(p.stop)
	p.start()
	return p
}

func (p *postgres) passwordFile() string { return filepath.Join(p.dir, "password") }
func (p *postgres) url() string          { return "postgres://perch@" + p.addr + "/postgres" }

// command is a program of PostgreSQL.
func (p *postgres) command(name string, args ...string) *exec.Cmd {
	p.t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		p.t.Fatalf("no %s below /usr/lib/postgresql: install Debian's postgresql (make tools)", name)
	}
	slices.Sort(found)
	line := append([]string{found[len(found)-1]}, args...)
	if os.Getuid() == 0 {
		line = append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"}, line...)
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = p.dir
	return cmd
}

func (p *postgres) start() {
	p.t.Helper()
	_, port, _ := net.SplitHostPort(p.addr)
	p.cmd = p.command("postgres", "-D", filepath.Join(p.dir, "data"), "-p", port, "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories="+p.dir, "-c", "fsync=off", "-c", "shared_buffers=16MB")
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, patience, "PostgreSQL answers", func() error {
		_, err := p.ask("SELECT 1")
		return err
	})
}

func (p *postgres) stop() {
	p.thaw()
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	_ = p.cmd.Wait()
}

// freeze stops every process of the server where it stands, until thaw.
func (p *postgres) freeze() {
	p.t.Helper()
	pid := p.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP) // first the one that makes others
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		p.t.Fatal(err)
	}
	p.frozen = []int{pid}
	for _, child := range strings.Fields(string(text)) {
		if id, err := strconv.Atoi(child); err == nil {
			p.frozen = append(p.frozen, id)
			_ = syscall.Kill(id, syscall.SIGSTOP)
		}
	}
}

func (p *postgres) thaw() {
	for _, pid := range p.frozen {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	p.frozen = nil
}

// ask runs a statement and returns its rows, columns apart by |.
func (p *postgres) ask(sql string) ([]string, error) {
	host, port, _ := net.SplitHostPort(p.addr)
	cmd := exec.Command("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port, "-U", "perch", "-d", "postgres", "-c", sql)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+p.password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("psql: %w: %s", err, out)
	}
	return strings.Split(strings.TrimRight(string(out), "\n"), "\n"), nil
}

// rows is ask for what must succeed.
func (p *postgres) rows(sql string) []string {
	p.t.Helper()
	rows, err := p.ask(sql)
	if err != nil {
		p.t.Fatal(err)
	}
	return rows
}
