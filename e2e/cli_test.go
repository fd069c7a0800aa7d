package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// said is what became of a command.
type said struct {
	out, err string
	code     int
}

// perch runs a command against n.
func (n *node) perch(stdin string, args ...string) said {
	n.t.Helper()
	return runPerch(n.t, []string{"PERCH_URL=" + n.url()}, stdin, args...)
}

func runPerch(t testing.TB, env []string, stdin string, args ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, perchBinary(t), args...)
	cmd.Env = append(cleanEnv(t), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("perch %v: %v", args, err)
	}
	return said{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// Every command once, against a real node, in the order of a story.
func TestEveryCommand(t *testing.T) {
	n := startOne(t)
	session := strings.TrimSpace(n.perch("", "session", "create", "--ttl", "10m").out)
	receipt := ""
	for _, c := range []struct {
		line  string // words; $S is the session, $R the receipt
		stdin string
		out   string // what the output must match
		code  int
	}{
		{"create -p /app/color blue", "", "^/app/color\n$", 0},
		{"create /app/color x", "", "^$", 4},
		{"create /none/x x", "", "^$", 3},
		{"create -s /app/job-", "", `^/app/job-0000000001\n$`, 0},
		{"create -c /app/box", "", "^/app/box\n$", 0},
		{"create -t 10m /app/hint x", "", "^/app/hint\n$", 0},
		{"create -e --session $S /app/here x", "", "^/app/here\n$", 0},
		{"create /app/open x world:anyone:rcdwa", "", "^/app/open\n$", 0},
		{"get /app/color", "", "^blue$", 0},
		{"get -s app/color", "", "^blue\npath .*/app/color\n(?s:.*)version +0\n", 0},
		{"get /app/none", "", "^$", 3},
		{"set /app/color -", "green", "^$", 0},
		{"set -v 0 /app/color red", "", "^$", 4},
		{"set -s -v 1 /app/color red", "", "(?m)^version +2$", 0},
		{"set /app/none x", "", "^$", 3},
		{"set --create -p /app/größe/a%2Fb#? x", "", "^$", 0},
		{"ls /app/größe", "", "^a%2Fb#\\?\n$", 0},
		{"ls /app", "", "^box\ncolor\ngröße\nhere\nhint\njob-0000000001\nopen\n$", 0},
		{"ls -s /app", "", "(?m)^0 +1 +0 +ephemeral .* here$", 0},
		{"ls -R /app/größe", "", "^/app/größe\n/app/größe/a%2Fb#\\?\n$", 0},
		{"tree -d --depth 1 /app", "", "^/app\n  box\n  color  red\n  größe\n", 0},
		{"stat /app/color", "", "(?m)^bytes +3$", 0},
		{"stat /app/none", "", "^$", 3},
		{"watch -R --since 0 --count 2 /app", "", "^created  /app .*\ncreated  /app/color .*\n$", 0},
		{"watch --count 1 --timeout 50ms /app", "", "^$", 75},
		{"acl get /app/open", "", "^world:anyone:crwda|world:anyone:[crwda]{5}\n$", 0},
		{"acl set /app/open world:anyone:ra", "", "^$", 0},
		{"set /app/open y", "", "^$", 77},
		{"acl default set /app world:anyone:cdrwa", "", "^$", 0},
		{"acl default get /app", "", "^world:anyone:[cdrwa]{5}\n$", 0},
		{"acl default delete /app", "", "^$", 0},
		{"getAcl /app/open", "", "^world:anyone:", 0},
		{"setAcl /app/open world:anyone:cdrwa", "", "^$", 0},
		{"quota set /app --nodes 9", "", "nodes +[0-9]+ +9\n", 0},
		{"create /app/more x", "", "^/app/more|^$", 4},
		{"quota get /app", "", "bytes +[0-9]+ +any number\n", 0},
		{"quota delete /app", "", "^$", 0},
		{"multi 'check_-v_2_/app/color' 'set_/app/color_pink' 'create_/app/note' 'add_n_3' 'enqueue_jobs_z'", "", "(?m)^add +3$", 0},
		{"multi 'check_-v_2_/app/color' 'set_/app/color_x'", "", "^$", 4},
		{"multi 'get_/app/color' 'get_/app/none'", "", "^get +/app/color  pink\nget +/app/none  no_node\n$", 0},
		{"session keepalive --session $S", "", "^[0-9]{5,}\n$", 0},
		{"session show --session $S", "", "nodes +/app/here\n", 0},
		{"session list", "", "10m0s +1", 0},
		{"lock acquire l --session $S --ttl 10m", "", "^[0-9]+\n$", 0},
		{"lock acquire l", "", "^$", 75},
		{"lock renew l --session $S", "", "^[0-9]+\n$", 0},
		{"lock show l", "", "state +held\n", 0},
		{"lock list", "", "(?m)^l +1 +0 ", 0},
		{"lock revoke l --reason please", "", "revocation +asked for: please\n", 0},
		{"set /app/color fenced --fence l --session $S", "", "^$", 0},
		{"lock release l --session $S", "", "^$", 0},
		{"set /app/color late --fence l --session $S", "", "^$", 4},
		{"lock acquire a b --session $S --ttl 10m", "", "^[0-9]+\n$", 0},
		{"lock release a b --session $S", "", "^$", 0},
		{"lock acquire broken --session $S --ttl 10m", "", "^[0-9]+\n$", 0},
		{"lock break broken", "", "^$", 0},
		{"lock renew broken --session $S", "", "^$", 76},
		{"lock run list -- echo ran", "", "^ran\n$", 0},
		{"sem acquire s --limit 2 --session $S --ttl 10m", "", "^[0-9]+\n$", 0},
		{"sem show s", "", "limit +2\n", 0},
		{"sem list", "", "(?m)^s +1 ", 0},
		{"sem renew s --session $S", "", "^[0-9]+\n$", 0},
		{"sem release s --session $S", "", "^$", 0},
		{"sem s --limit 2 -- echo ran", "", "^ran\n$", 0},
		{"sem break s", "", "^$", 0},
		{"elect campaign e --value here --session $S --ttl 10m", "", "^[0-9]+\n$", 0},
		{"elect show e", "", "value +here\n", 0},
		{"elect proclaim e there --session $S", "", "^$", 0},
		{"elect renew e --session $S", "", "^[0-9]+\n$", 0},
		{"elect list", "", "(?m)^e$", 0},
		{"elect resign e --session $S", "", "^$", 0},
		{"elect e -- sh -c exit_7", "", "^$", 7},
		{"queue put q hello --priority 3", "", "^1\n$", 0},
		{"queue peek q", "", "(?m)^1 +ready +0 +3 .* hello$", 0},
		{"queue claim q --ttl 10m -o json", "", `"text":"hello"`, 0},
		{"queue claim q", "", "^$", 75},
		{"queue extend q $R --ttl 1m", "", "^$", 0},
		{"queue nack q $R", "", "^$", 0},
		{"queue ack q $R", "", "^$", 76},
		{"queue show q", "", "ready +1\n", 0},
		{"queue config q --max-attempts 2", "", "max attempts +2\n", 0},
		{"queue redrive q q2", "", "^1\n$", 0},
		{"queue list", "", "(?m)^q2$", 0},
		{"queue delete q2 --force", "", "^$", 0},
		{"queue show q2", "", "^$", 3},
		{"counter add n", "", "^4\n$", 0},
		{"counter add n --expect 9 -- -1", "", "^$", 4},
		{"counter set n -- -5", "", "^-5\n$", 0},
		{"counter get n", "", "^-5\n$", 0},
		{"counter list", "", "(?m)^n$", 0},
		{"counter delete n", "", "^$", 0},
		{"barrier close gate", "", "^$", 0},
		{"barrier enter gate --count 9 --wait 0", "", "^$", 75},
		{"barrier open gate", "", "^$", 0},
		{"barrier enter two --count 1 --session $S --ttl 10m", "", "^1\n$", 0},
		{"barrier show two", "", "generation +1\n", 0},
		{"barrier leave two --session $S", "", "^$", 0},
		{"barrier list", "", "", 0},
		{"once begin o --key k --session $S --ttl 10m", "", "^[0-9]+\n$", 0},
		{"once begin o --key k", "", "^$", 75},
		{"once complete o done --session $S", "", "^$", 0},
		{"once begin o --key k", "", "^$", 4},
		{"once show o --key k", "", "state +done\n(?s:.*)result +done\n", 0},
		{"once list", "", "(?m)^o$", 0},
		{"once forget o --key k", "", "^$", 0},
		{"once o --key k -- echo ran", "", "^ran\n$", 0},
		{"once o --key k -- echo ran", "", "^$", 0},
		{"once o --key k2 -- sh -c exit_3", "", "^$", 3},
		{"once begin o --key k3 --session $S --ttl 10m", "", "^[0-9]+\n$", 0},
		{"once abandon o --key k3 --session $S", "", "^$", 0},
		{"token list", "", "^ID ", 0},
		{"principal put ci --grant /app=read,write", "", "(?m)^ci .*/app=read,write", 0},
		{"principal get ci", "", "(?m)^ci ", 0},
		{"principal list", "", "(?m)^ci ", 0},
		{"token create ci --label build", "", "^perch_", 0},
		{"principal delete ci", "", "^$", 0},
		{"whoami", "", "^PRINCIPAL +\\(nobody in particular\\)\n", 0},
		{"cluster", "", "(?m)^leader +1, for ", 0},
		{"member list", "", "(?m)^1 +leader +yes ", 0},
		{"member add x=1", "", "^$", 2},
		{"member remove 9", "", "^$", 2},
		{"transfer 1", "", "(?m)^leader +1, for ", 0},
		{"session close --session $S", "", "^$", 0},
		{"session keepalive --session $S", "", "^$", 76},
		{"delete -v 9 /app/color", "", "^$", 4},
		{"delete /app", "", "^$", 4},
		{"deleteall /app", "", "^$", 0},
		{"delete /app", "", "^$", 3},
		{"version", "", "^perch ", 0},
		{"help exit-codes", "", "(?m)^  75  not obtained", 0},
		{"nope", "", "^$", 2},
	} {
		args := wordsOf(strings.NewReplacer("$S", session, "$R", receipt).Replace(c.line))
		got := n.perch(c.stdin, args...)
		if got.code != c.code || !regexp.MustCompile(c.out).MatchString(got.out) {
			t.Errorf("perch %s: exit code %d, want %d\n%s%s", c.line, got.code, c.code, got.out, got.err)
		}
		if c.code != 0 && c.code != 7 && c.code != 3 && !strings.HasPrefix(got.err, "perch: ") && !strings.Contains(got.err, "\nperch: ") {
			t.Errorf("perch %s says nothing of what is wrong: %q", c.line, got.err)
		}
		if strings.HasPrefix(c.line, "queue claim q --ttl") {
			var claim struct{ Messages []struct{ Receipt string } }
			if err := json.Unmarshal([]byte(got.out), &claim); err != nil || len(claim.Messages) != 1 {
				t.Fatalf("%v: %s", err, got.out)
			}
			receipt = claim.Messages[0].Receipt
		}
	}
}

// wordsOf takes a line of the table apart; a word with _ in quotes, or behind
// sh -c, has spaces there.
func wordsOf(line string) (words []string) {
	for i, w := range strings.Fields(line) {
		switch {
		case strings.HasPrefix(w, "'"):
			w = strings.ReplaceAll(strings.Trim(w, "'"), "_", " ")
		case i > 0 && words[i-1] == "-c" && i > 1 && words[i-2] == "sh":
			w = strings.ReplaceAll(w, "_", " ")
		}
		words = append(words, w)
	}
	return words
}

// With -o json a command prints what the server answers, to the byte.
func TestJSONIsTheServers(t *testing.T) {
	n := startOne(t)
	n.put("/app/a", "x")
	n.put("/app/b", "y")
	n.must(200, "POST", "/v1/locks/l/acquire", `{"ttl_ms":60000}`)
	for args, path := range map[string]string{
		"stat /app/a":   "/v1/stat/app/a",
		"get /app/a":    "/v1/stat/app/a?include=text",
		"lock show l":   "/v1/locks/l",
		"quota get /":   "/v1/quota/",
		"elect show e":  "/v1/elections/e",
		"acl get /app":  "/v1/acl/app",
		"whoami":        "/v1/whoami",
		"counter get c": "/v1/counters/c",
	} {
		want := strings.TrimSpace(n.must(200, "GET", path, "").body)
		mask := regexp.MustCompile(`"remaining_ms":[0-9]+`)
		got := strings.TrimSpace(n.perch("", append(strings.Fields(args), "-o", "json")...).out)
		if mask.ReplaceAllString(got, "") != mask.ReplaceAllString(want, "") {
			t.Errorf("%s:\n%s\nwant\n%s", args, got, want)
		}
	}
	for _, args := range []string{"ls /app", "ls -R /", "ls -s /app", "tree -d /app", "lock list", "session list", "token list", "principal list", "queue list", "member list"} {
		var list []any
		if got := n.perch("", append(strings.Fields(args), "-o", "json")...); json.Unmarshal([]byte(got.out), &list) != nil {
			t.Errorf("%s: not one array: %s%s", args, got.out, got.err)
		}
	}
}

// A watch misses nothing and tells nothing twice while the only node is killed
// and starts again.
func TestWatchCommandOutlivesTheNode(t *testing.T) {
	n := startOne(t)
	cmd := exec.Command(perchBinary(t), "watch", "-R", "/app", "--count", "6", "-o", "json")
	cmd.Env = append(cleanEnv(t), "PERCH_URL="+n.url())
	var out strings.Builder
	began := make(chan struct{})
	cmd.Stdout, cmd.Stderr = &out, &until{text: "watching /app", found: began}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	<-began
	for i := range 5 {
		n.put(fmt.Sprintf("/app/n%d", i), "x") // the first one makes /app, too
		if i%2 == 0 {
			n.kill()
			n.spawn()
			n.waitReady()
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v", err)
	}
	var paths []string
	for line := range strings.Lines(out.String()) {
		var e struct{ Path, Type string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		paths = append(paths, e.Path)
	}
	if got := strings.Join(paths, " "); got != "/app /app/n0 /app/n1 /app/n2 /app/n3 /app/n4" {
		t.Errorf("events: %s", got)
	}
}

// until closes found once text was written; it is for one writer.
type until struct {
	text  string
	found chan struct{}
	all   strings.Builder
	done  bool
}

func (u *until) Write(p []byte) (int, error) {
	u.all.Write(p)
	if !u.done && strings.Contains(u.all.String(), u.text) {
		u.done = true
		close(u.found)
	}
	return len(p), nil
}

// A command repeats its write at another node when the one that it asks is
// killed, and it is done once.
func TestWritesOfTheCommandLineAreDoneOnce(t *testing.T) {
	c := startThree(t)
	urls := []string{}
	for _, n := range c.nodes {
		urls = append(urls, n.url())
	}
	for i := range 24 {
		if i == 8 || i == 16 {
			c.leader().kill()
		}
		if i == 12 {
			c.spawnAll()
			c.waitReady()
		}
		got := runPerch(t, []string{"PERCH_URL=" + strings.Join(urls, ",")}, "", "counter", "add", "n")
		if got.code != 0 || got.out != fmt.Sprintf("%d\n", i+1) {
			t.Fatalf("addition %d: exit code %d: %s%s", i+1, got.code, got.out, got.err)
		}
	}
}

// An ephemeral node that nobody else keeps goes with the command that made it.
func TestEphemeralOfACommand(t *testing.T) {
	n := startOne(t)
	cmd := exec.Command(perchBinary(t), "create", "-e", "-p", "/servers/a", "10.0.0.7:80")
	cmd.Env = append(cleanEnv(t), "PERCH_URL="+n.url())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exists := func(want int) {
		eventually(t, patience, fmt.Sprintf("status %d", want), func() error {
			a, err := n.get("/v1/nodes/servers/a")
			if err == nil && a.status != want {
				err = fmt.Errorf("status %d", a.status)
			}
			return err
		})
	}
	exists(200)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if a := n.must(404, "GET", "/v1/nodes/servers/a", ""); !strings.Contains(a.body, "no_node") {
		t.Error(a.body)
	}
}

// A person at a terminal: editing, completion, history, and Ctrl-C for one
// command.
func TestShellAtATerminal(t *testing.T) {
	n := startOne(t)
	n.put("/app/color", "blue")
	n.put("/app/job s", "x")
	home := t.TempDir()
	env := []string{"PERCH_URL=" + n.url(), "XDG_STATE_HOME=" + home}
	x := atTerminal(t, env, "shell")
	x.expect("perch /> ")
	x.types("get /app/col\t\r") // completed from the cluster
	x.expect("get /app/color")
	x.expect("\nblue\r\n")
	x.expect("perch /> ")
	x.types("cd /a\t\r")
	x.expect("perch /app> ")
	x.types("get j\t\r") // a name with a space in it comes quoted
	x.expect("'job s'")
	x.expect("\nx\r\n")
	x.types("watch color\r")
	x.expect("watching /app/color")
	n.must(200, "PUT", "/v1/nodes/app/color", "green")
	x.expect("changed  /app/color")
	x.types("\x03") // ends the watch, not the shell
	x.expect("goes on with --since")
	x.expect("perch /app> ")
	x.types("nonsense\x03") // gives up the line
	x.expect("perch /app> ")
	x.types("create -e here me\r")
	x.expect("/app/here\r\n")
	x.types("get none\r")
	x.expect("no_node")
	x.types("\x1b[A\x1b[A\r") // two lines back in the history
	x.expect("node_exists")
	x.expect("perch /app> ")
	x.types("\x04")
	if code := x.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	n.must(404, "GET", "/v1/nodes/app/here", "") // went with the shell
	file := filepath.Join(home, "perch", "history")
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "cd /app") || strings.Contains(string(text), "nonsense") {
		t.Errorf("%v: %s", err, text)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	again := atTerminal(t, env, "shell")
	again.expect("perch /> ")
	again.types("\x12cd\r") // Ctrl-R finds what an earlier shell was told
	again.expect("perch /app")
	_ = again.cmd.Process.Signal(syscall.SIGTERM)
	if code := again.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Shells that a person uses get completion from the scripts, nodes included.
func TestCompletionScripts(t *testing.T) {
	n := startOne(t)
	n.put("/app/color", "blue")
	bash := exec.Command("bash", "-c", `
		# What the script wants of the package bash-completion.
		_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
		eval "$(perch completion bash)"
		COMP_WORDS=(perch get /app/co) COMP_CWORD=2 COMP_LINE="perch get /app/co" COMP_POINT=${#COMP_LINE} COMP_TYPE=9
		__start_perch
		printf '%s\n' "${COMPREPLY[@]}"`)
	bash.Env = append(cleanEnv(t), "PERCH_URL="+n.url(), "PATH="+filepath.Dir(perchBinary(t))+":"+os.Getenv("PATH"))
	if out, err := bash.Output(); err != nil || strings.TrimSpace(string(out)) != "/app/color" {
		t.Errorf("bash: %v: %s", err, out)
	}
	for shell, want := range map[string]string{"zsh": "#compdef perch", "fish": "complete -c perch"} {
		if got := runPerch(t, nil, "", "completion", shell); got.code != 0 || !strings.Contains(got.out, want) {
			t.Errorf("%s: exit code %d: %.200s", shell, got.code, got.out)
		}
	}
	got := runPerch(t, []string{"PERCH_URL=http://" + freeAddrs(t, 1)[0]}, "", "__complete", "get", "/a")
	if got.code != 0 || !strings.HasPrefix(got.out, ":") {
		t.Errorf("without a cluster: exit code %d: %s%s", got.code, got.out, got.err)
	}
}

// `make man` writes a page for each command.
func TestManualPages(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "man")
	cmd.Dir, cmd.Env = root(t), cleanEnv(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for page, want := range map[string]string{
		"perch": "Exit codes", "perch-create": "ephemeral", "perch-lock-acquire": "fencing token", "perch-serve": "--peers", "perch-shell": "Ctrl-R",
	} {
		text, err := os.ReadFile(filepath.Join(root(t), "bin", "man", page+".1"))
		if plain := strings.ReplaceAll(string(text), `\-`, "-"); err != nil || !strings.Contains(plain, want) {
			t.Errorf("%s: %v: no %q", page, err, want)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(root(t), "bin", "man", "perch-lock.1")); err != nil || strings.Contains(string(text), "@"+host) {
		t.Errorf("%v: the pages name this machine", err)
	}
}
