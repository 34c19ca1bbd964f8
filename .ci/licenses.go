// Licenses holds the modules that are linked to a list of licences, and writes down their texts, as these ask of who gives
// the binary away. What is linked and which licence a module has is read from a CycloneDX document.
//
//	go run .ci/licenses.go sbom.cdx.json THIRD_PARTY_LICENSES.txt
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// allowed are the licences that go with Apache-2.0 in one binary. The sources of what is under MPL-2.0 are public and not
// changed; the font that is under OFL-1.1 is part of a module under MIT.
var allowed = []string{
	"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "0BSD", "Zlib", "CC0-1.0", "Unlicense", "MPL-2.0", "OFL-1.1", "OFL-1.1-no-RFN",
}

// known are components whose licence no file of theirs in the module cache tells.
var known = map[string]string{
	"std": "BSD-3-Clause", // Go's own library
}

type component struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Licenses []choice `json:"licenses"`
	Evidence struct {
		Licenses []choice `json:"licenses"`
	} `json:"evidence"`
}

type choice struct {
	License struct{ ID, Name string } `json:"license"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go run .ci/licenses.go SBOM TEXTS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(sbom, texts string) error {
	data, err := os.ReadFile(sbom)
	if err != nil {
		return err
	}
	var document struct {
		Components []component `json:"components"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return fmt.Errorf("reading %s: %w", sbom, err)
	}
	if len(document.Components) < 50 {
		return fmt.Errorf("%s names %d components, want those of the whole binary", sbom, len(document.Components))
	}
	var out bytes.Buffer
	var errs []error
	counts := make(map[string]int)
	for _, c := range document.Components {
		license, err := c.license()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		counts[license]++
		if err := c.write(&out, license); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Printf("licences: %d components, all allowed: %v\n", len(document.Components), counts)
	return os.WriteFile(texts, out.Bytes(), 0o644)
}

// license is the one licence of a component, or those of its parts, all of which must be allowed.
func (c *component) license() (string, error) {
	if license, ok := known[c.Name]; ok {
		return license, nil
	}
	var ids []string
	for _, l := range append(c.Evidence.Licenses, c.Licenses...) {
		id := l.License.ID
		if id == "" {
			id = l.License.Name
		}
		if id == "BSD-Source-Code" && c.threeClauses() {
			id = "BSD-3-Clause"
		}
		if !slices.Contains(allowed, id) {
			return "", fmt.Errorf("%s@%s is under %q, which is not on the list in .ci/licenses.go", c.Name, c.Version, id)
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return "", fmt.Errorf("%s@%s: no licence was found", c.Name, c.Version)
	}
	return strings.Join(ids, " and "), nil
}

// threeClauses says whether the component's licence is BSD-3-Clause by its words. The tool takes Go's own wording of it for a
// licence that has two of the clauses.
func (c *component) threeClauses() bool {
	dir, err := c.dir()
	if err != nil {
		return false
	}
	text, _ := os.ReadFile(filepath.Join(dir, "LICENSE"))
	folded := strings.Join(strings.Fields(string(text)), " ")
	for _, clause := range []string{
		"Redistributions of source code must retain the above copyright notice",
		"Redistributions in binary form must reproduce the above copyright notice",
		"may be used to endorse or promote products derived from this software without specific prior written permission.",
	} {
		if strings.Count(folded, clause) != 1 {
			return false
		}
	}
	return strings.Count(folded, "* Redistributions")+strings.Count(folded, "* Neither") == 3
}

// legal are the files that a licence asks to pass on.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|unlicense|patents)([-.].*)?$`)

// write adds the texts of a component.
func (c *component) write(out *bytes.Buffer, license string) error {
	fmt.Fprintf(out, "%s\n%s %s: %s\n\n", strings.Repeat("=", 100), c.Name, c.Version, license)
	dir, err := c.dir()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	found := false
	for _, e := range entries {
		if !e.Type().IsRegular() || !legal.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		found = true
		fmt.Fprintf(out, "%s:\n\n%s\n\n", e.Name(), bytes.TrimSpace(text))
	}
	if !found {
		return fmt.Errorf("%s@%s: there is no licence text in %s", c.Name, c.Version, dir)
	}
	return nil
}

// dir is where the component's files are on this machine.
func (c *component) dir() (string, error) {
	args := []string{"list", "-m", "-f", "{{.Dir}}", c.Name}
	if c.Name == "std" {
		args = []string{"env", "GOROOT"}
	}
	dir, err := exec.Command("go", args...).Output()
	if err != nil {
		return "", fmt.Errorf("looking for %s: %w", c.Name, err)
	}
	return strings.TrimSpace(string(dir)), nil
}
