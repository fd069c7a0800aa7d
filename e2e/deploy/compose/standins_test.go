package compose

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// passwd is the users of the stand-ins, with the numbers of the real images.
const passwd = "root:x:0:0::/:/bin/sh\nhaproxy:x:99:99::/var/lib/haproxy:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n"

// postgresEntrypoint does what that of the real image does, as far as
// docker-compose.yml relies on it.
const postgresEntrypoint = `#!/bin/sh
set -eu
data=/var/lib/postgresql/data
as_postgres="setpriv --reuid=999 --regid=999 --clear-groups"
export PATH=/usr/lib/postgresql/bin:/usr/bin:/bin LC_ALL=C
if ! [ -s $data/PG_VERSION ]; then
	chown 999:999 $data
	chmod 700 $data
	cp "$POSTGRES_PASSWORD_FILE" /tmp/password
	chown 999:999 /tmp/password
	$as_postgres initdb --no-sync --encoding=UTF8 --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust $data
	rm /tmp/password
	echo "host all all all scram-sha-256" >>$data/pg_hba.conf
	echo "CREATE DATABASE \"$POSTGRES_DB\"" | $as_postgres postgres --single -D $data -j postgres
fi
[ "$#" -gt 0 ] || set -- postgres
exec $as_postgres "$@" -D $data -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
`

// buildStandIns makes the images that docker-compose.yml names and nobody can
// pull here.
func buildStandIns(t *testing.T) {
	t.Helper()
	haproxy := newImage(t)
	haproxy.program("/usr/sbin/haproxy")
	haproxy.text("/etc/passwd", passwd)
	haproxy.load("haproxy:2.6", "USER 99:99", `ENTRYPOINT ["/usr/sbin/haproxy","-W","-db"]`,
		`CMD ["-f","/usr/local/etc/haproxy/haproxy.cfg"]`)

	binaries, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(binaries) == 0 {
		t.Fatalf("Debian's postgresql is not here: %v", err)
	}
	home := filepath.Dir(binaries[len(binaries)-1])
	postgres := newImage(t)
	for _, name := range []string{"postgres", "initdb", "psql", "pg_isready"} {
		postgres.program(filepath.Join(home, "bin", name))
	}
	for _, name := range []string{"sh", "cat", "chmod", "chown", "cp", "rm", "setpriv"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		postgres.programAs(path, "/bin/"+name)
	}
	for _, name := range []string{"dict_snowball.so", "plpgsql.so"} {
		postgres.program(filepath.Join(home, "lib", name))
	}
	postgres.tree(filepath.Join("/usr/share/postgresql", filepath.Base(home)))
	postgres.tree("/usr/share/zoneinfo/Etc")
	postgres.text("/etc/passwd", passwd)
	postgres.script("/entrypoint", postgresEntrypoint)
	postgres.directory("/tmp", 0, 0o1777)
	postgres.directory("/var/run/postgresql", 999, 0o775)
	postgres.directory("/var/lib/postgresql/data", 999, 0o700)
	postgres.link("/usr/lib/postgresql/bin", filepath.Join(home, "bin"))
	postgres.load("postgres:15", `ENTRYPOINT ["/entrypoint"]`,
		"ENV PATH=/usr/lib/postgresql/bin:/usr/bin:/bin")
}

// image is a root file system on its way to the engine.
type image struct {
	t     *testing.T
	files bytes.Buffer
	tar   *tar.Writer
	has   map[string]bool
}

func newImage(t *testing.T) *image {
	i := &image{t: t, has: map[string]bool{}}
	i.tar = tar.NewWriter(&i.files)
	return i
}

// load hands the image to the engine under its name.
func (i *image) load(name string, changes ...string) {
	i.t.Helper()
	if err := i.tar.Close(); err != nil {
		i.t.Fatal(err)
	}
	args := []string{"import"}
	for _, change := range changes {
		args = append(args, "--change", change)
	}
	cmd := exec.Command("docker", append(args, "-", name)...)
	cmd.Stdin = &i.files
	if out, err := cmd.CombinedOutput(); err != nil {
		i.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// libraries finds what the dynamic linker would load.
var libraries = regexp.MustCompile(`(?m)(/\S+) \(0x`)

// program adds an executable or a library where it is on this machine, with the
// libraries that it needs.
func (i *image) program(path string) { i.programAs(path, path) }

func (i *image) programAs(path, name string) {
	i.t.Helper()
	i.file(path, name)
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		i.t.Fatalf("ldd %s: %v", path, err)
	}
	for _, match := range libraries.FindAllStringSubmatch(string(out), -1) {
		i.file(match[1], match[1])
	}
}

// tree adds a directory with all that is in it; links become what they point at.
func (i *image) tree(dir string) {
	i.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		i.t.Fatal(err)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if entry.IsDir() {
			i.tree(path)
		} else {
			i.file(path, path)
		}
	}
}

func (i *image) file(path, name string) {
	i.t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		i.t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		i.t.Fatal(err)
	}
	i.add(&tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Size: int64(len(content))}, content)
}

func (i *image) text(name, content string) {
	i.add(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}, []byte(content))
}

func (i *image) script(name, content string) {
	i.add(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}, []byte(content))
}

func (i *image) directory(name string, owner int, mode int64) {
	i.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner}, nil)
}

func (i *image) link(name, target string) {
	i.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

func (i *image) add(header *tar.Header, content []byte) {
	i.t.Helper()
	header.Name = strings.TrimPrefix(header.Name, "/")
	if i.has[header.Name] {
		return
	}
	i.has[header.Name] = true
	if err := i.tar.WriteHeader(header); err != nil {
		i.t.Fatal(err)
	}
	if _, err := io.Copy(i.tar, bytes.NewReader(content)); err != nil {
		i.t.Fatal(err)
	}
}
