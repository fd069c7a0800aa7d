package handlers

import (
	"log/slog"
	"net/http"
	"time"
)

// The bounds of connections. ReadTimeout stays 0: bodies have a deadline of
// their own, by size. WriteTimeout is longer than any wait; a stream moves its
// deadline with every write.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	writeTimeoutSpare = time.Minute
	netHeaderBytesMax = 64 << 10 // refused by net/http in plain text; 16 KiB are refused by a gate
	streamsMax        = 250
)

// NewServer makes the server of h: HTTP/1.1, h2c by prior knowledge, and HTTP/2
// over TLS where the listener has it. Shutdown drains h first.
func NewServer(h *Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{
		Handler:           h,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsMax},
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      h.edge.waitMax + writeTimeoutSpare,
		MaxHeaderBytes:    netHeaderBytesMax,
		ErrorLog:          slog.NewLogLogger(h.edge.log.Handler(), slog.LevelDebug),
	}
	s.RegisterOnShutdown(h.Drain)
	return s
}
