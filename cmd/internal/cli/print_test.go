package cli

import (
	"bytes"
	"testing"
)

// On a terminal nothing that others have written does harm; elsewhere it is as it
// was written.
func TestWhatOthersWrote(t *testing.T) {
	for _, c := range []struct {
		seen        bool
		value, want string
	}{
		{false, "a\x1b[2J\x00", "a\x1b[2J\x00"}, {false, "a\n", "a\n"}, {true, "a", "a\n"}, {true, "a\n", "a\n"}, {true, "a\n\tb", "a\n\tb\n"},
		{true, "a\x1b[2J", `"a\x1b[2J"` + "\n"}, {true, "\xff", `"\xff"` + "\n"}, {true, "größe", "größe\n"}, {true, "", "\n"},
	} {
		var out bytes.Buffer
		p := &printer{out: &out, seen: c.seen}
		if err := p.value([]byte(c.value)); err != nil || out.String() != c.want {
			t.Errorf("%q at a terminal (%v): %q, %v", c.value, c.seen, &out, err)
		}
	}
	var out bytes.Buffer
	p := &printer{out: &out, seen: true}
	if err := p.table([]string{"A", "B"}, [][]string{{"x\ty\n", "\x1b"}}); err != nil || out.String() != "A       B\nx\\ty\\n  \\x1b\n" {
		t.Errorf("%q, %v", &out, err)
	}
}

func TestJSONIsUnchanged(t *testing.T) {
	const body = `{"z":1e400,"a":9007199254740993, "s":"\u00e9"}`
	for seen, want := range map[bool]string{false: body + "\n", true: "{\n  \"z\": 1e400,\n  \"a\": 9007199254740993,\n  \"s\": \"\\u00e9\"\n}\n"} {
		var out bytes.Buffer
		p := &printer{out: &out, seen: seen}
		if err := p.json([]byte(body + "\n")); err != nil || out.String() != want {
			t.Errorf("%q, %v", &out, err)
		}
	}
	var out bytes.Buffer
	p := &printer{out: &out}
	if err := p.jsonWith([]byte(`{"id":9007199254740993}`), "token", "t"); err != nil || out.String() != `{"id":9007199254740993,"token":"t"}`+"\n" {
		t.Errorf("%q, %v", &out, err)
	}
}

func TestBrief(t *testing.T) {
	long := bytes.Repeat([]byte("ü"), 100)
	for value, want := range map[string]string{
		"": "", "a\nb": `a\nb`, string(long): string(long[:120]) + "… (200 bytes)",
	} {
		if got := brief([]byte(value)); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}
