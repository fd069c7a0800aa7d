package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/cmd/internal/cli"
	"perch/cmd/internal/exit"
)

// TestSaveReplacesNoDevice: whoever may would otherwise have a file in the place
// of /dev/stdout.
func TestSaveReplacesNoDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdout")
	if err := os.Symlink(os.DevNull, path); err != nil {
		t.Fatal(err)
	}
	_, err := save(path, &cli.Backup{Reader: strings.NewReader("x"), Size: 1}, io.Discard)
	if exit.CodeOf(err) != exit.Usage || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("%v, want that it is no file", err)
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("it left %v", list)
	}
}
