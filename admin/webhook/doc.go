// Package webhook tells webhook endpoints of key events: it follows the audit trail and posts each event that is for an
// endpoint to its URL, signed.
//
// What holds:
//
//   - At least once, and in the order of the trail for each endpoint: an event is tried again until it is delivered or
//     given up, and the next one waits for it. How far an endpoint has come is durable after each attempt.
//   - An endpoint that is slow or dead delays only itself: each has a goroutine and at most one request under way. Events
//     that wait are in the trail and not in memory.
//   - No request goes to an address that is not public, unless the operator allows it. That is judged for the very address
//     that is about to be connected to, after all names are resolved, so that no name and no redirect helps.
//   - A delivery is the stored event, which holds no token material. Secrets and URLs are in no log line and no error.
//
// # Signatures
//
// Each delivery has the header
//
//	Keystile-Signature: t=1767225600,v1=de32bcdfda6088275452aa3eafa425f2a1a01284aeb427b264f9df87db5a9ed4
//
// where t is when it was signed, in seconds since 1970, and v1 is HMAC-SHA256 in hexadecimal digits, over t, a dot and the
// body as it was sent, with the endpoint's whole secret (whsec_ included) as the key. This is how Stripe signs. For up to a
// day after a rotation of the secret there is a second v1, made with the one before it. A receiver
// computes it anew, takes the header if one v1 is the same (compared in constant time), and refuses what is older than five minutes. Since a delivery may come
// more than once, a receiver also remembers the ids of the events that it has seen.
package webhook
