package progress

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	var out bytes.Buffer
	at := time.Unix(0, 0)
	m := begin(&out, "restore", 40<<20, Bytes, func() time.Time { return at })
	for range 10 {
		at = at.Add(paintEvery / 2)
		m.Add(1 << 20)
	}
	lines := strings.Split(out.String(), "\r")
	if len(lines) != 1+5 {
		t.Errorf("painted %d times in half a second: %q", len(lines)-1, lines)
	}
	if want := "restore  9.0 MiB of 40.0 MiB  22%  20.0 MiB/s  2s left"; lines[len(lines)-1] != want {
		t.Errorf("%q, want %q", lines[len(lines)-1], want)
	}
	out.Reset()
	m.Done()
	m.Done()
	if got := out.String(); strings.Trim(got, " \r") != "" || len(got) < 40 || !strings.HasSuffix(got, "\r") {
		t.Errorf("the line is left as %q", got)
	}
}

func TestMeterThatHasJustBegun(t *testing.T) {
	var out bytes.Buffer
	m := begin(&out, "round", 9, Items, func() time.Time { return time.Unix(0, 0) })
	m.Set(0)
	if got := out.String(); got != "\rround  0 of 9  0%" {
		t.Errorf("%q", got)
	}
}

func TestMeterOfAnUnknownTotal(t *testing.T) {
	var out bytes.Buffer
	at := time.Unix(0, 0)
	m := begin(&out, "keys", 0, Items, func() time.Time { return at })
	at = at.Add(2 * time.Second)
	m.Set(500)
	if got := out.String(); got != "\rkeys  500  250/s" {
		t.Errorf("%q", got)
	}
}

func TestNothingIsShownElsewhere(t *testing.T) {
	var out bytes.Buffer
	m := New(&out, "save", 10, Bytes)
	n, err := io.Copy(io.Discard, m.Reader(strings.NewReader("0123456789")))
	m.Done()
	if n != 10 || err != nil || out.Len() != 0 || m.done != 10 {
		t.Errorf("%d read, %d counted, %v, shown: %q", n, m.done, err, &out)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1 << 62: "4096.0 PiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
