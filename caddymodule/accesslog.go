package caddymodule

import (
	"net"
	"net/http"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// accessLog writes Caddy's access log entry of a request that carries its key in a header of the operator's choice.
//
// Caddy copies each request for its logs before any handler runs, and hides the values of a few headers only, among them
// Authorization. A key in another header would stand there in clear. So Caddy is told to skip the entry of such a request
// (and of no other), and the same entry is written here, to the same loggers, with the key hidden.
type accessLog struct {
	server *caddyhttp.Server
	name   string      // of the header
	logger *zap.Logger // "http.log"
}

// newAccessLog answers nil where Caddy logs no key: without such a header, without logs, or where the operator wants
// credentials to be logged.
func newAccessLog(ctx caddy.Context, server *caddyhttp.Server, name string) *accessLog {
	if name == "" || server == nil || server.Logs == nil || server.Logs.ShouldLogCredentials {
		return nil
	}
	return &accessLog{server: server, name: name, logger: ctx.Logger(new(caddyhttp.App)).Named("log")}
}

// entry is one request's, begun before the key is taken from its headers.
type entry struct {
	log     *accessLog
	request *http.Request // a copy
	write   bool          // Caddy would have written it
}

// begin answers nil for a request without the header.
func (a *accessLog) begin(w http.ResponseWriter, r *http.Request) *entry {
	if a == nil || len(r.Header[a.name]) == 0 {
		return nil
	}
	e := &entry{log: a, request: r.Clone(r.Context())}
	e.request.Header[a.name] = []string{"REDACTED"}
	skipped, _ := caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar).(bool)
	if e.write = !skipped && recorded(w); e.write {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	}
	return e
}

// recorded says whether Caddy is about to log the request: then its recorder is around the writer.
func recorded(w http.ResponseWriter) bool {
	for {
		if _, ok := w.(caddyhttp.ResponseRecorder); ok {
			return true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = wrapper.Unwrap()
	}
}

// end writes the entry, in Caddy's form.
func (e *entry) end(x *exchange, err error) {
	if e == nil || !e.write {
		return
	}
	status := x.answered(err)
	level := zapcore.InfoLevel
	if status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	user := ""
	if key := x.verdict.key; key != nil {
		user = key.ID
	}
	for _, logger := range e.log.loggers(e.request) {
		if c := logger.Check(level, "handled request"); c != nil {
			c.Write(
				zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: e.request}),
				zap.Int64("bytes_read", x.bytesIn.Load()), zap.String("user_id", user),
				zap.Duration("duration", x.gate.now().Sub(x.start)), zap.Int64("size", x.response.bytes.Load()),
				zap.Int("status", status), zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: x.response.Header()}),
				zap.Object("keystile", &x.verdict),
			)
		}
	}
}

// settle keeps Caddy from logging the error of such a request together with its headers, where the site has no error
// routes that need to see it: the answer is what Caddy would give, an empty one with the error's status.
func (e *entry) settle(x *exchange, err error) error {
	if e == nil || err == nil || x.response.wrote {
		return err
	}
	if errors := e.log.server.Errors; errors != nil && len(errors.Routes) > 0 {
		return err
	}
	status := x.answered(err)
	level := zapcore.DebugLevel
	if status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	if c := e.log.logger.Named("error").Check(level, err.Error()); c != nil {
		c.Write(zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: e.request}), zap.Int("status", status))
	}
	x.response.WriteHeader(status)
	return nil
}

// loggers are those that Caddy would use: by request, by host, or the default.
func (a *accessLog) loggers(r *http.Request) (loggers []*zap.Logger) {
	base := a.logger.Named("access")
	named := func(name string) {
		if name == "" {
			loggers = append(loggers, base)
			return
		}
		loggers = append(loggers, base.Named(name))
	}
	if names, ok := caddyhttp.GetVar(r.Context(), caddyhttp.AccessLoggerNameVarKey).([]any); ok {
		for _, name := range names {
			text, _ := name.(string)
			named(text)
		}
		return loggers
	}
	for _, name := range a.hostLoggers(r.Host) {
		named(name)
	}
	return loggers
}

// hostLoggers are the names of a host's loggers: by its whole name, by a wildcard, or the default.
func (a *accessLog) hostLoggers(hostport string) []string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.ToLower(host)
	if names, ok := a.server.Logs.LoggerNames[host]; ok {
		return names
	}
	labels := strings.Split(host, ".")
	for i := range labels {
		if labels[i] == "" {
			continue
		}
		labels[i] = "*"
		if names, ok := a.server.Logs.LoggerNames[strings.Join(labels, ".")]; ok {
			return names
		}
	}
	return []string{a.server.Logs.DefaultLoggerName}
}
