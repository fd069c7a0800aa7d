package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"perch/cmd/internal/exit"
)

const aNode = `{"path":"/a","etag":"9","stat":{"czxid":5,"mzxid":9,"pzxid":5,"version":3,"cversion":0,"aversion":1,"num_children":2,` +
	`"data_length":4,"ctime":"2026-11-28T00:00:00Z","mtime":"2026-11-28T01:00:00.5Z","ephemeral_owner":0,"mode":"ttl","ttl_ms":60000}`

const aStat = `path      /a
etag      9
version   3
bytes     4
children  2
mode      ttl 1m0s
created   2026-11-28T00:00:00Z
changed   2026-11-28T01:00:00.5Z
czxid     5
mzxid     9
pzxid     5
cversion  0
aversion  1
`

// What each command asks, and what it makes of the answer. An expected output of
// "=" is the answer itself, and one line end.
func TestCommands(t *testing.T) {
	for _, c := range []struct {
		args, asks, answer, out string
	}{
		{"get /a", "GET /v1/nodes/a", "blue", "blue"},
		{"get a/b c", "GET /v1/nodes/a%2Fb%20c", "x", "x"},
		{"get /größe%2F+", "GET /v1/nodes/gr%C3%B6%C3%9Fe%252F+", "x", "x"},
		{"get -s /a", "GET /v1/stat/a?include=data", aNode + `,"data":"Ymx1ZQ=="}`, "blue\n" + aStat},
		{"get -o json /a", "GET /v1/stat/a?include=text", aNode + `,"text":"blue"}`, "="},
		{"get --local /a", "GET /v1/nodes/a?consistency=local", "x", "x"},
		{"stat /a", "GET /v1/stat/a", aNode + "}", aStat},
		{"exists /a -o json", "GET /v1/stat/a", aNode + "}", "="},
		{"ls", "GET /v1/children/?limit=1000", `{"nodes":[{"path":"/a"},{"path":"/b"}],"zxid":1,"cursor":"1","etag":"c1"}`, "a\nb\n"},
		{"ls -R /a", "GET /v1/tree/a?limit=1000", `{"nodes":[{"path":"/a"},{"path":"/a/b"}],"zxid":1,"cursor":"1"}`, "/a\n/a/b\n"},
		{"tree -d --depth 1 /a", "GET /v1/tree/a?include=text&depth=1&limit=1000", `{"nodes":[{"path":"/a","text":""},{"path":"/a/b","text":"x\u001b"}],"zxid":1,"cursor":"1"}`, "/a\n  b  x\\x1b\n"},
		{"tree", "GET /v1/tree/?limit=1000", `{"nodes":[{"path":"/"},{"path":"/a"},{"path":"/a/b"}],"zxid":1,"cursor":"1"}`, "/\n  a\n    b\n"},
		{"set /a x", "PUT /v1/nodes/a x", aNode + "}", ""},
		{"set -s -v 0 /a x", "PUT /v1/nodes/a?version=0 x", aNode + "}", aStat},
		{"set --create -p /a -", "PUT /v1/nodes/a?parents=true from stdin", aNode + "}", ""},
		{"create /a", "POST /v1/nodes/a?mode=persistent", aNode + "}", "/a\n"},
		{"create -s -c -p /a/ x", "POST /v1/nodes/a%2F?mode=container&sequential=true&parents=true x", aNode + "}", "/a\n"},
		{"create -t 60000 /a x", "POST /v1/nodes/a?mode=ttl&ttl_ms=60000 x", aNode + "}", "/a\n"},
		{"create -e --session 0123456789abcdef012345 /a x -o json", "POST /v1/nodes/a?mode=ephemeral x", aNode + "}", "="},
		{"create /a x world:anyone:r", `POST /v1/multi {"ops":[{"acl":[{"id":"anyone","perms":"r","scheme":"world"}],"data":"eA==","mode":"persistent","op":"create","path":"a"}]}`,
			`{"zxid":1,"results":[{"op":"create","path":"/a"}]}`, "/a\n"},
		{"delete -v 3 /a", "DELETE /v1/nodes/a?version=3", "", ""},
		{"deleteall /a", "DELETE /v1/nodes/a?recursive=true", "", ""},
		{"delete /a --fence l:7 --fence m", "DELETE /v1/nodes/a?fence=l%3A7&fence=m", "", ""},
		{"getAcl /a", "GET /v1/acl/a", `{"entries":[{"scheme":"digest","id":"u:h=","perms":"cd"}],"aversion":2}`, "digest:u:h=:cd\n"},
		{"setAcl /a ip:::1:r,world:anyone:w -v 2", `PUT /v1/acl/a {"aversion":2,"entries":[{"id":"::1","perms":"r","scheme":"ip"},{"id":"anyone","perms":"w","scheme":"world"}]}`, aNode + "}", ""},
		{"acl default get /a", "GET /v1/acl-default/a", `{"entries":[]}`, ""},
		{"acl default delete /a", "DELETE /v1/acl-default/a", "", ""},
		{"quota set /a --nodes 0", `PUT /v1/quota/a {"max_nodes":0}`, `{"nodes":1,"bytes":2,"max_nodes":0}`, "       USED  MOST\nnodes  1     0\nbytes  2     any number\n"},
		{"quota delete /a", "DELETE /v1/quota/a", "", ""},
		{"session keepalive --session 0123456789abcdef012345", "POST /v1/sessions/self/keepalive {}", `{"id":5,"ttl_ms":30000,"remaining_ms":29000}`, "29000\n"},
		{"session show 5", "GET /v1/sessions/5", `{"id":5,"ttl_ms":30000,"ephemerals":["/a","/b"]}`, "id     5\nttl    30s\nnodes  /a /b\n"},
		{"session close 5", "DELETE /v1/sessions/5", "", ""},
		{"session list -o json", "GET /v1/sessions?limit=1000", `{"sessions":[{"id":5,"ttl_ms":30000}],"zxid":1}`, `[{"id":5,"ttl_ms":30000}]` + "\n"},
		{"lock renew l --session 0123456789abcdef012345 --token 7", `POST /v1/locks/l/renew {"fencing_token":7}`, `{"name":"l","fencing_token":7,"session_id":1,"remaining_ms":9,"waited_ms":0}`, "9\n"},
		{"lock release l --session 0123456789abcdef012345", "POST /v1/locks/l/release {}", "", ""},
		{"lock release l m --session 0123456789abcdef012345", `POST /v1/lock-sets/release {"names":["l","m"]}`, "", ""},
		{"lock show l", "GET /v1/locks/l", `{"name":"l","holders":[{"owner":"me","session_id":5,"fencing_token":7,"mode":"exclusive"}],"held":1,"waiting":2,"etag":"x"}`,
			"name     l\nstate    held\nholds    1\nwaiting  2\n\nTOKEN  OWNER  SESSION  MODE       PERMITS  SINCE  REMAINING\n7      me     5        exclusive                  \n"},
		{"lock list ni", "GET /v1/locks?prefix=ni&limit=1000", `{"locks":[],"zxid":1}`, "NAME  HOLDS  WAITING  HOLDERS\n"},
		{"lock break l", "DELETE /v1/locks/l", "", ""},
		{"lock revoke l --reason why --break-after 1s", `POST /v1/locks/l/revoke {"break_after_ms":1000,"reason":"why"}`, `{"name":"l","holders":[],"waiting":0,"etag":"x"}`, "name     l\nstate    free\nwaiting  0\n"},
		{"sem show s", "GET /v1/semaphores/s", `{"name":"s","holders":[],"waiting":0,"etag":"x","limit":3}`, "name     s\nstate    free\nlimit    3\nwaiting  0\n"},
		{"elect show e", "GET /v1/elections/e", `{"name":"e","candidates":0,"etag":"x"}`, "name        e\nleader      (nobody)\ncandidates  0\n"},
		{"elect list", "GET /v1/elections?limit=1000", `{"names":["e","f"],"zxid":1}`, "e\nf\n"},
		{"elect proclaim e v --session 0123456789abcdef012345", `POST /v1/elections/e/proclaim {"value":"v"}`, `{"name":"e","candidates":0,"etag":"x"}`, ""},
		{"queue put q x --priority 2 --delay 1s", "POST /v1/queues/q/messages?delay_ms=1000&priority=2 x", `{"id":4}`, "4\n"},
		{"queue claim q --ttl 5s --count 2", `POST /v1/queues/q/claim?include=text {"count":2,"ttl_ms":5000}`, `{"messages":[{"id":4,"receipt":"4-1","attempts":1,"fencing_token":1,"remaining_ms":5000,"text":"x\ny"}]}`,
			"ID  RECEIPT  ATTEMPT  REMAINING  VALUE\n4   4-1      1        5s         x\\ny\n"},
		{"queue ack q 4-1 5-1", `POST /v1/queues/q/ack {"receipts":["4-1","5-1"]}`, `{"ok":["4-1","5-1"],"lost":[]}`, ""},
		{"queue nack q 4-1 --delay 2s", `POST /v1/queues/q/nack {"delay_ms":2000,"receipts":["4-1"]}`, `{"ok":["4-1"],"lost":[]}`, ""},
		{"queue extend q 4-1 -t 2s -o json", `POST /v1/queues/q/extend {"receipts":["4-1"],"ttl_ms":2000}`, `{"ok":["4-1"],"lost":[]}`, "="},
		{"queue config q --max-attempts 3", `PUT /v1/queues/q {"max_attempts":3}`, `{"name":"q","ready":0,"leased":0,"delayed":0,"max_attempts":3}`, "name          q\nready         0\nclaimed       0\ndelayed       0\nmax attempts  3\n"},
		{"queue redrive q.dead q --limit 5", `POST /v1/queues/q.dead/redrive {"limit":5,"to":"q"}`, `{"moved":2}`, "2\n"},
		{"queue delete q --force", "DELETE /v1/queues/q?force=true", "", ""},
		{"counter get n", "GET /v1/counters/n", `{"name":"n","value":-3,"etag":"x"}`, "-3\n"},
		{"counter add n", `POST /v1/counters/n/add {"add":1}`, `{"name":"n","value":4,"etag":"x"}`, "4\n"},
		{"counter set n --expect 0 -- -5", `POST /v1/counters/n/set {"expect":0,"value":-5}`, `{"name":"n","value":-5,"etag":"x"}`, "-5\n"},
		{"counter delete n", "DELETE /v1/counters/n", "", ""},
		{"barrier close b", "PUT /v1/barriers/b", `{"name":"b","open":false,"count":0,"entered":0,"generation":0}`, ""},
		{"barrier open b", "DELETE /v1/barriers/b", "", ""},
		{"barrier show b", "GET /v1/barriers/b", `{"name":"b","open":true,"count":0,"entered":0,"generation":2}`, "name        b\nopen        true\nentered     0\ncount       0\ngeneration  2\n"},
		{"once complete o done --session 0123456789abcdef012345", "POST /v1/once/o/complete done", `{"name":"o","key":"k","state":"done","attempts":1,"etag":"x"}`, ""},
		{"once abandon o --key k --session 0123456789abcdef012345", `POST /v1/once/o/abandon {"key":"k"}`, "", ""},
		{"once show o --key k", "GET /v1/once/o?include=text&key=k", `{"name":"o","key":"k","state":"done","attempts":1,"text":"r","etag":"x"}`, "name      o\nkey       k\nstate     done\nattempts  1\nresult    r\n"},
		{"once forget o --key k", "DELETE /v1/once/o?key=k", "", ""},
		{"cluster", "GET /v1/cluster", `{"cluster_id":"","epoch":1,"zxid":2,"oldest_zxid":1,"members":[{"id":"1","role":"looking","healthy":false}]}`,
			"id      (it forms: all voters must be there once)\nleader  (none: a majority of the voters must run and reach each other)\nepoch   1\nzxid    2\n\nMEMBER  ROLE     HEALTHY  CONNECTED  LAG  APPLIED  DURABLE  DISK FREE  ADDRESS  VERSION\n1       looking  NO                                                             \n"},
		{"cluster --timeout 1s", "GET /v1/cluster", `{"cluster_id":"c","epoch":1,"zxid":2,"oldest_zxid":1,"leader":"1","leader_for_ms":61000,"quorum":false,"ready":false,"not_ready":"catching up","storage_full":true,"archive":{"state":"failing","lag_ms":2000,"error":"gone"},"members":[{"id":"1","role":"leader","healthy":true,"connected":true,"lag":0,"applied_zxid":2,"durable_zxid":2,"disk_free_bytes":33554432,"disk_low":true,"version":"v1","address":"h:1"},{"id":"2","role":"follower","healthy":false,"connected":false,"lag":7,"not_ready":"waits"}]}`,
			"id         c\nleader     1, for 1m1s\nmajority   NO\nstorage    FULL: writes are refused until a disk that every majority needs has room\nepoch      1\nzxid       2\nnot ready  catching up\narchive    failing, 2s behind: gone\n\n" +
				"MEMBER  ROLE      HEALTHY  CONNECTED  LAG  APPLIED  DURABLE  DISK FREE   ADDRESS  VERSION\n" +
				"1       leader    yes      yes        0    2        2        32 MiB LOW  h:1      v1\n" +
				"2       follower  NO       NO         7                                           \n2 is not ready: waits\n"},
		{"member list -o json", "GET /v1/cluster", `{"members":[{"id":"1","role":"leader"}]}`, `[{"id":"1","role":"leader"}]` + "\n"},
		{"member add 4=h:1 5=h:2:observer --replace -o json", `POST /v1/cluster/members {"members":[{"address":"h:1","id":"4","replace":true},{"address":"h:2","id":"5","replace":true,"role":"observer"}]}`, `{"members":[]}`, "="},
		{"member remove 4 --force -o json", "DELETE /v1/cluster/members/4?force=true", `{"members":[]}`, "="},
		{"transfer 2 -o json", `POST /v1/cluster/transfer {"to":"2"}`, `{"members":[]}`, "="},
	} {
		t.Run(c.args, func(t *testing.T) {
			method, rest, _ := strings.Cut(c.asks, " ")
			uri, _, _ := strings.Cut(rest, " ")
			f := newFake(t, map[string][]reply{method + " " + uri: {{body: c.answer}}})
			out, said, code := f.runWith(nil, "from stdin", argsOf(c.args)...)
			if got := f.lines(); len(got) != 1 || got[0] != c.asks {
				t.Errorf("it asks\n%q, want\n%q", got, c.asks)
			}
			want := c.out
			if want == "=" {
				want = c.answer + "\n"
			}
			if code != exit.OK || out != want {
				t.Errorf("exit code %d, printed\n%s\nwant\n%s\nsaid: %s", code, out, want, said)
			}
		})
	}
}

// argsOf takes a line of the table apart; "b c" is one path.
func argsOf(line string) []string {
	args := strings.Split(line, " ")
	if i := slices.Index(args, "c"); i > 0 {
		args = slices.Replace(args, i-1, i+1, args[i-1]+" c")
	}
	return args
}

// Lists go on as long as there are pages.
func TestPages(t *testing.T) {
	f := newFake(t, map[string][]reply{
		"GET /v1/children/a?include=stat&limit=1000":              {{body: `{"nodes":[{"path":"/a/x","stat":{"version":1,"mtime":"2026-11-28T00:00:00Z"}}],"next_page_token":"n","zxid":1,"cursor":"1"}`}},
		"GET /v1/children/a?include=stat&limit=1000&page_token=n": {{body: `{"nodes":[{"path":"/a/y","stat":{"version":2,"mtime":"2026-11-28T00:00:00Z"}}],"zxid":1,"cursor":"1"}`}},
	})
	want := "VERSION  BYTES  CHILDREN  MODE        CHANGED               NAME\n" +
		"1        0      0         persistent  2026-11-28T00:00:00Z  x\n2        0      0         persistent  2026-11-28T00:00:00Z  y\n"
	if out, said, code := f.run("ls", "-s", "/a"); out != want || code != 0 {
		t.Errorf("exit code %d\n%s%s", code, out, said)
	}
	out, _, _ := f.run("ls", "-s", "-o", "json", "/a")
	if want := `[{"path":"/a/x","stat":{"version":1,"mtime":"2026-11-28T00:00:00Z"}},{"path":"/a/y","stat":{"version":2,"mtime":"2026-11-28T00:00:00Z"}}]` + "\n"; out != want {
		t.Errorf("%s\nwant %s", out, want)
	}
}

func TestMulti(t *testing.T) {
	ops := []string{"create -s -p /a/ 'x y'", "set -v 0 /b ''", "put -t 1m /c z", "delete -r --etag 9 /d", "check /e", "check_absent f",
		"check_lock locks/l", "add n -5", "enqueue q m", "ack q 1-2"}
	want := `POST /v1/multi?include=text {"ops":[{"data":"eCB5","op":"create","parents":true,"path":"/a/","sequential":true},` +
		`{"data":"","op":"set","path":"/b","version":0},{"data":"eg==","mode":"ttl","op":"put","path":"/c","ttl_ms":60000},` +
		`{"etag":"9","op":"delete","path":"/d","recursive":true},{"op":"check","path":"/e"},{"op":"check_absent","path":"/f"},` +
		`{"lock":"locks/l","op":"check_lock"},{"add":-5,"counter":"n","op":"add"},{"data":"bQ==","op":"enqueue","queue":"q"},{"op":"ack","queue":"q","receipt":"1-2"}]}`
	answer := `{"zxid":1,"results":[{"op":"create","path":"/a/0"},{"op":"set","path":"/b","stat":{"version":1}},{"op":"get","path":"/x","text":"v"},{"op":"get","path":"/y","code":"no_node"},{"op":"add","value":-5},{"op":"enqueue","id":3}]}`
	shown := "create   /a/0\nset      /b  version 1\nget      /x  v\nget      /y  no_node\nadd      -5\nenqueue  message 3\n"
	f := newFake(t, map[string][]reply{"POST /v1/multi?include=text": {{body: answer}}})
	out, said, code := f.run(append([]string{"multi"}, ops...)...)
	if got := f.lines(); code != 0 || got[0] != want || out != shown {
		t.Errorf("exit code %d, asks\n%s\nwant\n%s\nprinted\n%s%s", code, got, want, out, said)
	}
	_, said, code = f.runWith(nil, "# a comment\n\n"+strings.Join(ops, "\n"), "multi", "-f", "-")
	if got := f.lines(); code != 0 || got[1] != want {
		t.Errorf("from a file: exit code %d, asks %s: %s", code, got[1], said)
	}
	_, said, code = f.runWith(nil, `{"ops":[{"op":"check","path":"/a"}]}`, "multi", "-f", "-", "-o", "json")
	if got := f.lines(); code != 0 || got[2] != `POST /v1/multi?include=text {"ops":[{"op":"check","path":"/a"}]}` {
		t.Errorf("from JSON: exit code %d, asks %s: %s", code, got[2], said)
	}
}

// What is wrong with the arguments is said before anybody is asked.
func TestUsage(t *testing.T) {
	for line, says := range map[string]string{
		"get":                              "usage: perch get PATH [flags]",
		"get /a /b":                        "accepts 1 arg",
		"get /a --nope":                    "perch get --help tells more",
		"nope":                             "there is no perch nope",
		"lsx":                              "is it ls?",
		"queue nope":                       "there is no perch queue nope",
		"set /a":                           "a value is missing",
		"set /a x -f y":                    "not both",
		"set -v 1 --etag 2 /a x":           "none of the others can be",
		"delete -v 1 /a /b":                "give one path",
		"create -t 5 /a":                   "--ttl: must be 1s to 24h",
		"create -t soon /a":                "must be a time such as 30s",
		"create /a x nobody":               "an entry is SCHEME:ID:PERMS",
		"session close":                    "PERCH_SESSION",
		"session close x":                  "is a number",
		"lock acquire l --ttl 10":          "--ttl: must be 1s to 24h",
		"lock acquire ..":                  "is no name",
		"lock l":                           "perch lock NAME -- COMMAND",
		"sem s -- true":                    "--limit",
		"sem acquire s":                    "--limit",
		"barrier enter b":                  "--count",
		"once o -- true":                   "--key",
		"counter add n x":                  "must be an integer",
		"quota set /a":                     "--nodes",
		"member add 4":                     "ID=HOST:PORT",
		"multi":                            "there is no operation",
		"multi nope":                       "there is no such operation",
		"get /a -o xml":                    "--output",
		"get /a --url ftp://x":             "--url",
		"get /a --timeout 0":               "--timeout",
		"get /a --ca-file /does/not/exist": "",
	} {
		_, said, code := newFake(t, nil).run(strings.Fields(line)...)
		if want := exit.Usage; says != "" && code != want || !strings.Contains(said, says) {
			t.Errorf("%s: exit code %d, says %q, want %q", line, code, said, says)
		}
	}
}

// Every command says what it does, has its place in the help, and takes what all
// take; no flag is declared twice.
func TestEveryCommandIsDescribed(t *testing.T) {
	o := &Options{}
	root := &cobra.Command{Use: "perch"}
	root.AddCommand(o.Commands()...)
	root.AddCommand(o.ShellCommand())
	Arrange(root)
	var visit func(cmd *cobra.Command, top bool)
	visit = func(cmd *cobra.Command, top bool) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: its description is %q", cmd.CommandPath(), cmd.Short)
		}
		if top && cmd.GroupID == "" && !cmd.Hidden && cmd.Runnable() {
			t.Errorf("%s is in no group", cmd.CommandPath())
		}
		if cmd.Runnable() && !cmd.HasSubCommands() && cmd.Flags().Lookup("url") == nil {
			t.Errorf("%s cannot be told which cluster", cmd.CommandPath())
		}
		for _, below := range cmd.Commands() {
			visit(below, false)
		}
	}
	for _, cmd := range root.Commands() {
		visit(cmd, true)
	}
	ls, _, err := root.Find([]string{"ls"})
	if err != nil {
		t.Fatal(err)
	}
	usage := ls.UsageString()
	if !strings.Contains(usage, "\nFlags:\n") || !strings.Contains(usage, "\nHow to reach the cluster") {
		t.Errorf("the flags are not shown in two parts:\n%s", usage)
	}
}

func TestExitCodesTopic(t *testing.T) {
	out, _, code := newFake(t, nil).run("help", "exit-codes")
	if code != 0 || !strings.Contains(out, "  75  not obtained") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}
