package otlp

import (
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/keystile/keystile/requestlog"
)

const (
	scopeName = "github.com/keystile/keystile/requestlog"
	eventName = "keystile.request"
	gapName   = "keystile.gap"
	// ownPrefix stands before what the conventions have no name for.
	ownPrefix = "keystile."
)

// describe says who sends. What the operator says in OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME counts more.
func describe(o Options) *resource.Resource {
	own := []attribute.KeyValue{semconv.ServiceName("keystile")}
	if o.Node != "" {
		own = append(own, semconv.ServiceInstanceID(o.Node))
	}
	if o.Version != "" {
		own = append(own, semconv.ServiceVersion(o.Version))
	}
	mine := resource.NewWithAttributes(semconv.SchemaURL, own...)
	merged, err := resource.Merge(mine, resource.Environment())
	if err != nil {
		return mine // of another version of the conventions
	}
	return merged
}

// conventional are the columns that the semantic conventions name. Those that take more than a name are set by hand.
var conventional = map[string]attribute.Key{
	"path": semconv.URLPathKey, "query": semconv.URLQueryKey, "status": semconv.HTTPResponseStatusCodeKey,
	"client_address": semconv.ClientAddressKey, "user_agent": semconv.UserAgentOriginalKey, "tls": semconv.TLSProtocolVersionKey,
	"bytes_in": semconv.HTTPRequestBodySizeKey, "bytes_out": semconv.HTTPResponseBodySizeKey,
	"id": ownPrefix + "request_id",
	// by hand, or elsewhere in the log record
	"time": "", "method": "", "host": "", "protocol": "",
}

// column is one attribute to be.
type column struct {
	requestlog.Column
	key attribute.Key
}

var exported = func() (list []column) {
	for _, c := range requestlog.Columns() {
		key, known := conventional[c.Name]
		if !known {
			key = attribute.Key(ownPrefix + c.Name)
		}
		if key != "" {
			list = append(list, column{c, key})
		}
	}
	return list
}()

// logRecord is the record as OpenTelemetry has it.
func logRecord(r *requestlog.Record, now time.Time) (out otellog.Record) {
	out.SetTimestamp(r.Time)
	out.SetObservedTimestamp(now)
	severity, text := severityOf(r)
	out.SetSeverity(severity)
	out.SetSeverityText(text)
	attributes := make([]attribute.KeyValue, 0, 40)
	for i := range exported {
		c := &exported[i]
		value := c.Text(r)
		if value == "" {
			continue
		}
		switch c.Kind {
		case requestlog.ColumnInteger:
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				attributes = append(attributes, c.key.Int64(n))
			}
		case requestlog.ColumnBool:
			attributes = append(attributes, c.key.Bool(value == "true"))
		default:
			attributes = append(attributes, c.key.String(value))
		}
	}
	if r.IsGap() {
		out.SetEventName(gapName)
		out.SetBody(attribute.StringValue(strconv.FormatInt(r.Lost, 10) + " request records are missing"))
		out.AddAttributes(attributes...)
		return out
	}
	out.SetEventName(eventName)
	out.SetBody(attribute.StringValue(r.Method + " " + r.Path + " " + strconv.Itoa(r.Status)))
	attributes = appendMethod(attributes, r.Method)
	attributes = appendHost(attributes, r.Host)
	if name, version, ok := strings.Cut(r.Protocol, "/"); ok {
		attributes = append(attributes, semconv.NetworkProtocolName(strings.ToLower(name)), semconv.NetworkProtocolVersion(strings.TrimSuffix(version, ".0")))
	}
	scheme := "http"
	if r.TLS != "" {
		scheme = "https"
		attributes = append(attributes, semconv.TLSProtocolNameKey.String("tls"))
	}
	attributes = append(attributes, semconv.URLScheme(scheme))
	if r.Status >= 500 || r.ErrorCode != "" {
		kind := r.ErrorCode
		if kind == "" {
			kind = strconv.Itoa(r.Status)
		}
		attributes = append(attributes, semconv.ErrorTypeKey.String(kind))
	}
	out.AddAttributes(attributes...)
	return out
}

// aroundText is about what a log record takes beside its texts: names of attributes and numbers.
const aroundText = 1536

// sizeOf is about how much a record takes in a message. Path and method stand in it twice.
func sizeOf(r *requestlog.Record) int {
	n := aroundText + len(r.Path) + len(r.Method) + len(r.Host)
	for i := range exported {
		if c := &exported[i]; c.Kind == requestlog.ColumnText {
			n += len(c.Text(r))
		}
	}
	return n
}

// severityOf goes by the status, and a gap is a warning.
func severityOf(r *requestlog.Record) (otellog.Severity, string) {
	switch {
	case r.Status >= 500:
		return otellog.SeverityError, "ERROR"
	case r.Status >= 400 || r.IsGap():
		return otellog.SeverityWarn, "WARN"
	default:
		return otellog.SeverityInfo, "INFO"
	}
}

// appendMethod follows the conventions, which know a closed set of methods.
func appendMethod(attributes []attribute.KeyValue, method string) []attribute.KeyValue {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY":
		return append(attributes, semconv.HTTPRequestMethodKey.String(method))
	default:
		return append(attributes, semconv.HTTPRequestMethodOther, semconv.HTTPRequestMethodOriginal(method))
	}
}

func appendHost(attributes []attribute.KeyValue, host string) []attribute.KeyValue {
	if host == "" {
		return attributes
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return append(attributes, semconv.ServerAddress(strings.Trim(host, "[]")))
	}
	attributes = append(attributes, semconv.ServerAddress(name))
	if n, err := strconv.Atoi(port); err == nil && n > 0 && n < 1<<16 {
		attributes = append(attributes, semconv.ServerPort(n))
	}
	return attributes
}
