package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// processLogger is a logger for what outlives a config load. Each entry goes to the logger that Caddy has at that moment:
// the one of the config that opened the store would write into closed files after a reload.
func processLogger(name string) *zap.Logger {
	return zap.New(currentCore{}).Named(name)
}

// currentCore hands each entry to the core of Caddy's current default logger.
type currentCore struct {
	fields []zapcore.Field // added by With
}

func (c currentCore) Enabled(level zapcore.Level) bool {
	return caddy.Log().Core().Enabled(level)
}

func (c currentCore) With(fields []zapcore.Field) zapcore.Core {
	return currentCore{fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

func (c currentCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c currentCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	all := append(c.fields[:len(c.fields):len(c.fields)], fields...)
	// Check once more, below: the default logger may be several cores, of which each decides for itself
	if checked := caddy.Log().Core().Check(entry, nil); checked != nil {
		checked.Write(all...)
	}
	return nil
}

func (c currentCore) Sync() error { return caddy.Log().Core().Sync() }

// Interface guards
var (
	_ zapcore.Core = currentCore{}
)
