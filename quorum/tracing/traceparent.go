package tracing

import "encoding/hex"

// Parts of a traceparent: version-trace-span-flags, in lower-case hexadecimal.
const (
	traceparentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2
	flagSampled    = 1
)

// parse reads the header traceparent (W3C Trace Context, 3.2). It is not given
// where it is absent, twice there or not well-formed.
func parse(values []string) (of Parent, sampled, given bool) {
	if len(values) != 1 || len(values[0]) < traceparentLen {
		return Parent{}, false, false
	}
	text := values[0]
	version, flags := [1]byte{}, [1]byte{}
	ok := decodeHex(version[:], text[0:2]) && text[2] == '-' && decodeHex(of.trace[:], text[3:35]) && text[35] == '-' &&
		decodeHex(of.span[:], text[36:52]) && text[52] == '-' && decodeHex(flags[:], text[53:55])
	rest := text[traceparentLen:]
	switch {
	case !ok || !of.Valid() || version[0] == 0xff:
		return Parent{}, false, false
	case rest != "" && (version[0] == 0 || rest[0] != '-'):
		return Parent{}, false, false // only later versions may say more
	}
	return of, flags[0]&flagSampled != 0, true
}

// decodeHex fills to; false when text has another byte than 0-9 and a-f.
func decodeHex(to []byte, text string) bool {
	for i := range len(text) {
		if text[i] >= 'A' && text[i] <= 'F' {
			return false
		}
	}
	n, err := hex.Decode(to, []byte(text))
	return err == nil && n == len(to)
}
