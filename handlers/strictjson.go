package handlers

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonKind is the type of a JSON value that an operation expects.
type jsonKind uint8

const (
	jsonInteger jsonKind = iota + 1
	jsonString
	jsonBoolean
	jsonObject
	jsonArray
	jsonBytes // a string of base64
	jsonTime  // a string of RFC 3339
	jsonInt32 // an integer of 32 bits
)

// jsonShape is what a JSON body may look like: which fields, of which types.
// null is no value of any field.
type jsonShape struct {
	kind   jsonKind
	fields map[string]*jsonShape // of an object
	items  *jsonShape            // of an array
	must   []string              // of an object, what it cannot do without
	needed bool                  // a body of this shape cannot be left out; its absence is an empty object
	wholly bool                  // of one that is needed: an empty object would pass, its absence is a fault
}

const jsonDepthMax = 32

// checkJSON reads body token by token and refuses everything that
// encoding/json would pass over or repair: unknown, duplicate and case-twin
// fields, lone surrogates, bytes that are not UTF-8, text after the value,
// fractions for integers, null. An empty body is no fault: bodies are optional.
// What it accepts encoding/json decodes without loss.
func checkJSON(body []byte, shape *jsonShape) *failure {
	p := &jsonChecker{rest: body}
	p.space()
	if len(p.rest) == 0 {
		return nil
	}
	if f := p.value(shape, 0); f != nil {
		return f
	}
	p.space()
	if len(p.rest) != 0 {
		return fail(codeInvalidJSON, "there is text after the value")
	}
	return p.lack
}

// jsonChecker walks a JSON text. pointer names the value that is being read
// (RFC 6901).
type jsonChecker struct {
	rest    []byte
	pointer []byte
	lack    *failure // the first field that is missing
}

func (p *jsonChecker) fault(detail string) *failure {
	return fail(codeInvalidJSON, detail).in(string(p.pointer))
}

func (p *jsonChecker) space() {
	p.rest = bytes.TrimLeft(p.rest, " \t\r\n")
}

// eat takes c if it is next.
func (p *jsonChecker) eat(c byte) bool {
	if len(p.rest) > 0 && p.rest[0] == c {
		p.rest = p.rest[1:]
		return true
	}
	return false
}

func (p *jsonChecker) value(shape *jsonShape, depth int) *failure {
	if len(p.rest) == 0 {
		return p.fault("the text ends early")
	}
	switch c := p.rest[0]; {
	case c == '{' && shape.kind == jsonObject:
		return p.object(shape, depth+1)
	case c == '[' && shape.kind == jsonArray:
		return p.array(shape, depth+1)
	case c == '"' && (shape.kind == jsonString || shape.kind == jsonBytes || shape.kind == jsonTime):
		return p.text(shape.kind)
	case (c == '-' || c >= '0' && c <= '9') && (shape.kind == jsonInteger || shape.kind == jsonInt32):
		return p.integer(shape.kind)
	case (c == 't' || c == 'f') && shape.kind == jsonBoolean:
		return p.boolean()
	}
	return p.fault("the value does not have the type of this place")
}

func (p *jsonChecker) object(shape *jsonShape, depth int) *failure {
	if depth > jsonDepthMax {
		return p.fault("the nesting is too deep")
	}
	p.rest = p.rest[1:]
	p.space()
	seen := make(map[string]bool, len(shape.fields))
	if p.eat('}') {
		p.missing(shape, seen)
		return nil
	}
	for {
		if f := p.member(shape, seen, depth); f != nil {
			return f
		}
		p.space()
		if p.eat('}') {
			p.missing(shape, seen)
			return nil
		}
		if !p.eat(',') {
			return p.fault("a comma or the end of the object is missing")
		}
		p.space()
	}
}

// missing notes a field that an object must have and has not. A fault of form
// comes before that.
func (p *jsonChecker) missing(shape *jsonShape, seen map[string]bool) {
	for _, name := range shape.must {
		if !seen[name] && p.lack == nil {
			p.lack = badArgument(string(appendPointer(p.pointer, name)), "it is missing")
		}
	}
}

func (p *jsonChecker) member(shape *jsonShape, seen map[string]bool, depth int) *failure {
	if len(p.rest) == 0 || p.rest[0] != '"' {
		return p.fault("the name of a field is missing")
	}
	name, f := p.string()
	if f != nil {
		return f
	}
	outer := len(p.pointer)
	p.pointer = appendPointer(p.pointer, name)
	inner, known := shape.fields[name]
	switch {
	case !known:
		return p.fault("the operation does not have this field")
	case seen[name]:
		return p.fault("the field is given more than once")
	}
	seen[name] = true
	p.space()
	if !p.eat(':') {
		return p.fault("a colon is missing")
	}
	p.space()
	if f := p.value(inner, depth); f != nil {
		return f
	}
	p.pointer = p.pointer[:outer]
	return nil
}

func (p *jsonChecker) array(shape *jsonShape, depth int) *failure {
	if depth > jsonDepthMax {
		return p.fault("the nesting is too deep")
	}
	p.rest = p.rest[1:]
	p.space()
	if p.eat(']') {
		return nil
	}
	outer := len(p.pointer)
	for i := 0; ; i++ {
		p.pointer = appendPointer(p.pointer[:outer], strconv.Itoa(i))
		if f := p.value(shape.items, depth); f != nil {
			return f
		}
		p.pointer = p.pointer[:outer]
		p.space()
		if p.eat(']') {
			return nil
		}
		if !p.eat(',') {
			return p.fault("a comma or the end of the array is missing")
		}
		p.space()
	}
}

// text takes a string, in which encoding/json may look for more than text.
func (p *jsonChecker) text(kind jsonKind) *failure {
	text, f := p.string()
	if f != nil {
		return f
	}
	switch kind {
	case jsonBytes:
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			return p.fault("the string is not base64")
		}
	case jsonTime:
		if err := new(time.Time).UnmarshalText([]byte(text)); err != nil {
			return p.fault("the string is not a time of RFC 3339")
		}
	}
	return nil
}

func (p *jsonChecker) boolean() *failure {
	for _, word := range []string{"true", "false"} {
		if bytes.HasPrefix(p.rest, []byte(word)) {
			p.rest = p.rest[len(word):]
			return p.boundary()
		}
	}
	return p.fault("the value does not have the type of this place")
}

// integer takes -?(0|[1-9][0-9]*) that fits in its bits. 1.0 and 1e3 are
// integers to JSON Schema, but not to the code that decodes them here.
func (p *jsonChecker) integer(kind jsonKind) *failure {
	n := 0
	if p.rest[0] == '-' {
		n++
	}
	digits := n
	for n < len(p.rest) && p.rest[n] >= '0' && p.rest[n] <= '9' {
		n++
	}
	number := p.rest[:n]
	if n == digits || n > digits+1 && p.rest[digits] == '0' {
		return p.fault("the number is not well-formed")
	}
	p.rest = p.rest[n:]
	if f := p.boundary(); f != nil {
		return f
	}
	bits := 64
	if kind == jsonInt32 {
		bits = 32
	}
	if _, err := strconv.ParseInt(string(number), 10, bits); err != nil {
		return badArgument(string(p.pointer), "the number is out of range")
	}
	return nil
}

// boundary refuses text that clings to a literal.
func (p *jsonChecker) boundary() *failure {
	if len(p.rest) == 0 {
		return nil
	}
	switch p.rest[0] {
	case ' ', '\t', '\r', '\n', ',', '}', ']':
		return nil
	}
	return p.fault("the value does not have the type of this place")
}

// string takes a string and returns what it means.
func (p *jsonChecker) string() (string, *failure) {
	p.rest = p.rest[1:]
	var b []byte
	for {
		if len(p.rest) == 0 {
			return "", p.fault("the text ends early")
		}
		switch c := p.rest[0]; {
		case c == '"':
			p.rest = p.rest[1:]
			return string(b), nil
		case c < 0x20:
			return "", p.fault("a control character stands in a string")
		case c == '\\':
			r, f := p.escape()
			if f != nil {
				return "", f
			}
			b = utf8.AppendRune(b, r)
		default:
			r, size := utf8.DecodeRune(p.rest)
			if r == utf8.RuneError && size <= 1 {
				return "", p.fault("a string is not UTF-8")
			}
			b = append(b, p.rest[:size]...)
			p.rest = p.rest[size:]
		}
	}
}

var jsonEscapes = map[byte]rune{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func (p *jsonChecker) escape() (rune, *failure) {
	if len(p.rest) < 2 {
		return 0, p.fault("the text ends early")
	}
	if p.rest[1] == 'u' {
		return p.unicode()
	}
	r, ok := jsonEscapes[p.rest[1]]
	if !ok {
		return 0, p.fault("an escape is not well-formed")
	}
	p.rest = p.rest[2:]
	return r, nil
}

func (p *jsonChecker) unicode() (rune, *failure) {
	r, ok := p.hex()
	if !ok {
		return 0, p.fault("an escape is not well-formed")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	low, ok := p.hex()
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, p.fault("a surrogate stands alone")
	}
	return r, nil
}

// hex takes \uXXXX.
func (p *jsonChecker) hex() (rune, bool) {
	const size = len(`\uXXXX`)
	if len(p.rest) < size || p.rest[0] != '\\' || p.rest[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(p.rest[2:size]), 16, 32)
	if err != nil || p.rest[2] == '+' {
		return 0, false
	}
	p.rest = p.rest[size:]
	return rune(n), true
}

// appendPointer adds a step to a JSON pointer (RFC 6901, section 3).
func appendPointer(pointer []byte, name string) []byte {
	if len(name) > 64 {
		name = name[:64]
	}
	pointer = append(pointer, '/')
	for _, r := range name {
		switch r {
		case '~':
			pointer = append(pointer, "~0"...)
		case '/':
			pointer = append(pointer, "~1"...)
		default:
			pointer = utf8.AppendRune(pointer, r)
		}
	}
	return pointer
}
