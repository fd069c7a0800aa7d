package e2e

import (
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// collector is a small OpenTelemetry collector: OTLP over HTTP, spans only.
type collector struct {
	url string

	mu    sync.Mutex
	spans []span
}

// span is one span as it came, with the instance of its resource.
type span struct {
	trace, id, parent, name string
	kind                    uint64
	begin, end              uint64 // Unix nanoseconds
	instance                string // service.instance.id
	texts                   map[string]string
	numbers                 map[string]uint64
}

func startCollector(t testing.TB) *collector {
	c := &collector{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		zip, err := gzip.NewReader(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			return
		}
		raw, err := io.ReadAll(zip)
		if err != nil {
			t.Error(err)
		}
		c.take(raw)
	}))
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

// take decodes an ExportTraceServiceRequest (opentelemetry-proto, trace.proto).
func (c *collector) take(raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range fields(raw)[1] {
		in := fields(resource.bytes)
		instance := ""
		for _, r := range in[1] {
			texts, _ := attributes(fields(r.bytes)[1])
			instance = texts["service.instance.id"]
		}
		for _, scope := range in[2] {
			for _, one := range fields(scope.bytes)[2] {
				c.spans = append(c.spans, newSpan(fields(one.bytes), instance))
			}
		}
	}
}

func newSpan(f map[uint64][]field, instance string) span {
	s := span{
		trace: hex.EncodeToString(first(f[1]).bytes), id: hex.EncodeToString(first(f[2]).bytes), parent: hex.EncodeToString(first(f[4]).bytes),
		name: string(first(f[5]).bytes), kind: first(f[6]).number, begin: first(f[7]).number, end: first(f[8]).number, instance: instance,
	}
	s.texts, s.numbers = attributes(f[9])
	return s
}

func first(list []field) (f field) {
	if len(list) > 0 {
		f = list[0]
	}
	return f
}

// attributes are those that are texts, and those that are numbers.
func attributes(list []field) (texts map[string]string, numbers map[string]uint64) {
	texts, numbers = map[string]string{}, map[string]uint64{}
	for _, one := range list {
		kv := fields(one.bytes)
		key, value := string(first(kv[1]).bytes), fields(first(kv[2]).bytes)
		if v := value[1]; len(v) > 0 {
			texts[key] = string(v[0].bytes)
		}
		if v := value[3]; len(v) > 0 {
			numbers[key] = v[0].number
		}
	}
	return texts, numbers
}

// of are the spans of a trace.
func (c *collector) of(trace string) (list []span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.trace == trace {
			list = append(list, s)
		}
	}
	return list
}

// field is one field of a message in Protocol Buffers: a number or bytes.
type field struct {
	number uint64
	bytes  []byte
}

// fields reads a message without knowing its schema.
func fields(b []byte) map[uint64][]field {
	out := map[uint64][]field{}
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			panic("a message is cut off")
		}
		b = b[n:]
		return v
	}
	for len(b) > 0 {
		tag := next()
		var f field
		switch tag & 7 {
		case 0:
			f.number = next()
		case 1:
			f.number, b = binary.LittleEndian.Uint64(b), b[8:]
		case 2:
			n := next()
			f.bytes, b = b[:n], b[n:]
		case 5:
			f.number, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
		default:
			panic(fmt.Sprintf("a field of type %d", tag&7))
		}
		out[tag>>3] = append(out[tag>>3], f)
	}
	return out
}
