package handlers

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"perch/gen/commandpb"
)

const (
	headerIdempotencyKey = "Idempotency-Key"
	headerReplayed       = "Idempotent-Replayed"
	keyBytesMax          = 128
)

// idempotency is the Idempotency-Key of a request (API.md rule 11): which
// request it is, and what that asks for.
type idempotency struct {
	scope [sha256.Size]byte
	query []byte    // canonical
	body  hash.Hash // of what has been read of a raw body; of a JSON one all of it, canonical
}

// uncounted are the parameters and the fields of a body that a repetition may
// have otherwise: how long it waits, and whom it is from.
var uncounted = []string{"wait_ms", "stay_ms", "ttl_ms", "owner", "consistency", "min_zxid"}

// parseKey reads a key, which may stand in double quotes.
func parseKey(values []string) (string, *failure) {
	if len(values) != 1 {
		return "", badArgument(headerIdempotencyKey, "it is given more than once")
	}
	key := strings.Trim(values[0], " \t")
	if n := len(key); n >= 2 && key[0] == '"' && key[n-1] == '"' {
		key = key[1 : n-1]
	}
	if len(key) == 0 || len(key) > keyBytesMax {
		return "", badArgument(headerIdempotencyKey, "it has not 1 to 128 characters").met(keyBytesMax)
	}
	for i := range len(key) {
		if c := key[i]; c <= ' ' || c >= 0x7F || c == '"' {
			return "", badArgument(headerIdempotencyKey, "it is visible ASCII without quotes inside")
		}
	}
	return key, nil
}

// checkKey notes the key of the request, if it has one, and begins to note what
// it asks for. Reading the body goes on with that.
func checkKey(x *exchange, r *http.Request) *failure {
	values, ok := r.Header[headerIdempotencyKey]
	if !ok || !x.op.keyed {
		return nil
	}
	key, f := parseKey(values)
	if f != nil {
		return f
	}
	path, err := url.PathUnescape(sentPath(r))
	if err != nil {
		return badArgument("path", "it is not well-formed")
	}
	x.key = &idempotency{
		scope: digestOf(x.caller.GetPrincipal(), r.Method, path, key),
		query: canonicalQuery(r.URL.Query()),
		body:  sha256.New(),
	}
	if x.op.raw && r.Body != nil {
		r.Body = &noted{Reader: io.TeeReader(r.Body, x.key.body), Closer: r.Body}
	}
	return nil
}

// noted is a body that is digested while it is read.
type noted struct {
	io.Reader
	io.Closer
}

// digestOf is the SHA-256 of texts, each with its length before it.
func digestOf(texts ...string) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, text := range texts {
		_, _ = h.Write(sized(nil, text)) // it never fails
	}
	h.Sum(sum[:0])
	return sum
}

func sized(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// canonicalQuery is what counts of a query, in the order of the names.
func canonicalQuery(query url.Values) []byte {
	names := make([]string, 0, len(query))
	for name := range query {
		if !slices.Contains(uncounted, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b []byte
	for _, name := range names {
		for _, value := range query[name] {
			b = sized(sized(b, name), value)
		}
	}
	return b
}

// noteJSON digests what counts of a body that checkJSON has let pass: spelling
// and order do not.
func (k *idempotency) noteJSON(body []byte) {
	fields := map[string]any{}
	in := json.NewDecoder(bytes.NewReader(body))
	in.UseNumber() // 64 bits
	if len(bytes.TrimSpace(body)) > 0 && in.Decode(&fields) != nil {
		return // cannot be after checkJSON; another digest than any that is well-formed
	}
	for _, name := range uncounted {
		delete(fields, name)
	}
	_ = json.NewEncoder(k.body).Encode(plainNumbers(fields)) // maps are written in the order of their keys
}

// plainNumbers gives every number of a JSON value its one spelling: checkJSON
// leaves -0 beside 0.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			v[name] = plainNumbers(field)
		}
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case json.Number:
		n, _ := v.Int64()
		return n
	}
	return v
}

// command is what the log carries of it, once the body has been read.
func (k *idempotency) command() *commandpb.Key {
	if k == nil {
		return nil
	}
	digest := digestOf(string(k.query), string(k.body.Sum(nil)))
	return &commandpb.Key{Hash: k.scope[:], Digest: digest[:]}
}
