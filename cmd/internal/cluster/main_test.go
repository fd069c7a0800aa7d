package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		http, data string
		first      string // HTTP address of node 1; "" when refused
		peer       string
		dir        string
	}{
		"defaults":     {"", "", "127.0.0.1:7071", "127.0.0.1:7501", "perch-data/cluster"},
		"moved":        {"[::1]:9000", "/tmp/x", "[::1]:9001", "[::1]:9431", "/tmp/x/cluster"},
		"no port":      {"127.0.0.1", "", "", "", ""},
		"not a number": {"127.0.0.1:http", "", "", "", ""},
		"too high":     {"127.0.0.1:65400", "", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"PERCH_HTTP": c.http, "PERCH_DATA": c.data}
			o, err := options("perch", func(k string) string { return env[k] })
			if (err != nil) != (c.first == "") {
				t.Fatalf("error %v", err)
			}
			if err == nil && (o.HTTP[0] != c.first || o.Peers[0] != c.peer || o.Dir != c.dir) {
				t.Errorf("%+v", o)
			}
			all := slices.Concat(o.HTTP, o.Peers)
			slices.Sort(all)
			if err == nil && len(slices.Compact(all)) != 2*nodes {
				t.Errorf("addresses twice: %v", all)
			}
		})
	}
}

// A node that ends by itself is reported, with what it said last.
func TestNodeThatFailsIsReported(t *testing.T) {
	env := map[string]string{"PERCH_HTTP": "127.0.0.1:28070", "PERCH_DATA": t.TempDir()}
	var out bytes.Buffer
	err := run(context.Background(), "/bin/sh", func(k string) string { return env[k] }, &out) // sh knows no file "serve"
	if err == nil || !strings.Contains(err.Error(), "serve") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
