// Package pglog keeps request records in PostgreSQL: for fleets, where every node finds the records of all.
//
// # The way of one record
//
// [Store.Write] appends it to a journal on the node's own disk (requestlog.Journal), from where the shipper (ship.go) brings it to
// the database within some tenths of a second: read back in batches, written by COPY, each batch in one transaction. A file of the
// journal is deleted when all of it is in the database. So the journal is what takes the pressure: while the database is slow or away it
// grows, up to MaxSize; then Write refuses records, as on a full disk, and the log counts what it drops and leaves gap records.
//
// # Each record once
//
// A record's id is the primary key. When it is not known what became of a batch (the answer to COMMIT was lost, the process was
// killed), it is asked which of its ids are there, and only the others are written. Nothing else needs to be remembered.
//
// # One order
//
// A batch takes its number from one row that it writes as the last thing before its commit. Who follows the numbers misses
// nothing and sees the same order on every node: tails do (feed.go). There is no number that is given out before a commit.
//
// # Days
//
// Records lie in a partition for each day, by the time in their ids, made by whoever needs it first (days.go). Retention drops
// whole days, by age, and by size the oldest first; the newest day stays. Queries pass over days that they do not reach, go through the
// others newest first in stretches of bounded work, and run in read-only transactions with a time limit. Histograms without a
// filter are answered from counts per minute that each batch adds to.
//
// It is plain SQL without advisory locks, session state or prepared statements, so that it works through a pooler that gives
// each transaction another connection.
package pglog
