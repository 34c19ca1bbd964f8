//go:build !race

package keystile_test

// raceEnabled says whether the tests run under the race detector, so that what they build is built likewise and finds the
// compiled packages in the build cache.
const raceEnabled = false
