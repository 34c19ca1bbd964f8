// Package pgtest starts a real PostgreSQL for the tests of a package, and makes a database for each test. It is no part of
// the program.
//
// The server is Debian's. A machine without it fails the tests: what is not tried is not known.
package pgtest
