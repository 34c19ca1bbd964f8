package keystile_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/keystile/keystile"

// room is one line of the import table: which packages it speaks of, and what these may import beside the standard
// library. A name that ends in "/..." stands for a tree.
type room struct {
	packages string
	may      []string
	never    []string // of the standard library
}

// rooms is the import table. The decision is pure, storage knows no HTTP, administration no Caddy: what the table keeps
// apart can be read, tested and replaced alone. The first line that fits a package counts.
var rooms = []room{
	{packages: "policy", never: []string{"net/http/...", "os/...", "log", "database/sql/..."}},
	{packages: "policy/openapi", may: []string{"policy", "github.com/pb33f/...", "github.com/getkin/kin-openapi/...", "go.yaml.in/yaml/..."}},
	{packages: "keystore", may: []string{"policy", "internal/settled", "github.com/hashicorp/go-memdb", "github.com/dgraph-io/ristretto/v2/...", "go.uber.org/zap/...", "github.com/tink-crypto/tink-go/v2/..."}, never: []string{"net/http/..."}},
	{packages: "keystore/boltstore", may: []string{"keystore", "go.etcd.io/bbolt/..."}, never: []string{"net/http/..."}},
	{packages: "keystore/pgstore", may: []string{"keystore", "internal/postgres", "github.com/jackc/pgx/v5/..."}, never: []string{"net/http/..."}},
	{packages: "keystore/awskms", may: []string{"keystore", "github.com/tink-crypto/tink-go/v2/...", "github.com/tink-crypto/tink-go-awskms/v3/..."}, never: []string{"net/http/..."}},
	{packages: "keystore/keystoretest", may: []string{"keystore", "policy", "github.com/tink-crypto/tink-go/v2/..."}, never: []string{"net/http/..."}},
	{packages: "requestlog", may: []string{"internal/settled", "go.uber.org/zap/...", "github.com/klauspost/compress/zstd"}, never: []string{"net/http/..."}},
	{packages: "requestlog/otlp", may: []string{"requestlog", "go.uber.org/zap/...", "go.opentelemetry.io/otel/..."}, never: []string{"net/http/..."}},
	{packages: "requestlog/pglog", may: []string{"requestlog", "internal/postgres", "go.uber.org/zap/...", "github.com/jackc/pgx/v5/..."}, never: []string{"net/http/..."}},
	{packages: "requestlog/...", may: []string{"requestlog", "go.uber.org/zap/...", "github.com/parquet-go/parquet-go/..."}, never: []string{"net/http/..."}},
	{packages: "internal/settled", never: []string{"net/http/...", "os/..."}},
	{packages: "internal/postgres", may: []string{"github.com/jackc/pgx/v5/..."}, never: []string{"net/http/..."}},
	{packages: "admin/auth", may: []string{"keystore", "policy", "go.uber.org/zap/...", "golang.org/x/crypto/argon2", "golang.org/x/oauth2/...", "github.com/coreos/go-oidc/v3/...", "github.com/pquerna/otp/...", "github.com/boombuler/barcode/..."}},
	{packages: "admin/notify", may: []string{"admin/auth", "admin/webhook", "policy", "go.uber.org/zap/...", "github.com/wneessen/go-mail/..."}},
	{packages: "admin/...", may: []string{"admin/...", "keystore", "requestlog/...", "policy", "go.uber.org/zap/...", "github.com/danielgtaylor/huma/v2/..."}},
	{packages: "caddymodule/...", may: []string{"caddymodule/...", "admin/...", "keystore/...", "requestlog/...", "policy/...", "github.com/caddyserver/caddy/v2/...", "github.com/prometheus/client_golang/prometheus/...", "github.com/go-jose/go-jose/v4", "go.uber.org/zap/...", "github.com/dustin/go-humanize", "github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/net/...", "golang.org/x/term"}},
	{packages: "", may: []string{"caddymodule/..."}},
	{packages: "cmd/keystile", may: []string{"", "github.com/caddyserver/caddy/v2/..."}},
	// helpers of the tests from outside: never part of the program
	{packages: "keystore/pgstore/pgtest", may: []string{"github.com/jackc/pgx/v5/..."}},
	{packages: "cmd/keystile/internal/...", may: []string{"...", "github.com/...", "golang.org/...", "go.uber.org/...", "gopkg.in/..."}},
	{packages: "bench/...", may: []string{"...", "github.com/...", "golang.org/...", "go.uber.org/...", "gopkg.in/..."}},
}

// TestImportTable holds the packages to the import table. A package that the table does not know fails too: it has to be
// given a place.
func TestImportTable(t *testing.T) {
	t.Parallel()
	for _, pkg := range listPackages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(pkg.ImportPath, module), "/")
		i := slices.IndexFunc(rooms, func(r room) bool { return covers(r.packages, name) })
		if i < 0 {
			t.Errorf("%s is not in the import table", pkg.ImportPath)
			continue
		}
		for _, imported := range pkg.Imports {
			if why := rooms[i].refuses(imported); why != "" {
				t.Errorf("%s imports %s: %s", pkg.ImportPath, imported, why)
			}
		}
	}
}

// TestImportTableCatches makes sure that the check is one: each of these must be refused.
func TestImportTableCatches(t *testing.T) {
	t.Parallel()
	tests := []struct{ pkg, imported string }{
		{"policy", "net/http"},
		{"policy", "go.uber.org/zap"},
		{"policy", module + "/keystore"},
		{"keystore", "net/http"},
		{"keystore", "net/http/httptest"},
		{"keystore", "github.com/caddyserver/caddy/v2"},
		{"keystore/boltstore", module + "/policy"},
		{"keystore/pgstore", module + "/requestlog"},
		{"requestlog", module + "/keystore"},
		{"requestlog", module + "/policy"},
		{"internal/postgres", module + "/keystore"},
		{"internal/postgres", "net/http"},
		{"admin/api", "github.com/caddyserver/caddy/v2/caddyconfig"},
		{"admin/api", module + "/caddymodule"},
	}
	for _, test := range tests {
		i := slices.IndexFunc(rooms, func(r room) bool { return covers(r.packages, test.pkg) })
		if i < 0 {
			t.Fatalf("%s is not in the import table", test.pkg)
		}
		if rooms[i].refuses(test.imported) == "" {
			t.Errorf("%s may import %s, want it refused", test.pkg, test.imported)
		}
	}
}

// refuses says why the room may not import a package, "" if it may.
func (r room) refuses(imported string) string {
	standard := !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".")
	if standard {
		for _, never := range r.never {
			if covers(never, imported) {
				return "never, by the import table"
			}
		}
		return ""
	}
	for _, may := range r.may {
		if !strings.Contains(strings.SplitN(may, "/", 2)[0], ".") || may == "..." {
			may = path.Join(module, may)
		}
		if covers(may, imported) {
			return ""
		}
	}
	return "not in the import table"
}

// covers says whether a name is the pattern, or in its tree if the pattern ends in "/...".
func covers(pattern, name string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == tree || strings.HasPrefix(name, tree+"/")
	}
	return name == pattern
}

type listedPackage struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderrOf(err))
	}
	var packages []listedPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg listedPackage
		err := decoder.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("reading what go list says: %v", err)
		}
		packages = append(packages, pkg)
	}
	if len(packages) < 5 {
		t.Fatalf("go list names %d packages, want the whole module", len(packages))
	}
	return packages
}

func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}
