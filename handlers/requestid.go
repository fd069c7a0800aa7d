package handlers

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
)

// headerRequestID is taken from clients and proxies that send it, and returned
// on errors.
const headerRequestID = "X-Request-Id"

const requestIDMax = 64

// inboundID is the client's own id of the request, if it is harmless in a log.
func inboundID(r *http.Request) string {
	values := r.Header[headerRequestID]
	if len(values) != 1 || len(values[0]) > requestIDMax {
		return ""
	}
	for i := range len(values[0]) {
		if !isTokenByte(values[0][i]) && values[0][i] != '.' {
			return ""
		}
	}
	return values[0]
}

// requestID names the request in logs and problems. It is drawn when somebody
// asks, so that requests that nobody asks about cost nothing. It is random: a
// number would tell whoever is refused how often others are.
func (x *exchange) requestID() string {
	if x.id == "" {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], rand.Uint64())
		binary.BigEndian.PutUint64(b[8:], rand.Uint64())
		x.id = hex.EncodeToString(b[:])
	}
	return x.id
}

// isTokenByte is the alphabet of session tokens: A-Z a-z 0-9 _ -
func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}
