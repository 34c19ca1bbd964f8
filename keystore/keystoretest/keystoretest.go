// Package keystoretest helps tests with key stores.
package keystoretest

import (
	"testing"

	"github.com/keystile/keystile/keystore"
)

// NewStore is an open store in memory that is closed with the test. Zero fields of o are filled in.
func NewStore(t testing.TB, o keystore.Options) *keystore.Store { panic("building") }

// NewMemory is a backend in memory.
func NewMemory() keystore.Backend { panic("building") }
