// Package requestlog keeps one record of every request that reached the gateway, and finds it again.
//
// # The way of one record
//
// The request path takes a [Record] from [Log.NewRecord], fills it, and gives it to [Log.Append]: a bounded lock-free queue,
// never a wait. One writer goroutine gathers what came within the flush interval, cleans it (control characters, lengths,
// anything that looks like a token), hands it in batches to the [Store], and then tells the observers and the tails.
//
// # Invariants
//
//   - Append never blocks, whatever the disk does.
//   - The accounting is exact: Appended = Stored + Dropped + Queued, at any time, and Queued is 0 after Close.
//   - Whatever was dropped leaves a gap record as soon as the store takes records again: how many, from when to when.
//   - A batch that the store refuses is kept and tried again; meanwhile the queue fills, [Log.Ready] turns false, and only
//     then are records dropped. Those that anybody may cause go before: they have a part of the queue, [Log.AppendForAnyone]
//     and [Log.AppendMinor], and leave the rest to those who have a key.
//   - No text reaches a store, an observer or a tail before it was cleaned.
//   - Records are ordered by id, and ids by the time at which the request began. A long request is stored late and still
//     listed where it began.
//
// # The store
//
// [Journal] keeps the newest records: JSON Lines written with zap, in the page cache within the flush interval (so that a
// killed process loses at most that), on the disk within a second. Alone it is a store for small logs; package archive, the
// embedded store, makes Parquet files of what it seals. Other stores stand behind the same [Store] interface and pass the suite
// in requestlogtest.
package requestlog
