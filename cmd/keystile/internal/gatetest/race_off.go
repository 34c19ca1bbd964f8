//go:build !race

package gatetest

// RaceEnabled says whether the tests, and so the binary under test, run with the race detector.
const RaceEnabled = false
