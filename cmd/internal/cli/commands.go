package cli

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
)

// The groups that commands are listed in.
const (
	groupServe   = "serve"
	groupNodes   = "nodes"
	groupHolds   = "holds"
	groupAccess  = "access"
	groupCluster = "cluster"
	groupTools   = "tools"
)

// groupOf has a place for every command of perch, those that are wired elsewhere
// too; what has none is listed at the end.
var groupOf = map[string]string{
	"serve": groupServe, "gateway": groupServe, "health": groupServe,
	"ls": groupNodes, "get": groupNodes, "set": groupNodes, "create": groupNodes, "delete": groupNodes, "stat": groupNodes,
	"tree": groupNodes, "watch": groupNodes, "multi": groupNodes,
	"session": groupHolds, "lock": groupHolds, "sem": groupHolds, "elect": groupHolds, "queue": groupHolds, "counter": groupHolds,
	"barrier": groupHolds, "once": groupHolds,
	"acl": groupAccess, "quota": groupAccess, "token": groupAccess, "principal": groupAccess, "whoami": groupAccess,
	"cluster": groupCluster, "member": groupCluster, "transfer": groupCluster, "snapshot": groupCluster, "restore": groupCluster,
	"archive": groupCluster, "log": groupCluster,
	"shell": groupTools, "bench": groupTools, "completion": groupTools, "version": groupTools, "help": groupTools,
}

// Commands are all commands that ask a cluster.
func (o *Options) Commands() []*cobra.Command {
	return []*cobra.Command{
		o.lsCommand(), o.getCommand(), o.setCommand(), o.createCommand(), o.deleteCommand(), o.deleteAllCommand(), o.statCommand(),
		o.treeCommand(), o.watchCommand(), o.multiCommand(),
		o.sessionCommand(), o.lockCommand(), o.semCommand(), o.electCommand(), o.queueCommand(), o.counterCommand(), o.barrierCommand(), o.onceCommand(),
		o.aclCommand(), o.getACLCommand("getAcl", false), o.setACLCommand("setAcl", false), o.quotaCommand(),
		o.tokenCommand(), o.principalCommand(), o.whoamiCommand(),
		o.clusterCommand(), o.memberCommand(), o.transferCommand(), o.healthCommand(),
	}
}

// Arrange puts the commands of root in groups, adds the help that is about no
// single one, and has every fault of a caller count as one. It comes last.
func Arrange(root *cobra.Command) {
	root.AddGroup(
		&cobra.Group{ID: groupServe, Title: "Run it:"},
		&cobra.Group{ID: groupNodes, Title: "Nodes of the tree:"},
		&cobra.Group{ID: groupHolds, Title: "Sessions, and what they hold:"},
		&cobra.Group{ID: groupAccess, Title: "Who may do what, and how much of it:"},
		&cobra.Group{ID: groupCluster, Title: "The cluster:"},
		&cobra.Group{ID: groupTools, Title: "Tools:"},
	)
	root.SetHelpCommandGroupID(groupTools)
	root.SetCompletionCommandGroupID(groupTools)
	root.AddCommand(exitCodesTopic(), environmentTopic())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.UsageError(fmt.Errorf("%w\n%s --help tells more", err, cmd.CommandPath()))
	})
	addTemplateFuncs()
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), flagsOfTemplate, flagsOfOurs, 1))
	for _, cmd := range root.Commands() {
		cmd.GroupID = groupOf[cmd.Name()]
	}
}

// addTemplateFuncs adds to what cobra has one list of for the whole process.
var addTemplateFuncs = sync.OnceFunc(func() {
	cobra.AddTemplateFunc("ownFlags", func(f *pflag.FlagSet) string { return flagUsages(f, false) })
	cobra.AddTemplateFunc("reachFlags", func(f *pflag.FlagSet) string { return flagUsages(f, true) })
})

// How cobra shows the flags of a command, and how we do: what all commands have
// stands apart.
const (
	flagsOfTemplate = `{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}`
	flagsOfOurs = `{{with ownFlags .LocalFlags}}

Flags:
{{. | trimTrailingWhitespaces}}{{end}}{{with reachFlags .LocalFlags}}

How to reach the cluster, and how to show what it says:
{{. | trimTrailingWhitespaces}}{{end}}`
)

func flagUsages(f *pflag.FlagSet, reach bool) string {
	part := pflag.NewFlagSet("", pflag.ContinueOnError)
	part.SortFlags = f.SortFlags
	f.VisitAll(func(flag *pflag.Flag) {
		if _, is := flag.Annotations[reachFlag]; is == reach {
			part.AddFlag(flag)
		}
	})
	return part.FlagUsages()
}

// WordBelow is the check of a command that others are below: a word that is none of
// theirs is an error, and not the help.
func WordBelow(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no %s %s", cmd.CommandPath(), args[0])
	cmd.SuggestionsMinimumDistance = 2 // letters that are wrong
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; is it " + strings.Join(near, " or ") + "?"
	}
	return exit.UsageError(errors.New(text + "\n" + cmd.CommandPath() + " --help lists what there is"))
}

func exitCodesTopic() *cobra.Command {
	var table strings.Builder
	exit.Table(&table)
	return &cobra.Command{
		Use: "exit-codes", Short: "What the exit codes say",
		Long: "Exit codes of all commands:\n\n" + table.String() + `
A command that runs another one (lock, sem, elect, once) ends with that one's exit code, 128 and the signal's number
when a signal ended it, unless one of 75, 76 and 127 says why it did not run to its end.`,
	}
}

func environmentTopic() *cobra.Command {
	return &cobra.Command{
		Use: "environment", Short: "The environment variables",
		Long: `Environment variables of all commands that ask a cluster; a flag that is given counts more.

  PERCH_URL         --url, the cluster: http://127.0.0.1:7070, or several with commas between
  PERCH_TOKEN       an API token; PERCH_TOKEN_FILE, --token-file, the file that holds it, counts more
  PERCH_CA_FILE     --ca-file, certificates that sign the cluster's
  PERCH_OUTPUT      --output, table or json
  PERCH_TIMEOUT     --timeout, such as 30s
  PERCH_SESSION     --session, the token of a session

A command that runs under a lock or the like finds in its environment PERCH_LOCK, the name; PERCH_SESSION, the session;
and PERCH_FENCING_TOKEN, the fencing token.

perch serve takes each of its flags from the environment: --secret-file is PERCH_SECRET_FILE.`,
	}
}
