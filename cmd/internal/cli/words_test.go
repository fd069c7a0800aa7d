package cli

import (
	"errors"
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	for line, want := range map[string][]string{
		``:                       nil,
		`  `:                     nil,
		`ls /app`:                {"ls", "/app"},
		"\tset  /a   'b c' ":     {"set", "/a", "b c"},
		`set /a "it's \"x\" \n"`: {"set", "/a", `it's "x" \n`},
		`a\ b c\'d`:              {"a b", "c'd"},
		`''`:                     {""},
		`x''y "" z`:              {"xy", "", "z"},
		`'\'`:                    {`\`},
		`größe "日 本"`:            {"größe", "日 本"},
	} {
		words, err := split(line)
		if got := texts(words); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`'a`, `"a`, `a\`, `x "b\"`} {
		if _, err := split(line); !errors.Is(err, errUnclosed) {
			t.Errorf("%q: %v", line, err)
		}
	}
	words, _ := split(`get  /a "b c`)
	if len(words) != 3 || words[1].at != 5 || words[2].at != 8 {
		t.Errorf("%v", words)
	}
}

// What quote writes split takes for one word.
func FuzzQuote(f *testing.F) {
	for _, text := range []string{"", "a", "a b", `it's`, `"`, `\`, "#x", "日本"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, err := split("x " + quote(text) + " y")
		if got := texts(words); err != nil || !slices.Equal(got, []string{"x", text, "y"}) && validRunes(text) {
			t.Errorf("%q is read as %q, %v", text, got, err)
		}
	})
}

// validRunes says whether ranging over text gives it back.
func validRunes(text string) bool { return string([]rune(text)) == text }

func TestPaths(t *testing.T) {
	plain, shell := &Options{}, &Options{dir: "/app/jobs", own: &ownSession{}}
	for _, c := range []struct {
		o         *Options
		arg, want string
	}{
		{plain, "", ""}, {plain, "/", ""}, {plain, "/a/b", "a/b"}, {plain, "a/b", "a/b"}, {plain, "//a", "a"}, {plain, "a/", "a"}, {plain, "a b%2F", "a b%2F"},
		{shell, "", "app/jobs"}, {shell, ".", "app/jobs"}, {shell, "..", "app"}, {shell, "../..", ""}, {shell, "../../..", ""}, {shell, "/x", "x"},
		{shell, "job-", "app/jobs/job-"}, {shell, "../x/./y", "app/x/y"}, {shell, "q/", "app/jobs/q"},
	} {
		if got, err := c.o.path(c.arg); err != nil || got != c.want {
			t.Errorf("%q in %q: %q, %v; want %q", c.arg, c.o.dir, got, err, c.want)
		}
	}
	if got, err := shell.prefix("q/"); err != nil || got != "app/jobs/q/" {
		t.Errorf("a prefix of sequential names: %q, %v", got, err)
	}
	for _, arg := range []string{".", "..", "a/../b", "a/."} {
		if got, err := plain.path(arg); err == nil {
			t.Errorf("%q is taken for %q", arg, got)
		}
	}
}
