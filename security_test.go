package keystile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	testFunc = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(t \*testing\.T\)`)
)

// TestSecurityNamesItsTests: what SECURITY.md, the README and the operating guide call a test is one, and each row of the README's failure table
// names one. A claim must not outlive its proof.
func TestSecurityNamesItsTests(t *testing.T) {
	t.Parallel()
	tests := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "node_modules":
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, document := range []string{"SECURITY.md", "deploy/OPERATING.md", "README.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
			named++
			if !tests[m[1]] {
				t.Errorf("%s names %s, which is no test", document, m[1])
			}
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "\n## When things fail\n")
	table, _, _ = strings.Cut(table, "\n#")
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) < 5 || strings.HasPrefix(cells[0], "---") || strings.TrimSpace(cells[0]) == "what fails" {
			continue
		}
		rows++
		for _, cell := range cells {
			if strings.TrimSpace(cell) == "" {
				t.Errorf("a row of the failure table leaves a cell empty: %s", line)
			}
		}
		if !testName.MatchString(cells[4]) {
			t.Errorf("a row of the failure table names no test: %s", line)
		}
	}
	if rows < 15 {
		t.Errorf("the failure table has %d rows", rows)
	}
	if named < 50 {
		t.Errorf("the documents name %d tests, want one for each claim", named)
	}
}
