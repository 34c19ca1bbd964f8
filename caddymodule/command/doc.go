// Package command is the command line of Keystile: org, account, sandbox, key, token, webhook, log, explain, catalog and scan, beside the
// commands that Caddy itself brings.
//
// It is a client. Every command but two talks JSON over HTTP to a running process: by default over Caddy's admin endpoint
// (under /keystile/v1), with --url over a site that carries the keystile_admin directive (under /v1), which asks for an
// admin token. The two are `catalog check` and the search of `scan`, which read files here.
//
// Invariants:
//   - A token never is an argument: the process list and the shell's history would keep it. What looks like one is refused,
//     and never repeated in the refusal.
//   - A token is printed only where it is what was asked for: on standard output, in the answer of create, reveal, rotate
//     and duplicate. No error text carries one.
//   - Text that came from a server or a file is stripped of control characters before it reaches a terminal.
//   - Exit codes: 0 done, 1 failed (or, for scan, found something), 2 misuse.
//   - With --json, standard output carries the answer of the API as it came, and nothing else; notes go to standard error.
package command
