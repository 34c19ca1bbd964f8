package pgtest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Shared is the server of this test binary, started by the first who asks. [Main] or [CloseShared] ends it.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = New()
	}
	if shared.err != nil {
		tb.Fatal(shared.err)
	}
	return shared.server
}

// CloseShared ends the shared server, if there is one.
func CloseShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return nil
	}
	err := shared.server.Close()
	shared.server = nil
	return err
}

// Main runs the tests of a package and ends the shared server. Use it as `func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }`.
func Main(m *testing.M) int {
	code := m.Run()
	if err := CloseShared(); err != nil {
		fmt.Fprintf(os.Stderr, "--- FAIL: the shared PostgreSQL: %v\n", err)
		code = 1
	}
	return code
}
