package keystile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var fuzzFunc = regexp.MustCompile(`(?m)^func (Fuzz[A-Za-z0-9_]+)\(f \*testing\.F\)`)

// TestFuzzTargetsHaveACorpus: what a fuzzer found worth keeping is in the tree, so that every run of the tests goes through it, and
// no corpus is left of a target that has another name now.
func TestFuzzTargetsHaveACorpus(t *testing.T) {
	t.Parallel()
	targets, corpora := make(map[string]bool), make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".cache"):
			return fs.SkipDir
		case entry.IsDir() && strings.HasSuffix(filepath.Dir(path), filepath.Join("testdata", "fuzz")):
			files, err := os.ReadDir(path)
			corpora[path] = len(files) > 0
			return err
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range fuzzFunc.FindAllSubmatch(text, -1) {
			targets[filepath.Join(filepath.Dir(path), "testdata", "fuzz", string(m[1]))] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(targets) < 30 {
		t.Fatalf("found %d fuzz targets: the search is broken", len(targets))
	}
	for dir := range targets {
		if !corpora[dir] {
			t.Errorf("no corpus in %s: run `.ci/fuzz` and keep what it found, small inputs first", dir)
		}
	}
	for dir := range corpora {
		if !targets[dir] {
			t.Errorf("%s is the corpus of no target", dir)
		}
	}
}
