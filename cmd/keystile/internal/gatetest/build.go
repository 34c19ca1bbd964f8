package gatetest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// mainPackage is what is under test.
const mainPackage = "github.com/keystile/keystile/cmd/keystile"

// binaryVariable names the environment variable that points to a binary built already, which then is tested instead.
const binaryVariable = "KEYSTILE_TEST_BINARY"

var scratch struct {
	sync.Mutex
	dir string
}

// scratchDir is the directory of this test process. Main removes it.
func scratchDir() (string, error) {
	scratch.Lock()
	defer scratch.Unlock()
	if scratch.dir != "" {
		return scratch.dir, nil
	}
	dir, err := os.MkdirTemp("", "keystile-test-")
	if err != nil {
		return "", fmt.Errorf("making the scratch directory: %w", err)
	}
	scratch.dir = dir
	return dir, nil
}

// build compiles the binary once per test process.
var build = sync.OnceValues(func() (string, error) {
	if ready := os.Getenv(binaryVariable); ready != "" {
		return filepath.Abs(ready)
	}
	return compile(mainPackage, "keystile")
})

// buildCrashing compiles the binary whose handlers can be made to panic.
var buildCrashing = sync.OnceValues(func() (string, error) { return compile(mainPackage+"/internal/crashing", "crashing") })

// compile compiles a program, with the race detector if the tests run with it.
func compile(program, name string) (string, error) {
	dir, err := scratchDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	args := []string{"build", "-o", path}
	if RaceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, program)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", program, err, out.Bytes())
	}
	return path, nil
}

// Binary returns the path of the keystile binary, building it on the first call.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// Main runs the tests of a package and ends what they shared. A fault found while ending (a data race report, a token in
// a log) fails the run. Use it as `func TestMain(m *testing.M) { os.Exit(gatetest.Main(m)) }`.
func Main(m *testing.M) int {
	code := m.Run()
	for _, err := range stopShared() {
		fmt.Fprintf(os.Stderr, "--- FAIL: shared gateway: %v\n", err)
		code = 1
	}
	if err := pgtest.CloseShared(); err != nil {
		fmt.Fprintf(os.Stderr, "--- FAIL: the shared PostgreSQL: %v\n", err)
		code = 1
	}
	scratch.Lock()
	defer scratch.Unlock()
	if scratch.dir != "" {
		if err := os.RemoveAll(scratch.dir); err != nil {
			fmt.Fprintf(os.Stderr, "removing the scratch directory: %v\n", err)
		}
	}
	return code
}
