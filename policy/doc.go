// Package policy decides whether a request may pass: it knows what a token looks like, which route a path is, what a key
// may do, and in which order a request is checked. It is pure: standard library only, no clock, no I/O, no logging. The
// time and the randomness are arguments.
//
// Invariants:
//
//   - The order of checks lives in [Rules.Decide] and nowhere else.
//   - Everything fails closed: the zero [Decision] denies, the zero [Route] is unknown, an unknown [Kind], [Mode] or
//     credential state is refused.
//   - From the header to the decision nothing is allocated; a test asserts it.
//   - A [Token] cannot be printed, logged or encoded: every way of writing it gives its mask.
//   - Compiled values ([Catalog], [PathSet], [Networks], [Permissions], [Principal]) are immutable and safe for
//     concurrent use.
package policy
