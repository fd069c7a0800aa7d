package lease

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// forbidden imports, with the reason: two replicas must never differ by
// anything but their logs (RULES.md R5).
var forbidden = map[string]string{
	"os": "apply reads no file", "net": "apply talks to nobody", "sync": "one goroutine owns a state",
	"sync/atomic": "one goroutine owns a state", "math/rand": "no randomness", "math/rand/v2": "no randomness",
	"crypto/rand": "no randomness", "context": "nothing here waits", "log": "results tell", "log/slog": "results tell",
	"runtime": "no dependence on the machine", "unsafe": "no dependence on addresses", "hash/maphash": "a seed for each process",
}

// allowed are the exceptions: request.go describes the seam that a node
// implements, and is no part of the state.
var allowed = map[string]string{"request.go": "context"}

func TestNoClockNoRandomnessNoGoroutine(t *testing.T) {
	for _, dir := range []string{".", "../tree", "../tree/cow"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				checkFile(t, name)
			}
		}
	}
}

func checkFile(t *testing.T, name string) {
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fset := gotoken.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, imp := range f.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		if why := forbidden[path]; why != "" && allowed[filepath.Base(name)] != path {
			t.Errorf("%s imports %s: %s", name, path, why)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt, *ast.SelectStmt, *ast.ChanType:
			t.Errorf("%s: a goroutine or a channel", fset.Position(n.Pos()))
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && !timeTypes[n.Sel.Name] {
				t.Errorf("%s: time.%s", fset.Position(n.Pos()), n.Sel.Name)
			}
		}
		return true
	})
}

var timeTypes = map[string]bool{"Duration": true, "Millisecond": true, "Second": true}
