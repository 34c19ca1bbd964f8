//go:build race

package caddymodule

// raceEnabled: the race detector makes code allocate that does not do so without it, so that assertions on allocations
// say nothing there. `make bench` makes them in the plain build.
const raceEnabled = true
