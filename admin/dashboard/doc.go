// Package dashboard serves the pages on which people see and manage keys: server-rendered HTML, one style sheet, and a few
// lines of script without which everything but the live tail works too.
//
// It is a client of the admin API in the same process. A page reads and changes nothing but by a call of the API with the
// viewer as its caller, so that every rule (roles, limits, validation, verification codes, events) stands in the API, once,
// and pages have none of their own. What a viewer may not do is hidden by the same table that the API asks.
//
// What holds:
//
//   - A page's address carries what it is about, account or organization and mode, so that links can be shared and two tabs
//     cannot be confused. It never carries a token or a code.
//   - GET changes nothing. POST answers 303 and a page to read, except where a new token is shown: it stands in that one
//     answer and in no other, and no cache keeps it.
//   - Texts of users and clients go through html/template; there is no other way to the page.
//   - A page is rendered whole before its first byte is sent.
//
// It knows HTTP and no server.
package dashboard
