package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"perch/quorum/tracing"
)

// otlpHeaders is the variable of the OpenTelemetry specification for what a
// collector wants to see, such as a token: name=value,name=value.
const otlpHeaders = "OTEL_EXPORTER_OTLP_HEADERS"

// traceConfig is where traces go.
type traceConfig struct {
	Endpoint string
	Ratio    float64
}

func (c *traceConfig) declare(f *pflag.FlagSet) {
	f.StringVar(&c.Endpoint, "otlp-endpoint", "", "URL of an OpenTelemetry collector (OTLP over HTTP) that gets traces: http://127.0.0.1:4318 (none: nothing is traced)")
	f.Float64Var(&c.Ratio, "trace-ratio", 0.01, "share of the requests without traceparent that are traced, 0 to 1")
}

func (c *traceConfig) validate() (faults []error) {
	o := tracing.Options{Endpoint: c.Endpoint, Ratio: c.Ratio}
	if c.Endpoint == "" {
		o.Endpoint = "http://none" // the ratio must be one all the same
	}
	if err := o.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("--otlp-endpoint, --trace-ratio: %w", err))
	}
	return faults
}

// traceWithin is how long a stop waits for the collector to take the last traces.
const traceWithin = 50 * time.Millisecond

// trace has requests of e traced, if c says so; close hands over the last ones.
func (e *httpEdge) trace(c traceConfig, cluster, instance string, env map[string]string) (err error) {
	e.options.Tracer, err = c.start(cluster, instance, env, e.registry, e.log)
	return err
}

// start returns nil when nothing is to be traced. The caller closes what it gets.
func (c *traceConfig) start(cluster, instance string, env map[string]string, reg prometheus.Registerer, log *slog.Logger) (*tracing.Tracer, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	headers, err := parseHeaders(env[otlpHeaders])
	if err != nil {
		return nil, err
	}
	return tracing.New(tracing.Options{
		Endpoint: c.Endpoint, Headers: headers, Ratio: c.Ratio, Version: version(), Cluster: cluster, Instance: instance,
		Registerer: reg, Log: log,
	})
}

func parseHeaders(text string) (map[string]string, error) {
	headers := make(map[string]string)
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, value, ok := strings.Cut(item, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil {
			return nil, fmt.Errorf("%s: must be name=value,name=value with escapes as in URLs", otlpHeaders)
		}
		headers[name] = value
	}
	return headers, nil
}
