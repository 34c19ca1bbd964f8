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
//   - A member acts in the place that the call names, by the strongest grant that covers it, and nowhere else: see [Scope]. The
//     place is never remembered.
//   - Whether there is a member with an e-mail address is told by no answer and by no time that one takes.
//   - Codes are counted in the store before they are looked at, so that of many tries at the same time, on any number of
//     nodes, no more count than may.
//
// For pages: [Sessions.Session] finds who has signed in, [Session.Caller] and [WithCaller] make a call of the API as them in a
// scope, [Session.Owners] names who can be asked for more. Signing in and out, invitations and authenticator apps are calls of
// the API, and methods of [Sessions] that answer the cookie to set.
//
// It knows HTTP requests and no server.
package auth
