// Package caddymodule is Keystile as Caddy sees it: the app, the handler, the matcher, the admin routes, and the forms of
// their configuration. Beside the program itself it is the only package that knows of Caddy; it translates
// configuration, requests and life cycle, and leaves every judgement to package policy and every fact to package keystore.
//
// What holds at any moment:
//
//   - Nothing that cannot be judged passes: no store, no gate, no answer but 503 (fail closed).
//   - Store, log, throttle and counters live in a pool and outlive a config load. Each app remembers what it took and gives
//     back exactly that, once, however far its provisioning came.
//   - Provisioning alone creates, changes and locks nothing unless a config is already running in this process: that is
//     what `validate` relies on.
//   - What is asked from outside of a config (admin API, metrics) is asked of the config that runs now, never of the one
//     that a router or registry was made for: after a failed reload these differ.
//   - No token is logged, labelled, or kept in a request's variables. Only the first start prints one, to standard output.
package caddymodule
