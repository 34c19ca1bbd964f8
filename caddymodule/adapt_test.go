package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

var update = flag.Bool("update", false, "write the JSON of the adapt goldens anew")

// TestAdapt holds the Caddyfile forms to golden files, in Caddy's own format: the Caddyfile, a line of dashes, and the JSON
// or a part of the error.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			checkGolden(t, file, "")
		})
	}
	// the example stands outside, and its JSON here
	t.Run("Caddyfile.example", func(t *testing.T) {
		checkGolden(t, "testdata/adapt/Caddyfile.example.json", "../Caddyfile.example")
	})
}

const goldenLine = "----------"

// checkGolden adapts the Caddyfile in a golden file, or the one given, and compares.
func checkGolden(t *testing.T, golden, caddyfilePath string) {
	t.Helper()
	data, err := os.ReadFile(golden)
	if err != nil && !*update {
		t.Fatal(err)
	}
	caddyfile, want, divided := strings.Cut(string(data), goldenLine)
	switch {
	case caddyfilePath != "":
		text, err := os.ReadFile(caddyfilePath)
		if err != nil {
			t.Fatal(err)
		}
		caddyfile, want = string(text), string(data)
	case !divided:
		t.Fatalf("no line %q", goldenLine)
	}
	caddyfile, want = strings.TrimSpace(caddyfile)+"\n", strings.TrimSpace(want)

	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err == nil {
		for _, w := range warnings {
			t.Errorf("warning: %s", w.String())
		}
	}
	if want != "" && want[0] != '{' {
		if err == nil {
			t.Fatalf("adapts, want an error with %q", want)
		}
		if !strings.Contains(err.Error(), want) {
			t.Fatalf("error %q, want it to contain %q", err, want)
		}
		return
	}
	if err != nil {
		t.Fatalf("adapting: %v", err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, config, "", "\t"); err != nil {
		t.Fatal(err)
	}
	if *update {
		out := got.String() + "\n"
		if caddyfilePath == "" {
			out = caddyfile + goldenLine + "\n" + out
		}
		if err := os.WriteFile(golden, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != want {
		t.Errorf("adapts to\n%s\nwant\n%s", got.String(), want)
	}
}
