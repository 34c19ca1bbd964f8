// Package notify brings messages to members: verification codes and invitations by e-mail, codes by an HTTP hook of the
// operator's, and codes to the process log for development.
//
// What holds: a code, a link and a password are in the message that they are for and in nothing else; errors name servers
// and never what was to be sent. Every sending has an end in time.
//
// # The HTTP hook
//
// Each code is one POST with a JSON body:
//
//	{"type":"verification_code","id":"ver_…","member":"mem_…","name":"Jenny","email":"jenny@example.com",
//	 "code":"123456","action":"create a live key","operation":"create_key","object_id":"","address":"203.0.113.9",
//	 "expires_at":"2026-11-25T16:20:00Z"}
//
// It is signed as webhooks are, in the header Keystile-Signature (see package webhook). The hook sends a text message, or
// whatever it likes, and answers 2xx; any other answer means that the code was not sent.
package notify
