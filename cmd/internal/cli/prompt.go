package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peterh/liner"
	"github.com/spf13/cobra"
)

// Line editing is github.com/peterh/liner: of the small ones it tells Ctrl-C from
// Ctrl-D, which golang.org/x/term does not, prints candidates as shells do,
// searches its history, and is kept up (a release in the last months;
// chzyer/readline has had none for years).

// interact runs lines that a person types.
func (s *shell) interact(ctx context.Context) error {
	cooked, err := liner.TerminalMode()
	if err != nil {
		return err
	}
	edit := liner.NewLiner()
	defer edit.Close()
	raw, err := liner.TerminalMode()
	if err != nil {
		return err
	}
	s.prepare(ctx, edit)
	history := s.historyFile()
	readHistory(edit, history)
	defer writeHistory(edit, history)
	told, stop := terminated()
	defer stop()
	for {
		line, err := s.prompt(edit, told)
		switch {
		case errors.Is(err, liner.ErrPromptAborted):
			continue
		case errors.Is(err, io.EOF):
			fmt.Fprintln(s.out)
			return nil
		case err != nil:
			return err
		}
		if line != "" && !strings.HasPrefix(line, " ") {
			edit.AppendHistory(line)
		}
		_ = cooked.ApplyMode() // commands read lines, and are interrupted
		running, cancel := lineContext(ctx)
		end := s.line(running, line)
		cancel()
		_ = raw.ApplyMode()
		if end {
			return nil // somebody has seen how each line ended
		}
	}
}

// prepare has keys do what they do in shells.
func (s *shell) prepare(ctx context.Context, edit *liner.State) {
	edit.SetCtrlCAborts(true)
	edit.SetTabCompletionStyle(liner.TabPrints)
	edit.SetWordCompleter(func(line string, pos int) (string, []string, string) {
		runes := []rune(line)
		head, found := s.complete(ctx, string(runes[:pos]))
		return head, found, string(runes[pos:])
	})
}

// prompt reads a line; io.EOF is also that the process is told to end.
func (s *shell) prompt(edit *liner.State, told <-chan os.Signal) (string, error) {
	type typed struct {
		line string
		err  error
	}
	done := make(chan typed, 1)
	go func() {
		line, err := edit.Prompt("perch " + s.place() + "> ")
		done <- typed{line, err}
	}()
	select {
	case t := <-done:
		return t.line, t.err
	case <-told:
		return "", io.EOF
	}
}

// complete finds what the last word of left may become, by the completion that
// shells get, too.
func (s *shell) complete(ctx context.Context, left string) (head string, found []string) {
	words, err := split(left)
	begun := word{at: len(left)}
	if n := len(words); n > 0 && (errors.Is(err, errUnclosed) || !strings.HasSuffix(left, " ") && !strings.HasSuffix(left, "\t")) {
		words, begun = words[:n-1], words[n-1]
	}
	root, out := s.root(), new(bytes.Buffer)
	root.SetArgs(slices.Concat([]string{cobra.ShellCompNoDescRequestCmd}, texts(words), []string{begun.text}))
	root.SetOut(out)
	root.SetErr(io.Discard)
	if root.ExecuteContext(ctx) != nil {
		return left, nil
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, candidate := range lines[:len(lines)-1] { // the last one is about how to use them
		end := " "
		if strings.HasSuffix(candidate, "/") || strings.HasSuffix(candidate, "=") {
			end = "" // there is more to it
		}
		found = append(found, quote(candidate)+end)
	}
	return left[:begun.at], found
}

// historyFile is where lines are kept from one shell to the next: with a user's
// state; "" when there is no such place.
func (s *shell) historyFile() string {
	dir := s.opt.Env["XDG_STATE_HOME"]
	if !filepath.IsAbs(dir) {
		home := s.opt.Env["HOME"]
		if !filepath.IsAbs(home) {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "perch", "history")
}

// A history that cannot be read or kept is no reason not to work.

func readHistory(edit *liner.State, file string) {
	if f, err := os.Open(file); err == nil {
		_, _ = edit.ReadHistory(f)
		_ = f.Close()
	}
}

func writeHistory(edit *liner.State, file string) {
	if file == "" || os.MkdirAll(filepath.Dir(file), 0o700) != nil {
		return
	}
	if f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err == nil {
		_, _ = edit.WriteHistory(f)
		_ = f.Close()
	}
}
