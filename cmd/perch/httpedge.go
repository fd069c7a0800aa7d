package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"perch/handlers"
	"perch/lease"
)

// httpEdge is what answers clients, of a node or of a gateway.
type httpEdge struct {
	log      *slog.Logger
	registry *prometheus.Registry
	options  handlers.Options
	handler  *handlers.Handler // set by serveFrom, like http
	http     *http.Server
	listener net.Listener
}

// open takes the address of c and opens what c names. Nobody is answered yet.
func (c *edgeConfig) open(log *slog.Logger) (*httpEdge, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	e := &httpEdge{log: log, registry: registry, options: handlers.Options{Log: log, Registry: registry, Version: version()}}
	config, err := c.tls(log)
	if err != nil {
		return nil, err
	}
	if err := c.apply(&e.options); err != nil {
		return nil, err
	}
	if e.listener, err = net.Listen("tcp", c.HTTP); err != nil {
		e.close()
		return nil, fmt.Errorf("--http %s: %w", c.HTTP, err)
	}
	e.http = &http.Server{TLSConfig: config}
	return e, nil
}

// serveFrom sets who knows the answers.
func (e *httpEdge) serveFrom(service lease.Service) (err error) {
	e.options.Service = service
	if e.handler, err = handlers.New(e.options); err != nil {
		return err
	}
	config := e.http.TLSConfig
	e.http = handlers.NewServer(e.handler)
	e.http.TLSConfig = config
	return nil
}

// url is where clients find it.
func (e *httpEdge) url() string {
	scheme := "http://"
	if e.http.TLSConfig != nil {
		scheme = "https://"
	}
	return scheme + e.listener.Addr().String()
}

// announceInsecure says loudly, and in a metric, that c lets everybody in.
func (e *httpEdge) announceInsecure(c edgeConfig) {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "perch_insecure", Help: "1 when --insecure lets others in without TLS or authentication.",
	})
	e.registry.MustRegister(gauge)
	if !c.Insecure {
		return
	}
	if c.Insecure = false; c.validateHTTP() != nil {
		gauge.Set(1)
		e.log.Warn("--insecure: whoever reaches this address may read along, or read and write everything", "http", e.listener.Addr().String())
	}
}

// serve answers until the server is closed.
func (e *httpEdge) serve() error {
	if e.http.TLSConfig != nil {
		return e.http.ServeTLS(e.listener, "", "") // the configuration has the certificate
	}
	return e.http.Serve(e.listener)
}

// shut answers what is parked, waits for what is under way, and closes at the end
// of ctx what is still open.
func (e *httpEdge) shut(ctx context.Context) {
	e.handler.Drain()
	if e.http.Shutdown(ctx) != nil {
		_ = e.http.Close()
	}
}

// close releases what open has taken.
func (e *httpEdge) close() {
	if e.listener != nil {
		_ = e.listener.Close()
	}
	if e.options.Audit != nil {
		_ = e.options.Audit.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), traceWithin)
	defer cancel()
	e.options.Tracer.Close(ctx)
}
