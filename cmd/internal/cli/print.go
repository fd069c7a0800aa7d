package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"perch/cmd/internal/progress"
)

// printer is the only way to standard output and standard error.
type printer struct {
	out, err io.Writer
	asJSON   bool
	seen     bool // a person looks at out
	watched  bool // a person looks at err
}

func newPrinter(out, err io.Writer, asJSON bool) *printer {
	return &printer{out: out, err: err, asJSON: asJSON, seen: progress.IsTerminal(out), watched: progress.IsTerminal(err)}
}

// note says something to people, beside what the command prints.
func (p *printer) note(format string, args ...any) {
	fmt.Fprintf(p.err, "perch: "+format+"\n", args...)
}

// line prints a line; what others wrote is among args.
func (p *printer) line(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if p.seen {
		text = clean(text)
	}
	_, err := fmt.Fprintln(p.out, text)
	return err
}

// show prints the answer of one request: as it is, or by people.
func (p *printer) show(a *answer, people func() error) error {
	if p.asJSON {
		return p.json(a.body)
	}
	return people()
}

// json prints what is JSON already: unchanged, but laid out on a terminal.
func (p *printer) json(body []byte) error {
	body = bytes.TrimSpace(body)
	if p.seen {
		var out bytes.Buffer
		if json.Indent(&out, body, "", "  ") == nil {
			body = out.Bytes()
		}
	}
	_, err := fmt.Fprintf(p.out, "%s\n", body)
	return err
}

// jsonLine prints v, or JSON that is there already, on one line.
func (p *printer) jsonLine(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "%s\n", text)
	return err
}

// table shows rows below their heads, in columns.
func (p *printer) table(heads []string, rows [][]string) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{heads}, rows...) {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, clean(cell)) // a tab or a line end would be taken for one of the table's
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// fields shows names and values, those alone that have one.
func (p *printer) fields(pairs ...string) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", pairs[i], clean(pairs[i+1]))
		}
	}
	return w.Flush()
}

// value prints the bytes of a node or a message: as they are, or so that they do
// no harm on a terminal and end their line.
func (p *printer) value(data []byte) error {
	if !p.seen {
		_, err := p.out.Write(data)
		return err
	}
	text := string(data)
	if !printable(text) {
		text = strconv.Quote(text)
	}
	_, err := fmt.Fprintln(p.out, strings.TrimSuffix(text, "\n"))
	return err
}

// printable says whether a terminal shows text and does nothing else.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t'
	})
}

// clean escapes what would not be one piece of one line.
func clean(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// brief is a value as a part of a line.
func brief(data []byte) string {
	const most = 60
	runes := []rune(clean(string(data[:min(len(data), most*utf8.UTFMax)])))
	if len(runes) <= most && len(data) <= most*utf8.UTFMax {
		return string(runes)
	}
	return fmt.Sprintf("%s… (%d bytes)", string(runes[:min(len(runes), most)]), len(data))
}

// deref is what p points at, or nothing.
func deref[T ~string](p *T) string {
	if p == nil {
		return ""
	}
	return string(*p)
}

// number is what p points at, in decimal, or nothing.
func number[T ~int32 | ~int64](p *T) string {
	if p == nil {
		return ""
	}
	return strconv.FormatInt(int64(*p), 10)
}

// ptr is v where the contract has something optional; nil for the zero value.
func ptr[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func shortTime(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return t.UTC().Format(time.RFC3339)
}

func milliseconds(ms *int64) string {
	if ms == nil {
		return ""
	}
	return (time.Duration(*ms) * time.Millisecond).String()
}
