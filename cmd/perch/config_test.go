package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"perch/quorum"
)

// parse gives the flags and the environment to a fresh configuration.
func parse(t *testing.T, env map[string]string, args ...string) (config, []error) {
	t.Helper()
	var c config
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.declare(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	faults := applyEnv(flags, env)
	if err := c.validate(); err != nil {
		faults = append(faults, err)
	}
	return c, faults
}

func text(faults []error) string {
	var b strings.Builder
	for _, f := range faults {
		b.WriteString(f.Error() + "\n")
	}
	return b.String()
}

func TestDefaultsAreAQuorumOfOneOnLoopback(t *testing.T) {
	c, faults := parse(t, nil)
	if len(faults) > 0 {
		t.Fatal(text(faults))
	}
	if c.ID != 1 || c.HTTP != "127.0.0.1:7070" || c.Data != "perch-data" || c.ClusterName != "perch" || len(c.peers) != 0 {
		t.Errorf("%+v", c)
	}
}

func TestPeersAreSorted(t *testing.T) {
	c, faults := parse(t, nil, "--id=2", "--peers", "3=127.0.0.1:7503, 1=localhost:7501,2=[::1]:7502")
	if len(faults) > 0 {
		t.Fatal(text(faults))
	}
	want := []quorum.Peer{
		{ID: 1, Addr: "localhost:7501", Role: quorum.RoleVoter},
		{ID: 2, Addr: "[::1]:7502", Role: quorum.RoleVoter},
		{ID: 3, Addr: "127.0.0.1:7503", Role: quorum.RoleVoter},
	}
	for i, p := range c.peers {
		if p != want[i] {
			t.Errorf("peer %d: %+v, want %+v", i, p, want[i])
		}
	}
}

// Every fault names its flag and, where there is one, the remedy.
func TestFaults(t *testing.T) {
	const three = "1=127.0.0.1:7501,2=127.0.0.1:7502,3=127.0.0.1:7503"
	const remote = "1=10.0.0.1:7501,2=10.0.0.2:7501,3=10.0.0.3:7501"
	for name, c := range map[string]struct {
		args []string
		want []string // "" alone: no fault
	}{
		"id 0":           {[]string{"--id=0"}, []string{"--id 0"}},
		"id too large":   {[]string{"--id=65536"}, []string{"--id 65536"}},
		"no data":        {[]string{"--data="}, []string{"--data"}},
		"cluster name":   {[]string{"--cluster-name=a.b"}, []string{`--cluster-name "a.b"`}},
		"all interfaces": {[]string{"--http=:7070"}, []string{"--http :7070", "--insecure"}},
		"any address":    {[]string{"--http=0.0.0.0:7070"}, []string{"127.0.0.1:7070, or add --insecure"}},
		"a host name":    {[]string{"--http=perch.example:7070"}, []string{"--insecure"}},
		"behind a proxy": {[]string{"--http=0.0.0.0:7070", "--behind-tls-proxy"}, []string{"--insecure"}},
		"insecure":       {[]string{"--http=0.0.0.0:7070", "--insecure"}, nil},
		"nothing at all": {[]string{"--http=0.0.0.0:7070"},
			[]string{"add --tls-cert and --tls-key (or --behind-tls-proxy) and --auth, or use"}},
		"TLS, nobody asks":  {[]string{"--http=0.0.0.0:7070", "--tls-cert=c", "--tls-key=k"}, []string{"add --auth, or use"}},
		"proxy, nobody":     {[]string{"--http=0.0.0.0:7070", "--behind-tls-proxy"}, []string{"add --auth, or use"}},
		"asks in the clear": {[]string{"--http=0.0.0.0:7070", "--auth"}, []string{"add --tls-cert and --tls-key (or --behind-tls-proxy), or use"}},
		"TLS and asks":      {[]string{"--http=0.0.0.0:7070", "--auth", "--tls-cert=c", "--tls-key=k"}, nil},
		"proxy and asks":    {[]string{"--http=0.0.0.0:7070", "--auth", "--behind-tls-proxy"}, nil},
		"asks on loopback":  {[]string{"--auth"}, nil},
		"a name":            {[]string{"--http=perch.example:7070", "--auth"}, []string{"--tls-cert"}},
		"half a pair":       {[]string{"--tls-cert=c"}, []string{"--tls-key belong together"}},
		"client CA alone":   {[]string{"--tls-client-ca=a"}, []string{"give --tls-cert"}},
		"no audience":       {[]string{"--oidc-issuer=https://idp.example"}, []string{"the audience is missing"}},
		"plain issuer":      {[]string{"--oidc-issuer=http://idp.example", "--oidc-audience=a"}, []string{"must be https"}},
		"audience alone":    {[]string{"--oidc-audience=a"}, []string{"issuer"}},
		"identity provider": {[]string{"--oidc-issuer=https://idp.example", "--oidc-audience=a"}, nil},
		"no audit log":      {[]string{"--audit-required"}, []string{"give --audit-log too"}},
		"audit":             {[]string{"--audit-required", "--audit-log=a"}, nil},
		"negative limit":    {[]string{"--limit-address=-1"}, []string{"--limit-address must not be below 0"}},
		"no failures":       {[]string{"--limit-failures=0"}, []string{"--limit-failures not below 1"}},
		"IPv6 loopback":     {[]string{"--http=[::1]:7070"}, nil},
		"localhost":         {[]string{"--http=localhost:0"}, nil},
		"no port":           {[]string{"--http=127.0.0.1"}, []string{"host:port"}},
		"port too large":    {[]string{"--http=127.0.0.1:70700"}, []string{"port"}},
		"peers without me":  {[]string{"--id=4", "--peers", three}, []string{"--id 4"}},
		"peer twice":        {[]string{"--peers=1=a:1,1=b:2"}, []string{"1 is named twice"}},
		"address twice":     {[]string{"--peers=1=a:1,2=a:1"}, []string{"a:1 is named twice"}},
		"peer without id":   {[]string{"--peers=a:1"}, []string{"id=host:port"}},
		"peer id 0":         {[]string{"--peers=0=a:1"}, []string{"1 to 65535"}},
		"peer without host": {[]string{"--peers=1=:7501"}, []string{"host is missing"}},
		"peer on port 0":    {[]string{"--peers=1=a:0"}, []string{"port"}},
		"observer":          {[]string{"--peers=1=127.0.0.1:1,2=127.0.0.1:2:observer"}, nil},
		"unknown role":      {[]string{"--peers=1=127.0.0.1:1,2=127.0.0.1:2:voter"}, []string{"must be host:port"}},
		"remote peers":      {[]string{"--peers", remote}, []string{"--secret-file", "--peer-cert", "--insecure"}},
		"remote, insecure":  {[]string{"--peers", remote, "--insecure", "--secret-file=s"}, nil},
		"remote, TLS":       {[]string{"--peers", remote, "--peer-cert=c", "--peer-key=k", "--peer-ca=a", "--secret-file=s"}, nil},
		"gateways":          {[]string{"--nats=127.0.0.1:7601"}, nil},
		"gateways anywhere": {[]string{"--nats=:7601"}, []string{"--nats has addresses beyond", "--secret-file", "--peer-cert", "--insecure"}},
		"gateways, TLS":     {[]string{"--nats=:7601", "--peer-cert=c", "--peer-key=k", "--peer-ca=a", "--secret-file=s"}, nil},
		"gateways, plain":   {[]string{"--nats=:7601", "--insecure", "--secret-file=s"}, nil},
		"gateways nowhere":  {[]string{"--nats=7601"}, []string{`--nats "7601"`, "host:port"}},
		"half of TLS":       {[]string{"--peer-cert=c"}, []string{"--peer-key"}},
		"everything wrong": {
			[]string{"--id=0", "--data=", "--http=x", "--peers=y", "--peer-ca=z"},
			[]string{"--id", "--data", "--http", "--peers", "--peer-ca"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := parse(t, nil, c.args...)
			got := text(faults)
			if len(c.want) == 0 && got != "" {
				t.Fatalf("refused: %s", got)
			}
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in:\n%s", want, got)
				}
			}
		})
	}
}

func TestEnvironmentSetsFlags(t *testing.T) {
	env := map[string]string{
		"PERCH_HTTP": "127.0.0.1:9000", "PERCH_CLUSTER_NAME": "test", "PERCH_ID": "7",
		"PERCH_DATA": "", // empty is absent
		"HOME":       "/nonexistent",
	}
	c, faults := parse(t, env, "--id=8")
	if len(faults) > 0 {
		t.Fatal(text(faults))
	}
	if c.HTTP != "127.0.0.1:9000" || c.ClusterName != "test" || c.Data != "perch-data" || c.ID != 8 {
		t.Errorf("%+v", c)
	}
}

func TestEnvironmentFaults(t *testing.T) {
	env := map[string]string{
		"PERCH_ID": "seven", "PERCH_AUTH": "oidc", "PERCH_CONSOLE": "x", "PERCH_DTA": "/x",
		"PERCH_URL": "http://127.0.0.1:7070", "PERCH_TOKEN": "x", // of other commands
		"PERCH_SERVICE_HOST": "10.0.0.1", "PERCH_PORT": "tcp://10.0.0.1:80", "PERCH_PORT_80_TCP": "x", // of Kubernetes
	}
	_, faults := parse(t, env)
	got := text(faults)
	for _, want := range []string{"PERCH_ID", "PERCH_AUTH: ", "there is no flag --console", "there is no flag --dta"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "PERCH_SERVICE") || strings.Contains(got, "PERCH_PORT") || strings.Contains(got, "PERCH_URL") || strings.Contains(got, "PERCH_TOKEN") {
		t.Errorf("variables of others are refused:\n%s", got)
	}
}
