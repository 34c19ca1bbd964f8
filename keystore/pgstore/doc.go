// Package pgstore keeps the key store in PostgreSQL: for fleets, where several gateways share one store.
//
// What holds at any moment:
//
//   - A commit is in the database as a whole (rows, events, head) or not at all. The head stands in one row that every
//     commit reads and writes in its serialisable transaction: its revision is the order of the commits, and nothing else
//     is. There is no number that is given out before the commit that it stands for.
//   - Whoever follows the changes sees all rows above a revision together with the head that they lead to, by one
//     statement: no gap, and nothing out of order.
//   - NOTIFY makes it fast and LISTEN may lose it. The head is looked at every quarter of a second in any case.
//
// It is plain SQL without advisory locks, session state or prepared statements, so that it works through a pooler that
// gives each transaction another connection, and on engines that speak PostgreSQL's language. On a server that takes no
// writes (a hot standby) it loads and follows, and every write fails.
package pgstore
