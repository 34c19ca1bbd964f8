// Package auth says who calls the admin API, and what they may do.
//
// What holds:
//
//   - Fail closed. A call without an entry in the table (table.go) is refused, an unknown role may do nothing, and of a
//     credential that cannot be read nothing is guessed.
//   - What a caller's limit does not cover does not exist for them: it is answered like what is not there, and lists leave
//     it out.
//   - A token that is deleted or expired is refused from that moment on: nothing of it is cached.
//   - Nobody hands on more than they have: see [Caller.MayGrant].
//
// It knows HTTP requests and no server.
package auth
