package handlers

import "net/http"

// The bounds of a request. net/http has a bound of its own on headers, four
// times as high, whose answer is plain text.
const (
	headerBytesMax = 16 << 10
	uriBytesMax    = 8 << 10
	valueBytesMax  = 1 << 20
	jsonBytesMax   = 2 << 20
)

// checkSize bounds URL and headers, and the body if its length is told. A body
// of untold length is bounded while it is read.
func checkSize(_ *exchange, r *http.Request) *failure {
	if len(r.RequestURI) > uriBytesMax {
		return fail(codeURITooLong, "").met(uriBytesMax)
	}
	if size := headerBytes(r); size > headerBytesMax {
		return fail(codeHeadersTooLarge, "").met(headerBytesMax)
	}
	if values, ok := r.Header["Content-Encoding"]; ok && (len(values) != 1 || values[0] != "identity") {
		return fail(codeEncoding, "").in("Content-Encoding")
	}
	return nil
}

// headerBytes counts the header lines as HTTP/1.1 writes them.
func headerBytes(r *http.Request) int {
	const perLine = len(": \r\n")
	size := len(r.Host) + len("Host") + perLine
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v) + perLine
		}
	}
	return size
}
