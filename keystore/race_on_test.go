//go:build race

package keystore_test

// raceEnabled says whether this is the race detector's build, which allocates by itself.
const raceEnabled = true
