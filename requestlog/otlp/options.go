package otlp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.uber.org/zap"
)

// The protocols that a collector may be spoken to in.
const (
	ProtocolHTTP = "http" // protobuf over HTTP, as at port 4318
	ProtocolGRPC = "grpc" // as at port 4317
)

// Options of [New].
type Options struct {
	// Endpoint is the collector's address, as http://localhost:4318. Over HTTP, an address without a path means /v1/logs.
	Endpoint string
	// Protocol is ProtocolHTTP or ProtocolGRPC. Default ProtocolHTTP.
	Protocol string
	// Headers go with each request, for collectors that ask for credentials.
	Headers map[string]string
	// Insecure allows an endpoint that is neither https nor on this machine.
	Insecure bool

	// Node and Version name this process.
	Node, Version string

	// QueueSize is how many records may wait. Default 4096.
	QueueSize int
	// Counts is where to count, so that counts outlive an exporter. Default: counts of its own.
	Counts *Counts
	// Logger hears of failures, at a bounded rate. Default: nobody does.
	Logger *zap.Logger
}

// Validate says what is wrong with the options.
func (o *Options) Validate() error {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("the endpoint must be an address such as http://localhost:4318 or https://collector.example.com")
	}
	switch {
	case u.User != nil:
		return errors.New("the endpoint holds a user or password: credentials go into headers")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("the endpoint holds a query, which OTLP has none of")
	case o.Protocol != "" && o.Protocol != ProtocolHTTP && o.Protocol != ProtocolGRPC:
		return fmt.Errorf("protocol: %q is none of %s, %s", o.Protocol, ProtocolHTTP, ProtocolGRPC)
	case o.Protocol == ProtocolGRPC && strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("the endpoint holds the path %s, which gRPC has none of", u.Path)
	case u.Scheme == "http" && !o.Insecure && !isLocal(u.Hostname()):
		return fmt.Errorf("%s is not encrypted: write https, or say insecure", o.Endpoint)
	case o.QueueSize < 0:
		return fmt.Errorf("queue size %d must not be negative", o.QueueSize)
	}
	return nil
}

// isLocal says whether a host is this machine.
func isLocal(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

const (
	exportTimeout = 10 * time.Second // of one try
	retryFor      = 30 * time.Second // how long one batch is tried
	retryFirst    = 500 * time.Millisecond
	retryMost     = 5 * time.Second
)

// client makes what speaks to the collector. Headers are always set, also to none: else the exporter would take those of the
// process's environment, which may be meant for somebody else.
func (o *Options) client(ctx context.Context) (sdklog.Exporter, error) {
	headers := o.Headers
	if headers == nil {
		headers = map[string]string{}
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Protocol == ProtocolGRPC {
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "4317", "https": "443"}[u.Scheme])
		}
		u.Path = ""
		return otlploggrpc.New(ctx, otlploggrpc.WithEndpointURL(u.String()), otlploggrpc.WithHeaders(headers), otlploggrpc.WithTimeout(exportTimeout),
			otlploggrpc.WithRetry(otlploggrpc.RetryConfig{Enabled: true, InitialInterval: retryFirst, MaxInterval: retryMost, MaxElapsedTime: retryFor}))
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/logs"
	}
	return otlploghttp.New(ctx, otlploghttp.WithEndpointURL(u.String()), otlploghttp.WithHeaders(headers), otlploghttp.WithTimeout(exportTimeout),
		otlploghttp.WithRetry(otlploghttp.RetryConfig{Enabled: true, InitialInterval: retryFirst, MaxInterval: retryMost, MaxElapsedTime: retryFor}))
}
