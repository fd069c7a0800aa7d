package perch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// room is what a package of this module may lean on.
type room struct {
	perch []string // packages of this module, below perch/; "gen/…" only what is generated for it
	pure  bool     // no I/O, clock, goroutine or randomness of its own: RELIABILITY.md 2a
}

// rooms are all packages and the arrows of DESIGN.md, which point down:
// cmd → handlers, quorum/node → tree, lease → quorum's types. The quorum
// carries payloads as bytes and knows no node of the tree; there is one apply
// function for the whole state, so lease wraps tree and never the reverse.
var rooms = map[string]room{
	"": {}, // the contract

	"cmd/perch": {perch: []string{"archive", "cmd/internal/bench", "cmd/internal/cli", "cmd/internal/exit", "cmd/internal/local",
		"cmd/internal/logview", "cmd/internal/progress", "cmd/internal/trust", "handlers", "handlers/audit", "handlers/identity", "lease", "quorum", "quorum/certs", "quorum/disk", "quorum/natsnet", "quorum/node", "quorum/restore", "quorum/seam", "quorum/tracing"}},
	"cmd/internal/bench":    {},
	"cmd/internal/cli":      {perch: []string{"cmd/internal/exit", "cmd/internal/progress", "cmd/internal/trust", "gen/client"}},
	"cmd/internal/cluster":  {perch: []string{"cmd/internal/local"}},
	"cmd/internal/exit":     {},
	"cmd/internal/local":    {},
	"cmd/internal/logview":  {perch: []string{"gen/commandpb", "lease", "quorum", "quorum/disk", "quorum/snap", "quorum/wal"}},
	"cmd/internal/progress": {},
	"cmd/internal/protogen": {},
	"cmd/internal/trust":    {},

	"handlers": {perch: []string{"", "gen/api", "gen/commandpb", "handlers/audit", "handlers/identity", "handlers/ratelimit",
		"lease", "quorum", "quorum/tracing", "tree"}},
	"handlers/audit":     {},
	"handlers/identity":  {perch: []string{"gen/commandpb", "lease", "tree"}},
	"handlers/ratelimit": {},

	"handlers/identity/idptest": {}, // for tests alone

	"quorum":              {pure: true},
	"quorum/disk":         {},
	"quorum/disk/memdisk": {perch: []string{"quorum/disk"}},
	"quorum/wal":          {perch: []string{"gen/walpb", "quorum", "quorum/disk"}},
	"quorum/snap":         {perch: []string{"quorum", "quorum/disk"}},
	"quorum/wire":         {perch: []string{"gen/wirepb", "quorum"}},
	"quorum/certs":        {},
	"quorum/tracing":      {},
	"quorum/natsnet":      {perch: []string{"quorum", "quorum/certs", "quorum/wire"}},
	"quorum/seam":         {perch: []string{"gen/commandpb", "gen/seampb", "lease", "quorum", "quorum/natsnet", "quorum/tracing", "tree"}},
	"quorum/node": {perch: []string{"gen/commandpb", "gen/nodepb", "lease", "quorum", "quorum/disk",
		"quorum/natsnet", "quorum/restore", "quorum/seam", "quorum/snap", "quorum/tracing", "quorum/wal", "tree"}},
	"quorum/restore":     {perch: []string{"lease", "quorum", "quorum/disk", "quorum/snap", "quorum/wal"}},
	"quorum/sim":         {perch: []string{"gen/commandpb", "lease", "quorum", "quorum/wire", "tree"}, pure: true},
	"quorum/sim/simrun":  {perch: []string{"quorum/sim"}},
	"quorum/sim/mutants": {}, // it builds others, and calls none

	// What was committed, kept in PostgreSQL.
	"archive":        {perch: []string{"gen/commandpb", "lease", "quorum", "quorum/wal", "tree"}},
	"archive/pgtest": {}, // for tests alone

	"tree":     {perch: []string{"quorum", "tree/cow"}, pure: true},
	"tree/cow": {pure: true},
	"lease":    {perch: []string{"gen/commandpb", "gen/snapshotpb", "quorum", "tree", "tree/cow"}, pure: true},

	// They speak HTTP like everybody else.
	"examples/search-engine":     {},
	"examples/functions/go":      {},
	"examples/functions/harness": {perch: []string{"examples/functions/ledger"}},
	"examples/functions/ledger":  {},
}

// impure are the packages that a pure room does not import, each with its reason.
var impure = map[string]string{
	"os": "no I/O", "io/fs": "no I/O", "os/exec": "no I/O", "path/filepath": "no I/O", "net": "no I/O", "net/http": "no I/O",
	"syscall": "no I/O", "log": "the driver logs", "log/slog": "the driver logs",
	"math/rand": "randomness is seeded by the configuration", "math/rand/v2": "randomness is seeded by the configuration",
	"crypto/rand": "randomness comes with the command", "database/sql": "no I/O",
}

// clockCalls read or wait for the machine's clock; time.Duration is fine.
var clockCalls = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	found := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(file)
		if entry.IsDir() {
			if name == "e2e" || name == "gen" || entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") && name != "." {
				return fs.SkipDir // another module; what is generated
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		dir := path.Dir(name)
		if dir == "." {
			dir = ""
		}
		r, known := rooms[dir]
		if !known && !found[dir] {
			t.Errorf("%s is in no room: add it to the list, with what it may import", dir)
		}
		found[dir] = true
		if known {
			checkFile(t, name, r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range rooms {
		if !found[dir] {
			t.Errorf("the room %q is empty: take it off the list", dir)
		}
	}
}

func checkFile(t *testing.T, name string, r room) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if own, ok := strings.CutPrefix(imported+"/", "perch/"); ok {
			if own = strings.TrimSuffix(own, "/"); !slices.Contains(r.perch, own) {
				t.Errorf("%s may not import %s", files.Position(spec.Pos()), imported)
			}
		}
		if why := impure[imported]; r.pure && why != "" {
			t.Errorf("%s may not import %s: %s", files.Position(spec.Pos()), imported, why)
		}
	}
	if r.pure {
		ast.Inspect(file, func(n ast.Node) bool { return checkPure(t, files, n) })
	}
}

// checkPure finds goroutines and looks at the clock.
func checkPure(t *testing.T, files *token.FileSet, n ast.Node) bool {
	t.Helper()
	switch n := n.(type) {
	case *ast.GoStmt:
		t.Errorf("%s: no goroutine belongs here", files.Position(n.Pos()))
	case *ast.SelectorExpr:
		if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clockCalls, n.Sel.Name) {
			t.Errorf("%s: time.%s: time comes with the command", files.Position(n.Pos()), n.Sel.Name)
		}
	}
	return true
}
