package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
	"perch/gen/client"
)

func (o *Options) multiCommand() *cobra.Command {
	var file source
	cmd := &cobra.Command{
		Use: "multi OPERATION...", Short: "Do several things at one position, all or none",
		Args: cobra.ArbitraryArgs,
		Long: `Do several things at one position: all of them, or none when one cannot be done. Each argument is one operation:

  create [-s] [-p] [-c|-e|-t TTL] PATH [VALUE]    set [-v N] PATH VALUE     put [-p] PATH VALUE
  delete [-r] [-v N] PATH                         check [-v N] PATH         check_absent PATH
  get PATH                                        check_lock [KIND/]NAME    add COUNTER N
  enqueue QUEUE VALUE                             ack QUEUE RECEIPT

--etag TAG does what -v N does. With --file the operations come from a file: one a line, or the JSON of /v1/multi.
Printed is what each operation made; with -o json the answer of /v1/multi.`,
		Example: `  perch multi 'check -v 1 /app/color' 'set /app/color red' 'create /app/note "it is red"'
  perch multi -f changes.txt`,
	}
	return o.asks(cmd, func(ctx context.Context, c *conn, args []string) error {
		request, err := o.operations(c, &file, args)
		if err != nil {
			return err
		}
		var result client.TxnResult
		a, err := c.ask(repeatedBy(ctx, repeatsOfOps(request.Ops)), &result, func(ctx context.Context) (*http.Response, error) {
			params := &client.MultiParams{Include: &client.Include{client.DetailText}}
			return c.api.Multi(ctx, params, *request)
		})
		if err != nil {
			return err
		}
		return c.show(a, func() error {
			for i := range result.Results {
				if err := c.line("%s", outcomeText(&result.Results[i])); err != nil {
					return err
				}
			}
			return nil
		})
	}, file.declare, withSession, withFences, withKey)
}

// repeatsOfOps is of a multi: one that reads needs no key, and one that does both
// can have none, so it is never repeated.
func repeatsOfOps(ops []client.Op) repeats {
	gets, changes := false, false
	for i := range ops {
		switch ops[i].Op {
		case client.Get:
			gets = true
		case client.Check, client.CheckAbsent:
		default:
			changes = true
		}
	}
	switch {
	case !changes:
		return byPlace
	case gets:
		return never
	}
	return byKey
}

// operations are those of the arguments, or of a file.
func (o *Options) operations(c *conn, file *source, args []string) (*client.TxnRequest, error) {
	request := &client.TxnRequest{}
	if file.file != "" {
		if len(args) > 0 {
			return nil, exit.UsageError(errors.New("give the operations as arguments or with --file, not both"))
		}
		text, _, err := file.read(c, nil)
		if err != nil {
			return nil, err
		}
		if trimmed := strings.TrimSpace(string(text)); strings.HasPrefix(trimmed, "{") {
			if err := json.Unmarshal(text, request); err != nil {
				return nil, exit.UsageError(fmt.Errorf("--file: %w", err))
			}
			return request, nil
		}
		args = strings.Split(string(text), "\n")
	}
	for _, line := range args {
		if strings.TrimSpace(line) == "" || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		op, err := o.operation(line)
		if err != nil {
			return nil, exit.UsageError(fmt.Errorf("%s: %w", line, err))
		}
		request.Ops = append(request.Ops, *op)
	}
	if len(request.Ops) == 0 {
		return nil, exit.UsageError(errors.New("there is no operation: perch multi 'set /a x' 'delete /b'"))
	}
	return request, nil
}

// operation reads one, in the words of the command line.
func (o *Options) operation(line string) (*client.Op, error) {
	words, err := split(line)
	if err != nil {
		return nil, err
	}
	list := texts(words)
	op := &client.Op{Op: client.OpOp(list[0])}
	rest, err := parseOpFlags(op, list[1:])
	if err != nil {
		return nil, err
	}
	takes, known := operands[op.Op]
	if !known {
		return nil, errors.New("there is no such operation; perch multi --help lists them")
	}
	if len(rest) < takes.least || len(rest) > takes.most {
		return nil, fmt.Errorf("wants %s", takes.words)
	}
	return op, takes.set(o, op, rest)
}

// operand says what an operation takes besides flags.
type operand struct {
	words       string
	least, most int
	set         func(o *Options, op *client.Op, args []string) error
}

var operands = map[client.OpOp]operand{
	client.Create: {"PATH [VALUE]", 1, 2, onNode}, client.Set: {"PATH VALUE", 2, 2, onNode}, client.Put: {"PATH VALUE", 2, 2, onNode},
	client.Delete: {"PATH", 1, 1, onNode}, client.Check: {"PATH", 1, 1, onNode}, client.CheckAbsent: {"PATH", 1, 1, onNode},
	client.Get: {"PATH", 1, 1, onNode},
	client.CheckLock: {"[KIND/]NAME", 1, 1, func(_ *Options, op *client.Op, args []string) error {
		op.Lock = &args[0]
		return nil
	}},
	client.Add: {"COUNTER N", 2, 2, func(_ *Options, op *client.Op, args []string) error {
		n, err := strconv.ParseInt(args[1], 10, 64)
		op.Counter, op.Add = &args[0], &n
		return err
	}},
	client.Enqueue: {"QUEUE VALUE", 2, 2, func(_ *Options, op *client.Op, args []string) error {
		op.Queue = &args[0]
		setValue(op, args[1])
		return nil
	}},
	client.Ack: {"QUEUE RECEIPT", 2, 2, func(_ *Options, op *client.Op, args []string) error {
		op.Queue, op.Receipt = &args[0], &args[1]
		return nil
	}},
}

func onNode(o *Options, op *client.Op, args []string) error {
	at, err := o.prefix(args[0])
	if err != nil {
		return err
	}
	at = "/" + at
	op.Path = &at
	if len(args) > 1 {
		setValue(op, args[1])
	}
	return nil
}

func setValue(op *client.Op, value string) {
	data := []byte(value)
	op.Data = &data
}

// parseOpFlags takes the flags off args; which of them an operation takes is for
// the server to judge.
func parseOpFlags(op *client.Op, args []string) ([]string, error) {
	var (
		sequential, parents, recursive, container, ephemeral bool
		version                                              int64
		etag                                                 string
		ttl                                                  span
	)
	ttl.d = new(time.Duration)
	f := pflag.NewFlagSet(string(op.Op), pflag.ContinueOnError)
	f.Usage = func() {}
	f.SetInterspersed(op.Op != client.Add) // what it adds may begin with a minus
	f.BoolVarP(&sequential, "sequential", "s", false, "")
	f.BoolVarP(&parents, "parents", "p", false, "")
	f.BoolVarP(&recursive, "recursive", "r", false, "")
	f.BoolVarP(&container, "container", "c", false, "")
	f.BoolVarP(&ephemeral, "ephemeral", "e", false, "")
	f.Int64VarP(&version, "version", "v", -1, "")
	f.StringVar(&etag, "etag", "", "")
	f.VarP(&ttl, "ttl", "t", "")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	op.Sequential, op.Parents, op.Recursive, op.Etag = ptr(sequential), ptr(parents), ptr(recursive), ptr(etag)
	if version >= 0 {
		op.Version = &version
	}
	switch {
	case ephemeral:
		op.Mode = ptr(client.NodeModeEphemeral)
	case container:
		op.Mode = ptr(client.NodeModeContainer)
	case f.Changed("ttl"):
		op.Mode, op.TTLMs = ptr(client.NodeModeTTL), ms(*ttl.d)
	}
	return f.Args(), nil
}

func outcomeText(r *client.OpOutcome) string {
	what, about := deref(r.Path), ""
	switch {
	case r.Code != nil:
		about = *r.Code
	case r.Value != nil:
		what = strconv.FormatInt(*r.Value, 10)
	case r.ID != nil:
		what = "message " + strconv.FormatInt(*r.ID, 10)
	case r.Text != nil || r.Data != nil:
		about = brief(valueOf(r.Data, r.Text))
	case r.Stat != nil:
		about = fmt.Sprintf("version %d", r.Stat.Version)
	}
	return strings.TrimRight(fmt.Sprintf("%-8s %s  %s", r.Op, what, about), " ")
}
