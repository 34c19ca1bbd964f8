package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(App{})
}

// App is the Keystile app: the keys, the request log and the catalog that the handlers of all sites share. Keys, log and
// counters outlive a config reload.
type App struct {
	// Where keys live. Default: a bolt file under Caddy's data directory.
	Store *StoreConfig `json:"store,omitempty"`

	// Where request records live. Default: an archive under Caddy's data directory.
	RequestLog *RequestLogConfig `json:"request_log,omitempty"`

	// Where the master keyset is. Default: a file under Caddy's data directory, made on first start.
	MasterKey *MasterKeyConfig `json:"master_key,omitempty"`

	// Which resource and access each route needs. Default: no route is known.
	Catalog *CatalogConfig `json:"catalog,omitempty"`

	// How the names of the identity headers start that the backend receives. Every header of a client's that folds to
	// such a name is removed. Default: Keystile-
	HeaderPrefix string `json:"header_prefix,omitempty"`

	// The header in which a client names the account to act on, as a path. Default: Stripe-Context
	ContextHeader string `json:"context_header,omitempty"`

	// The header in which a client names a connected account, the one-hop form of the context. Default: Stripe-Account
	AccountHeader string `json:"account_header,omitempty"`

	// The header with the API version. Default: Stripe-Version
	VersionHeader string `json:"version_header,omitempty"`

	// For how long a node that cannot reach its postgres store goes on accepting keys on what it knows. Then it answers 503
	// until it can: a key that was revoked meanwhile is accepted nowhere for longer. From 1s to 24h. Default: 60s
	MaxStaleness caddy.Duration `json:"max_staleness,omitempty"`

	// How many requests a second each account may make. Default: no limit, but that of accounts and keys with one of their own.
	RateLimit *RateLimitConfig `json:"rate_limit,omitempty"`

	// Which API versions are served. Default: any date, YYYY-MM-DD, with an optional `.name`.
	APIVersions *VersionsConfig `json:"api_versions,omitempty"`

	// Whether IP ranges of keys may be IPv6. Default: false.
	IPv6Ranges bool `json:"ipv6_ranges,omitempty"`

	// Where webhook deliveries may go. Default: to public addresses only.
	Webhooks *WebhooksConfig `json:"webhooks,omitempty"`

	// How members get verification codes. Default: from their authenticator apps.
	Verification *VerificationConfig `json:"verification,omitempty"`

	// The server that e-mail to members is sent by. Default: none is sent.
	SMTP *SMTPConfig `json:"smtp,omitempty"`

	// The identity provider that signs members in, beside passwords. Default: none.
	OIDC *OIDCConfig `json:"oidc,omitempty"`

	run *running // what the app does, from Provision on
}

// running is the state of one app, from its provisioning to its cleanup.
type running struct {
	ctx      caddy.Context
	settings settings
	held     holdings // what Cleanup gives back
	store    *sharedStore
	// staleness is how long a shared store may be cut off before keys are refused.
	staleness time.Duration
	log       *sharedLog
	tuning    logTuning
	sites     sites
	stdout    io.Writer                    // where the words of the first start go
	admin     func() (http.Handler, error) // on Caddy's admin endpoint
	site      func() (http.Handler, error) // at sites with keystile_admin

	gated   atomic.Pointer[gate]
	opening sync.Mutex // guards what follows, and the way from no gate to a gate
	started bool       // requests may have come
	cleaned bool       // Cleanup was called
	done    bool       // closed: no gate of its own any more
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "keystile",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks and compiles the configuration and takes what is shared from the pool. On the first load of a process
// it opens nothing: Caddy gives no sign whether the config is to be run or only to be validated, and validation must
// create and lock nothing. In a process that already runs a config nobody validates, so there the store is opened at once,
// and a reload that cannot open it fails before any app of the new config is started.
func (a *App) Provision(ctx caddy.Context) error {
	a.run = &running{ctx: ctx, stdout: os.Stdout}
	a.run.admin = sync.OnceValues(a.newAdmin)
	a.run.site = sync.OnceValues(a.newSiteAdmin)

	repl := caddy.NewReplacer()
	config, err := a.resolve(repl)
	if err != nil {
		return err
	}
	a.run.settings = settings{headers: config.headers, logger: ctx.Logger(), now: time.Now}
	a.warnOfPasswords(a.run.settings.logger)
	if a.run.settings.catalog, err = a.Catalog.compile(repl); err != nil {
		return err
	}
	if a.run.settings.version, err = a.APIVersions.compile(); err != nil {
		return err
	}

	if a.run.settings.members, err = a.resolveMembers(&a.run.settings); err != nil {
		return err
	}

	if err := a.take(config); err != nil {
		return err
	}
	if err := a.run.settings.metrics.register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	if runningConfig() {
		_, err := a.open()
		return err
	}
	return a.run.store.probe()
}

// take takes from the pool all that the config shares with others.
func (a *App) take(config resolved) (err error) {
	if a.run.settings.metrics, err = take(&a.run.held, poolKey{kind: "metrics"}, newMetrics); err != nil {
		return err
	}
	if a.run.settings.throttle, err = take(&a.run.held, poolKey{kind: "throttle"}, newThrottle); err != nil {
		return err
	}
	if a.run.settings.resets, err = take(&a.run.held, poolKey{kind: "resets"}, newResets); err != nil {
		return err
	}
	if a.run.settings.limiter, err = take(&a.run.held, poolKey{kind: "rate limits"}, newLimiter); err != nil {
		return err
	}
	if a.run.settings.lockout, err = take(&a.run.held, poolKey{kind: "lockout"}, newLockout); err != nil {
		return err
	}
	master := masterSource{file: config.masterFile, env: config.masterEnv, kms: config.masterKMS}
	if a.run.store, err = takeStore(&a.run.held, config.store, master); err != nil {
		return err
	}
	a.run.tuning = config.log
	a.run.settings.node, a.run.staleness = a.run.store.node, config.staleness
	a.run.settings.rates = config.rates
	a.run.log, err = takeLog(&a.run.held, config.requests)
	return err
}

// Start opens what is not open yet and hands this config's tunables to it. On the first start of a new store it makes the
// demo account and prints how to try it.
func (a *App) Start() error {
	g, err := a.open()
	if err != nil {
		return err
	}
	if err := a.prepareSigning(g); err != nil {
		return err
	}
	a.run.opening.Lock()
	a.run.started = true
	a.run.opening.Unlock()
	a.tune(g)
	return a.welcome(g)
}

// Stop does nothing: requests may still be on their way while apps stop. What the app holds is given back in Cleanup.
func (a *App) Stop() error { return nil }

// Cleanup gives back what Provision took, however far it came. On a reload Caddy does not wait for the requests of the old
// servers, so an app that has served anything goes on for a while; a process that exits has waited for them.
func (a *App) Cleanup() error {
	a.run.opening.Lock()
	again := a.run.cleaned
	a.run.cleaned = true
	served := a.run.started && !caddy.Exiting()
	a.run.opening.Unlock()
	if again {
		return nil
	}
	// A config that failed to start may have tuned a store that it shares with the running one
	if other, err := activeApp(); err == nil && other != a {
		if g := other.run.gated.Load(); g != nil {
			other.tune(g)
		}
	}
	if served {
		linger(a)
		return nil
	}
	return a.close()
}

// close ends the use of store and log by this app's handlers.
func (a *App) close() error {
	a.run.opening.Lock()
	defer a.run.opening.Unlock()
	a.run.done = true
	a.run.gated.Store(nil)
	return a.run.held.release()
}

// open opens store and log, or finds them open, and makes the gate of this config.
func (a *App) open() (*gate, error) {
	a.run.opening.Lock()
	defer a.run.opening.Unlock()
	if a.run.done {
		return nil, errClosed
	}
	if g := a.run.gated.Load(); g != nil {
		return g, nil
	}
	store, err := a.run.store.open()
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	log, err := a.run.log.open(a.run.tuning)
	if err != nil {
		return nil, fmt.Errorf("request_log: %w", err)
	}
	a.run.log.usage.store.CompareAndSwap(nil, store)
	if err := store.StartScheduler(a.run.settings.node); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := a.run.store.startWebhooks(a.run.settings.node, a.privateWebhooks()); err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	g := &gate{settings: a.run.settings, store: store, log: log}
	a.run.gated.Store(g)
	return g, nil
}

// tune hands to the shared store and log what only one config at a time can say.
func (a *App) tune(g *gate) {
	g.store.SetResources(g.catalog.Has)
	g.store.SetIPv6Ranges(a.IPv6Ranges)
	g.store.SetMaxStaleness(a.run.staleness)
	a.run.store.tuneWebhooks(a.privateWebhooks())
	a.run.log.usage.store.Store(g.store)
	a.run.log.tune(a.run.tuning, a.run.settings.node)
}

// gate answers what a handler needs to judge a request. It opens the store on first use, so that a request which comes
// before Start (Caddy starts its apps in random order) waits instead of failing. It is nil if the store cannot be opened
// or is closed: the caller answers gateway_unavailable (fail closed). The cost is one atomic load.
func (a *App) gate() *gate {
	if g := a.run.gated.Load(); g != nil {
		return g
	}
	g, err := a.open()
	if err != nil {
		// Start reports the error; a line for each request that waited for it would only bury it
		return a.lateGate()
	}
	return g
}

// lateGate is for a request that an old config's server took long after a reload, because its headers were slow to come.
// It is judged by the rules of its config on the store and log of the running one, if these are the same that its config
// had, else by nobody.
func (a *App) lateGate() *gate {
	other, err := activeApp()
	if err != nil || other.run.store != a.run.store || other.run.log != a.run.log {
		return nil
	}
	g := other.run.gated.Load()
	if g == nil {
		return nil
	}
	return &gate{settings: a.run.settings, store: g.store, log: g.log}
}

// retain keeps store and log open until release is called, for an exchange that outlives its config: Caddy does not wait
// for connections that have left HTTP before it cleans a config up, and their record is written when they end. It answers
// nil if the app has been cleaned up already. Release may be called once.
func (a *App) retain() (release func()) {
	a.run.opening.Lock()
	defer a.run.opening.Unlock()
	if a.run.done {
		return nil
	}
	held, err := a.run.held.share()
	if err != nil {
		return nil
	}
	return func() { logClosing(held.release()) }
}

// config answers what is known without the store. It may be called as soon as the app is provisioned.
func (a *App) config() *settings { return &a.run.settings }

// runningConfig says whether this process runs a config already, so that what is provisioned now is a reload.
func runningConfig() bool { return caddy.ActiveContext().Context != nil }

// activeApp is the app of the config that runs now. It is asked for at each use by what may live in another config than
// the running one: after a failed reload Caddy keeps the admin router and the metrics registry of the failed config.
func activeApp() (*App, error) {
	ctx := caddy.ActiveContext()
	if ctx.Context == nil {
		return nil, errStarting
	}
	value, err := ctx.AppIfConfigured("keystile")
	if err != nil {
		return nil, err
	}
	return value.(*App), nil
}

// errStarting is the answer while the first config is being loaded.
var errStarting = errors.New("the gateway is starting")

// nodeName names this process in request records.
func nodeName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "local"
	}
	return name
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
