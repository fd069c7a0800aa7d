package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"perch/gen/client"
)

// clientNames are the environment variables of the commands that ask a node;
// they are no business of `perch serve`.
var clientNames = []string{"PERCH_URL", "PERCH_TOKEN", "PERCH_TOKEN_FILE", "PERCH_CA_FILE", "PERCH_OUTPUT"}

const (
	askWithin      = 30 * time.Second
	answerBytesMax = 4 << 20
)

// clientConfig is how a command reaches a node, and how it shows the answer. The
// token has no flag of its own: arguments can be seen by everybody on a machine.
type clientConfig struct {
	URL       string
	TokenFile string
	CAFile    string
	Output    string
	Insecure  bool

	token string
}

func (c *clientConfig) declare(f *pflag.FlagSet) {
	f.StringVar(&c.URL, "url", "http://127.0.0.1:7070", "a node")
	f.StringVar(&c.TokenFile, "token-file", "", "file that holds the API token, mode 0600 (none: the environment variable PERCH_TOKEN)")
	f.StringVar(&c.CAFile, "ca-file", "", "certificates that sign the node's (PEM; none: those of this machine)")
	f.StringVarP(&c.Output, "output", "o", "table", "table, for people, or json")
	f.BoolVar(&c.Insecure, "insecure", false, "send the token to another machine without TLS")
}

// asking makes a command of run that has checked its flags and reached for its
// token.
func asking(env map[string]string, cmd *cobra.Command, run func(*cobra.Command, *session, []string) error) *cobra.Command {
	var c clientConfig
	c.declare(cmd.Flags())
	cmd.Args = asUsage(cmd.Args)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.prepare(cmd.Flags(), env); err != nil {
			return usageError{err}
		}
		api, err := c.client()
		if err != nil {
			return err
		}
		return run(cmd, &session{api: api, asJSON: c.Output == "json", out: cmd.OutOrStdout()}, args)
	}
	return cmd
}

// prepare fills in what the environment says, and reports all faults at once.
func (c *clientConfig) prepare(f *pflag.FlagSet, env map[string]string) error {
	for _, name := range []string{"url", "token-file", "ca-file", "output"} {
		if value := env[envName(name)]; value != "" && !f.Changed(name) {
			_ = f.Set(name, value) // a string takes everything
		}
	}
	var faults []error
	if c.Output != "table" && c.Output != "json" {
		faults = append(faults, fmt.Errorf("--output %q: must be table or json", c.Output))
	}
	c.token = env["PERCH_TOKEN"]
	if c.TokenFile != "" {
		token, err := readPrivate("token", c.TokenFile)
		if err != nil {
			faults = append(faults, err)
		}
		c.token = string(token)
	}
	if strings.ContainsAny(c.token, " \t\r\n") {
		faults = append(faults, errors.New("the token has white space in it"))
	}
	return errors.Join(append(faults, c.checkURL())...)
}

func (c *clientConfig) checkURL() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("--url: must be http://host:port or https://host:port, without user")
	}
	addr := u.Host
	if u.Port() == "" {
		addr += ":0"
	}
	if u.Scheme == "http" && c.token != "" && !c.Insecure && !isLoopback(addr) {
		return fmt.Errorf("--url %s: the token would go to another machine in the clear: use https, or add --insecure", c.URL)
	}
	return nil
}

func (c *clientConfig) client() (*client.Client, error) {
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
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	return client.NewClient(strings.TrimSuffix(c.URL, "/"),
		client.WithHTTPClient(&http.Client{
			Transport: transport, Timeout: askWithin,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			if c.token != "" {
				r.Header.Set("Authorization", "Bearer "+c.token)
			}
			return nil
		}))
}

// session is one command's conversation with a node.
type session struct {
	api    *client.Client
	asJSON bool
	out    io.Writer
}

// answered reads the answer of a request into v, unless it is nil, and makes an
// error of a problem.
func answered(resp *http.Response, err error, v any) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return problemOf(resp, body)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s answers something else than Perch would: %w", resp.Request.URL.Host, err)
	}
	return nil
}

func problemOf(resp *http.Response, body []byte) error {
	var p client.Problem
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		return fmt.Errorf("%s answers %s", resp.Request.URL.Host, resp.Status)
	}
	text := p.Code + ": " + p.Title
	switch {
	case p.Field != nil && p.Detail != nil:
		text += " (" + *p.Field + ": " + *p.Detail + ")"
	case p.Field != nil || p.Detail != nil:
		text += " (" + deref(p.Field) + deref(p.Detail) + ")"
	}
	if h := p.Holder; h != nil && deref(h.Owner) != "" {
		text += " Its holder: " + *h.Owner
		if h.RemainingMs != nil {
			text += fmt.Sprintf(", whose time is over in %v unless it is renewed", (time.Duration(*h.RemainingMs) * time.Millisecond).Round(time.Second))
		}
	}
	return errors.New(text)
}
