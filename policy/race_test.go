//go:build race

package policy

// raceEnabled: the race detector makes code allocate that does not do so without it, so the assertions on allocations say
// nothing there. They run in every build without it, among them `make bench`.
const raceEnabled = true
