// Package keystore knows who holds which key: organizations, accounts, sandboxes, keys, and the audit trail of their
// changes. It has no HTTP and no Caddy in it.
//
// What holds at any moment:
//
//   - Disk leads memory. A change is durable in the backend, together with its audit events, before any reader of this
//     process can see it, and before the call that asked for it returns.
//   - No event, no change. Both are in one transaction of the backend.
//   - When a call that takes rights away returns, no [Store.Lookup] that starts later sees the old rights. The cache in
//     front of the index may forget, and is never the reason why a request passes.
//   - Objects that come out of the store are constants. Copy, then change.
//   - Secret tokens are at rest only as SHA-256, and, where they can be revealed later, sealed under the master keyset.
//   - A key stands in the base, where a million of them cost little, or in memdb if it has changed since the base was built;
//     memdb's version counts. A snapshot holds both, of one moment.
//   - Reading never waits for a writer: look-ups, lists and the directory take no lock that a writer can hold.
//
// The clock and the randomness come in through [Options].
package keystore
