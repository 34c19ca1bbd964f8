// Package gatetest runs the real keystile binary for tests: it builds it once per test process, starts it on free ports
// with a home of its own, talks to its admin API, stands behind it as a backend that keeps every byte it received, and
// in front of it as a client that sends every byte it is told to.
//
// Invariants:
//   - No process outlives the test that started it; what is shared between tests is stopped by [Main].
//   - A data race report, a panic or an unclean exit of the binary fails the test, whatever the test itself asserts.
//   - Every token that the admin API ever handed out is remembered, and the output, the data directory and the request
//     records of a gateway are searched for it when the gateway stops. Publishable tokens are public and not searched for.
//   - Nothing of the user's own configuration is read or written: HOME and the XDG directories lie in a temporary place.
package gatetest
