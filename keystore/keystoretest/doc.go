// Package keystoretest helps tests with key stores: a store in memory ([NewStore]), a backend in memory ([NewMemory]), a
// backend that fails on demand ([Faulty]), and the suite that every backend passes ([RunBackend]).
package keystoretest
