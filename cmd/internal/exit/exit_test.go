package exit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		said string
	}{
		{nil, 0, ""},
		{errors.New("one\ntwo"), Failure, "perch: one\nperch: two\n"},
		{UsageError(errors.New("no such flag")), Usage, "perch: no such flag\n"},
		{fmt.Errorf("line 3: %w", &Error{NotFound, errors.New("no_node"), "look again"}), NotFound, "perch: line 3: no_node\nperch: look again\n"},
		{Silent(NotObtained), NotObtained, ""},
	} {
		var said bytes.Buffer
		if code := Report(&said, c.err); code != c.code || said.String() != c.said {
			t.Errorf("%v: code %d, said %q", c.err, code, &said)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	Table(&out)
	seen := map[int]bool{}
	for _, c := range Codes {
		if seen[c.Code] || !strings.Contains(out.String(), fmt.Sprintf("%4d  %s\n", c.Code, c.Means)) {
			t.Errorf("%d is told twice, or not:\n%s", c.Code, &out)
		}
		seen[c.Code] = true
	}
}

// The page for people has the same table.
func TestTheTableOfTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	table := "| code | |\n| ---: | --- |\n"
	for _, c := range Codes {
		table += fmt.Sprintf("| %d | %s |\n", c.Code, c.Means)
	}
	if !strings.Contains(string(page), table) {
		t.Errorf("docs/cli.md has not this table:\n%s", table)
	}
}
