package caddymodule

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// accessLog keeps keys in a header of the operator's choice, and verification codes, out of Caddy's own logs.
//
// Caddy copies each request for its access and error logs before any handler runs, and hides the values of a few headers
// only, among them Authorization. A key in another header would stand there in clear. So Caddy is told to skip the access
// log's entry of such a request (and of no other), and is not told of its error; the same entries are written here, to the
// same loggers, with the key hidden.
//
// Requests that never reach the handler are Caddy's alone.
type accessLog struct {
	server *caddyhttp.Server
	name   string      // of the header
	logger *zap.Logger // "http.log"
}

// newAccessLog answers nil where Caddy logs no key: without such a header, or where the operator wants credentials to be
// logged.
func newAccessLog(ctx caddy.Context, server *caddyhttp.Server, name string) *accessLog {
	if name == "" || server == nil || server.Logs != nil && server.Logs.ShouldLogCredentials {
		return nil
	}
	return &accessLog{server: server, name: name, logger: ctx.Logger(new(caddyhttp.App)).Named("log")}
}

// entry is one request's, begun before the key is taken from its headers.
type entry struct {
	log     *accessLog
	request *http.Request // a copy for the access log; nil: Caddy would write nothing there
}

// begin answers nil for a request without the header.
func (a *accessLog) begin(w http.ResponseWriter, r *http.Request) *entry {
	if a == nil || len(r.Header[a.name]) == 0 {
		return nil
	}
	e := &entry{log: a}
	if skipped, _ := caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar).(bool); !skipped && recorded(w) {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
		e.request = r.Clone(r.Context())
		e.request.Header[a.name] = []string{"REDACTED"}
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

// end writes the access log's entry, in Caddy's form.
func (e *entry) end(x *exchange, err error) {
	if e == nil || e.request == nil {
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
	for _, logger := range e.log.loggers("access", e.request) {
		if c := logger.Check(level, "handled request"); c != nil {
			c.Write(
				zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: e.request}),
				zap.Int64("bytes_read", x.bytesIn.Load()), zap.String("user_id", user),
				zap.Duration("duration", x.elapsed()), zap.Int64("size", x.response.bytes.Load()),
				zap.Int("status", status), zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: x.response.Header()}),
				zap.Object("keystile", &x.verdict),
			)
		}
	}
}

// write writes the access log's entry of a request that no exchange accounts for: one to an admin site.
func (e *entry) write(w caddyhttp.ResponseRecorder, took time.Duration) {
	if e.request == nil {
		return
	}
	status := w.Status()
	level := zapcore.InfoLevel
	if status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	for _, logger := range e.log.loggers("access", e.request) {
		if c := logger.Check(level, "handled request"); c != nil {
			c.Write(
				zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: e.request}),
				zap.Int64("bytes_read", max(0, e.request.ContentLength)), zap.String("user_id", ""),
				zap.Duration("duration", took), zap.Int("size", w.Size()),
				zap.Int("status", status), zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: w.Header()}),
			)
		}
	}
}

// settle does with an error what Caddy's server would do with it, so that nothing is left for it to log: the site's error
// routes answer, or an empty answer with the error's status is given. r no longer carries the key.
func (e *entry) settle(x *exchange, r *http.Request, err error) error {
	if e == nil || err == nil {
		return err
	}
	status := x.answered(err)
	level := zapcore.DebugLevel
	if status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	if routes := e.log.server.Errors; !x.response.wrote && routes != nil && len(routes.Routes) > 0 {
		if again := answerByRoutes(routes, &x.response, r, err); again == nil {
			level = zapcore.DebugLevel
		} else {
			e.failure(x, r, zapcore.ErrorLevel, "error handling handler error", zap.NamedError("error", again))
		}
	}
	if !x.response.wrote {
		x.response.WriteHeader(status)
	}
	fields, message := []zap.Field{zap.Int("status", status)}, err.Error()
	var he caddyhttp.HandlerError
	if errors.As(err, &he) {
		fields = append(fields, zap.String("err_id", he.ID), zap.String("err_trace", he.Trace))
		if he.Err != nil {
			message = he.Err.Error()
		}
	}
	e.failure(x, r, level, message, fields...)
	return nil
}

// failure writes an entry of the error log.
func (e *entry) failure(x *exchange, r *http.Request, level zapcore.Level, message string, fields ...zap.Field) {
	for _, logger := range e.log.loggers("error", r) {
		if c := logger.Check(level, message); c != nil {
			c.Write(append([]zap.Field{
				zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: r}), zap.Duration("duration", x.elapsed()),
			}, fields...)...)
		}
	}
}

// answerByRoutes lets the site's error routes answer, on the request line that the client sent.
func answerByRoutes(routes *caddyhttp.HTTPErrorConfig, w http.ResponseWriter, r *http.Request, err error) error {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		r.Method, r.RemoteAddr, r.RequestURI = original.Method, original.RemoteAddr, original.RequestURI
		u := *original.URL
		r.URL = &u
	}
	chain := routes.Routes.Compile(caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		status := http.StatusInternalServerError
		var he caddyhttp.HandlerError
		if errors.As(err, &he) && he.StatusCode != 0 {
			status = he.StatusCode
		}
		w.WriteHeader(status)
		return nil
	}))
	return chain.ServeHTTP(w, routes.WithError(r, err))
}

// loggers are those that Caddy would use for "access" or "error": by request, by host, or the default.
func (a *accessLog) loggers(kind string, r *http.Request) (loggers []*zap.Logger) {
	base := a.logger.Named(kind)
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
	if a.server.Logs == nil {
		return []*zap.Logger{base}
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
