package handlers

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"
	"sync/atomic"
)

// headerRequestID is taken from clients and proxies that send it, and returned
// on errors.
const headerRequestID = "X-Request-Id"

const requestIDMax = 64

// idPrefix tells the lives of a process apart, idCount its requests.
var (
	idPrefix = drawPrefix()
	idCount  atomic.Uint64
)

func drawPrefix() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:]) + "-"
}

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
// asks, so that requests that nobody asks about cost nothing.
func (x *exchange) requestID() string {
	if x.id == "" {
		x.id = idPrefix + strconv.FormatUint(idCount.Add(1), 36)
	}
	return x.id
}

// isTokenByte is the alphabet of session tokens: A-Z a-z 0-9 _ -
func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}
