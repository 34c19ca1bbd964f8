package caddymodule

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminPrefix is where the admin API stands on Caddy's admin endpoint.
const adminPrefix = "/keystile"

// adminAPI mounts Keystile's admin API on Caddy's admin endpoint, under /keystile/. Whoever reaches that endpoint is root,
// as with all of Caddy's admin API.
//
// It keeps nothing: a new router is made on every reload, before the apps, and after a failed reload the failed config's
// router stays in place. So it asks for the running config's app at each request.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.keystile",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Provision keeps the running config's counters visible if the config that this router is made for fails to load: Caddy
// then goes on with the router and the metrics registry of the failed config, which its app may never have reached.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	app, err := activeApp()
	if err != nil {
		return nil //nolint:nilerr // no app runs, so there is nothing to keep
	}
	return app.run.settings.metrics.register(ctx.GetMetricsRegistry())
}

// Routes returns the one route, whose subtree is the API's.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPrefix + "/", Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// serve passes a request on to the API of the running app. It answers its own errors in the API's shape, so that the
// command line and other clients need to know only one.
func (a *adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	app, err := activeApp()
	switch {
	case errors.Is(err, caddy.ErrNotConfigured):
		return writeAdminError(w, http.StatusNotFound, "invalid_request_error", "not_configured",
			"The running configuration has no keystile app: add the keystile directive to a site or the keystile global option.")
	case err != nil:
		return writeAdminError(w, http.StatusServiceUnavailable, "api_error", policy.ReasonGatewayUnavailable.Code(),
			"The gateway is starting.")
	}
	handler, err := app.run.admin()
	if err != nil {
		app.run.settings.logger.Error("admin API is unavailable", zap.Error(err))
		return writeAdminError(w, http.StatusServiceUnavailable, "api_error", policy.ReasonGatewayUnavailable.Code(),
			"The key store is not open.")
	}
	handler.ServeHTTP(w, r)
	return nil
}

// adminCaller is root, as whoever reaches the endpoint.
func adminCaller(r *http.Request) (*auth.Caller, error) {
	actor, err := adminActor(r)
	if err != nil {
		return nil, err
	}
	return auth.Root(actor), nil
}

// newAdmin builds the admin API of this app.
func (a *App) newAdmin() (http.Handler, error) {
	g, err := a.open()
	if err != nil {
		return nil, err
	}
	config := a.apiConfig(g)
	config.Caller, config.BasePath = adminCaller, adminPrefix
	handler, err := api.New(config)
	if err != nil {
		return nil, err
	}
	return http.StripPrefix(adminPrefix, handler), nil
}

// apiConfig is what the API gets wherever it is mounted. Who calls is for the mount to say.
func (a *App) apiConfig(g *gate) api.Config {
	config := api.Config{
		Store:       g.store,
		Log:         g.log,
		Catalog:     func() *policy.Catalog { return g.catalog },
		Rules:       a.rulesFor,
		Idempotency: a.run.store.idempotency,
		Node:        g.node,
		Now:         g.now,
		Logger:      g.logger.Named("admin"),

		PrivateWebhooks: a.privateWebhooks(),
		SiteURL:         a.adminURL,
	}
	if g.members.smtp != nil {
		config.Mail = g.mailInvitation
	}
	return config
}

// adminActor says who calls: the endpoint has no users, so everybody is the machine's administrator.
func adminActor(r *http.Request) (keystore.Actor, error) {
	actor := keystore.Actor{Kind: "local", Name: "admin endpoint"}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		actor.Address = host // a unix socket has none
	}
	return actor, nil
}

func writeAdminError(w http.ResponseWriter, status int, kind, code, message string) error {
	type body struct {
		Type      string `json:"type"`
		Code      string `json:"code"`
		Message   string `json:"message"`
		RequestID string `json:"request_id"`
	}
	id := requestlog.NewID(time.Now())
	w.Header().Set("Request-Id", id)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(map[string]body{"error": {kind, code, message, id}})
}

// Interface guards
var (
	_ caddy.Provisioner = (*adminAPI)(nil)
	_ caddy.AdminRouter = (*adminAPI)(nil)
)
