// Package boltstore keeps the key store in one bbolt file: the embedded default, for one process.
//
// What holds at any moment, also after kill -9 or a power cut:
//
//   - A commit is in the file as a whole (rows, events, head) or not at all, and is synced before Commit returns.
//   - Only one process has the file open. A second one is refused within a second.
//   - A file that is not a whole store of ours is refused by one sentence and not changed.
//
// The file holds buckets of rows by id, the events by sequence number, the last use of keys, and under "meta" the format,
// the head and small values of the store. Rows are encoded by package keystore.
package boltstore
