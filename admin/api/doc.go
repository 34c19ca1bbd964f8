// Package api is Keystile's admin API: JSON over plain net/http, with the OpenAPI 3.1 document generated from the very
// code that serves it.
//
// The handler that New returns serves /v1/… and the set of public keys; whoever mounts it strips a prefix, authenticates
// the caller and says who it is (Config.Actor). The package knows nothing of Caddy, of sessions or of admin tokens.
//
// Invariants:
//
//   - Every answer, also an error, a panic or an unknown path, is JSON of one shape with a Request-Id and
//     Cache-Control: no-store. Only the documentation page and the event stream have another content type, and only the
//     set of public keys may be cached and is served to whoever asks.
//   - What the caller did not mean is refused, never ignored: unknown fields, unknown query parameters, repeated
//     parameters, duplicate JSON keys, trailing data. A typo must not weaken a key's limits.
//   - A secret token leaves in exactly four answers: create, rotate, reveal, duplicate. Publishable tokens are public.
//     No error text repeats a value that the caller sent in a field that may hold a token.
//   - One registration (see handle) makes both the route and its part of the document, and the schema in the document is
//     the one that requests are validated against.
package api
