// Package api is Keystile's admin API: JSON over plain net/http, with the OpenAPI 3.1 document generated from the very
// code that serves it.
//
// The handler that New returns serves /v1/… and the set of public keys; whoever mounts it strips a prefix, authenticates the caller and says who it
// is (Config.Caller). What a caller may do is package auth's table, asked for each call (scope.go). The package knows
// nothing of Caddy, and of credentials only what it manages.
//
// Invariants:
//
//   - Every answer, also an error, a panic or an unknown path, is JSON of one shape with a Request-Id and
//     Cache-Control: no-store. Only the documentation page and the event stream have another content type, and only the
//     set of public keys may be cached and is served to whoever asks.
//   - What the caller did not mean is refused, never ignored: unknown fields, unknown query parameters, repeated
//     parameters, duplicate JSON keys, trailing data. A typo must not weaken a key's limits.
//   - A secret token leaves in exactly four answers: create, rotate, reveal, duplicate; an admin token in that of its
//     create. Publishable tokens are public, and a viewer sees not even those.
//   - What a caller's limit does not cover is answered as what does not exist.
//     No error text repeats a value that the caller sent in a field that may hold a token.
//   - One registration (see handle) makes both the route and its part of the document, and the schema in the document is
//     the one that requests are validated against.
package api
