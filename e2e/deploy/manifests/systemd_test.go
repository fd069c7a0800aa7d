package manifests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// exposureMax is what the units may have by `systemd-analyze security`, times ten.
const exposureMax = "15"

func TestUnitsAreHardened(t *testing.T) {
	units, err := filepath.Glob("../../../deploy/systemd/*.service")
	if err != nil || len(units) != 2 {
		t.Fatalf("units %v: %v", units, err)
	}
	for _, unit := range units {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+exposureMax, unit).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(unit), err, out)
		}
		t.Log(lastLine(string(out)))
		verifyUnit(t, unit)
	}
}

// verifyUnit has systemd read the unit, with this checkout's binary in it: it
// complains of what it does not know, and of programs that are not there.
func verifyUnit(t *testing.T, unit string) {
	t.Helper()
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	installed := filepath.Join(t.TempDir(), filepath.Base(unit))
	if err := os.WriteFile(installed, []byte(strings.ReplaceAll(string(text), "/usr/bin/perch", binary(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", installed).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%s: %v\n%s", filepath.Base(unit), err, out)
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
