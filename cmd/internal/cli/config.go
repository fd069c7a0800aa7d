package cli

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perch/cmd/internal/exit"
	"perch/cmd/internal/trust"
	"perch/gen/client"
)

// EnvNames are the environment variables of the commands that ask a cluster, and
// those that a command finds which runs under a lock.
var EnvNames = []string{"PERCH_URL", "PERCH_TOKEN", "PERCH_TOKEN_FILE", "PERCH_CA_FILE", "PERCH_OUTPUT", "PERCH_TIMEOUT", "PERCH_SESSION",
	"PERCH_LOCK", "PERCH_FENCING_TOKEN"}

const (
	urlDefault     = "http://127.0.0.1:7070"
	timeoutDefault = 30 * time.Second
)

// Options is what all commands have from whoever runs them.
type Options struct {
	Env map[string]string // environment variables

	dir      string      // node that paths without a leading slash begin at; "" is the root
	own      *ownSession // that of the interactive shell; nil elsewhere
	insecure bool        // what --insecure is when it is not given

	reach map[*cobra.Command]*config // of every command, for completion
}

// config is how a command reaches a cluster, and how it shows what it is told.
// The token has no flag of its own: arguments can be seen by everybody on a
// machine.
type config struct {
	URL       string
	TokenFile string
	CAFile    string
	Output    string
	Timeout   time.Duration
	Insecure  bool
	Verbose   bool

	Session string   // of --session, where a command has it
	Fences  []string // of --fence
	Key     string   // of --idempotency-key
	Local   bool     // of --local

	bases []*url.URL
	token string
}

// reachFlag marks the flags that every command has, which its help shows apart.
const reachFlag = "perch_reach"

func (c *config) declare(f *pflag.FlagSet) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.StringVar(&c.URL, "url", urlDefault, "the cluster: a node or gateway, or several with commas between, of which one that answers is asked")
	own.StringVar(&c.TokenFile, "token-file", "", "file that holds the API token, mode 0600 (none: the environment variable PERCH_TOKEN)")
	own.StringVar(&c.CAFile, "ca-file", "", "certificates that sign the cluster's (PEM; none: those of this machine)")
	own.StringVarP(&c.Output, "output", "o", "table", "table, for people, or json")
	c.Timeout = timeoutDefault
	own.Var(&span{&c.Timeout}, "timeout", "how long a request may take, its repetitions included")
	own.BoolVar(&c.Insecure, "insecure", c.Insecure, "send the token to another machine without TLS")
	if f.ShorthandLookup("v") == nil {
		own.BoolVarP(&c.Verbose, "verbose", "v", false, "tell of every request, and the request id of what failed")
	} else {
		own.BoolVar(&c.Verbose, "verbose", false, "tell of every request, and the request id of what failed")
	}
	own.VisitAll(func(flag *pflag.Flag) {
		flag.Annotations = map[string][]string{reachFlag: nil}
		if f.Lookup(flag.Name) == nil { // a command may give one a meaning of its own
			f.AddFlag(flag)
		}
	})
}

// prepare fills in what the environment says, and reports all faults at once.
func (c *config) prepare(f *pflag.FlagSet, env map[string]string) error {
	var faults []error
	for _, name := range []string{"url", "token-file", "ca-file", "output", "timeout", "session"} {
		flag, variable := f.Lookup(name), "PERCH_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if value := env[variable]; value != "" && flag != nil && !flag.Changed && inherits(flag) {
			if err := flag.Value.Set(value); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", variable, err))
			}
		}
	}
	if c.Output != "table" && c.Output != "json" {
		faults = append(faults, fmt.Errorf("--output %q: must be table or json", c.Output))
	}
	if c.Timeout <= 0 {
		faults = append(faults, errors.New("--timeout: must be above 0"))
	}
	c.token = env["PERCH_TOKEN"]
	if c.TokenFile != "" {
		token, err := trust.PrivateFile("token", c.TokenFile)
		if err != nil {
			faults = append(faults, err)
		}
		c.token = string(token)
	}
	if strings.ContainsAny(c.token, " \t\r\n") {
		faults = append(faults, errors.New("the token has white space in it"))
	}
	return errors.Join(append(faults, c.parseURLs())...)
}

// inherits says whether the environment sets the flag: not a flag to which a
// command gave a meaning of its own.
func inherits(flag *pflag.Flag) bool {
	_, reach := flag.Annotations[reachFlag]
	return reach || flag.Name == "session"
}

func (c *config) parseURLs() error {
	for item := range strings.SplitSeq(c.URL, ",") {
		u, err := url.Parse(strings.TrimSuffix(strings.TrimSpace(item), "/"))
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("--url: must be http://host:port or https://host:port, without user")
		}
		addr := u.Host
		if u.Port() == "" {
			addr += ":0"
		}
		if u.Scheme == "http" && c.token != "" && !c.Insecure && !trust.Loopback(addr) {
			return fmt.Errorf("--url %s: the token would go to another machine in the clear: use https, or add --insecure", u)
		}
		c.bases = append(c.bases, u)
	}
	return nil
}

// client makes the only HTTP client that there is.
func (c *config) client(p *printer) (*client.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file: no certificate in %s", c.CAFile)
		}
	}
	a := &asker{
		http: &http.Client{
			Transport:     &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		bases: c.bases, verbose: c.Verbose, printer: p,
	}
	return client.NewClient(c.bases[0].String(), client.WithHTTPClient(a), client.WithRequestEditorFn(c.edit))
}

// edit gives a request what all requests of a command have.
func (c *config) edit(_ context.Context, r *http.Request) error {
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.Session != "" {
		r.Header.Set("Perch-Session", c.Session)
	}
	by := repeatsOf(r)
	if reads(r) && c.Local {
		addQuery(r.URL, "consistency", string(client.Local))
	}
	if by != byPlace {
		for _, fence := range c.Fences {
			addQuery(r.URL, "fence", fence)
		}
	}
	if by == byKey {
		r.Header.Set("Idempotency-Key", c.key())
	}
	return nil
}

func addQuery(u *url.URL, name, value string) {
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += name + "=" + url.QueryEscape(value)
}

// key is drawn for each request, unless the caller has one of his own.
func (c *config) key() string {
	if c.Key != "" {
		return c.Key
	}
	return drawn()
}

// drawn is a secret, or something that nobody else has.
func drawn() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// conn is one command's conversation with a cluster.
type conn struct {
	*config
	*printer
	opt *Options
	api *client.Client
	in  *cobra.Command // whose standard input it is
}

// action is what a command does once it can ask.
type action func(ctx context.Context, c *conn, args []string) error

// asks makes a command of do: with the flags that all have, checked before
// anything is sent.
func (o *Options) asks(cmd *cobra.Command, do action, more ...func(*config, *pflag.FlagSet)) *cobra.Command {
	c := config{Insecure: o.insecure}
	for _, declare := range more {
		declare(&c, cmd.Flags())
	}
	c.declare(cmd.Flags())
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		// Cobra itself looks at groups of flags later, and would not say whose fault it is.
		if err := errors.Join(check(cmd, args), cmd.ValidateFlagGroups()); err != nil {
			return exit.UsageError(fmt.Errorf("%w\nusage: %s", err, cmd.UseLine()))
		}
		return nil
	}
	if o.reach == nil {
		o.reach = map[*cobra.Command]*config{}
	}
	o.reach[cmd] = &c
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		conn, err := o.conn(cmd, &c)
		if err != nil {
			return err
		}
		return do(cmd.Context(), conn, args)
	}
	return cmd
}

func (o *Options) conn(cmd *cobra.Command, c *config) (*conn, error) {
	if err := c.prepare(cmd.Flags(), o.Env); err != nil {
		return nil, exit.UsageError(err)
	}
	p := newPrinter(cmd.OutOrStdout(), cmd.ErrOrStderr(), c.Output == "json")
	api, err := c.client(p)
	if err != nil {
		return nil, err
	}
	return &conn{config: c, printer: p, opt: o, api: api, in: cmd}, nil
}

// beside is another conversation with the same cluster, for what goes on at the
// same time.
func (c *conn) beside() (*conn, error) {
	own := *c.config
	own.Session, own.Fences, own.Key = "", nil, ""
	api, err := own.client(c.printer)
	if err != nil {
		return nil, err
	}
	return &conn{config: &own, printer: c.printer, opt: c.opt, api: api, in: c.in}, nil
}

// What a command may have besides.

func withSession(c *config, f *pflag.FlagSet) {
	f.StringVar(&c.Session, "session", "", "token of the session in which it is done (PERCH_SESSION)")
}

func withFences(c *config, f *pflag.FlagSet) {
	f.StringArrayVar(&c.Fences, "fence", nil, "do it only while this is held: [KIND/]NAME[:TOKEN], KIND locks, semaphores, elections or once; may be repeated")
}

func withKey(c *config, f *pflag.FlagSet) {
	f.StringVar(&c.Key, "idempotency-key", "", "do it once under this key, however often it is asked for (none: a key of its own)")
}

func withLocal(c *config, f *pflag.FlagSet) {
	f.BoolVar(&c.Local, "local", false, "what the node that answers knows, perhaps older (the default is the newest)")
}
