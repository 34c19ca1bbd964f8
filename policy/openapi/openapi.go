// Package openapi reads the rules of a catalog out of an OpenAPI 3 file, JSON or YAML: for each operation which resource
// and access it needs, with the file and line where it stands.
//
// The resource is the first of these that is there:
//
//   - x-keystile-resource on the operation, then on its path. It must be a resource name as it stands.
//   - x-resourceId of the schema of the success answer, also of the items of a list (an array, or an object whose "data" is
//     one) and of the members of anyOf, oneOf and allOf, if they agree.
//   - the first tag of the operation.
//   - the first literal segment of the path after the version (a segment such as v1).
//
// The last three are brought into the form of a resource name: camel case is split, letters become lower case, everything
// that is no letter or digit becomes an underscore ("billing_portal.session" gives billing_portal_session). An id
// "deleted_customer" is the resource customer if the file also knows that id.
//
// The access is x-keystile-access (read or write) on the operation, then on its path; else GET and HEAD read, others write.
// Whether publishable keys may call it is x-keystile-publishable (true or false), likewise. Any other word that starts with
// "x-keystile-" there is an error: a typing error must not weaken a rule.
//
// Paths are prefixed with the path of the servers that serve them, as OpenAPI has it: several servers with different paths
// give a rule for each.
//
// The file is the only thing that is read: references to other files and to the network are never followed.
package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/pb33f/go-yaml"
	"github.com/pb33f/libopenapi/datamodel"

	"github.com/keystile/keystile/policy"
)

// MaxFileSize bounds a file, in bytes. Reading one takes about six times its size in memory, for a moment.
const MaxFileSize = 32 << 20

// Load reads the rules of a file. Every error is one sentence that starts with the file, and with the line where there is
// one. Whether the rules agree with one another is for [policy.NewCatalog] to say.
func Load(file string) ([]policy.Rule, error) {
	data, err := read(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, data)
}

// read takes a regular file of bounded size: a device or a pipe would block a config load for ever.
func read(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, &policy.RuleError{File: file, Reason: "reading the OpenAPI file: " + err.Error()}
	}
	if !info.Mode().IsRegular() {
		return nil, &policy.RuleError{File: file, Reason: "reading the OpenAPI file: it is not a regular file"}
	}
	f, err := os.Open(file)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, &policy.RuleError{File: file, Reason: "reading the OpenAPI file: " + err.Error()}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, &policy.RuleError{File: file, Reason: "reading the OpenAPI file: " + err.Error()}
	}
	return data, nil
}

// Parse reads the rules of a document; file is its name in errors and rules.
func Parse(file string, data []byte) ([]policy.Rule, error) {
	if len(data) > MaxFileSize {
		return nil, &policy.RuleError{File: file, Reason: fmt.Sprintf("the OpenAPI file is larger than %d MiB", MaxFileSize>>20)}
	}
	info, err := datamodel.ExtractSpecInfo(data)
	if err != nil {
		return nil, syntaxError(file, data, err)
	}
	d := &document{file: file, index: make(map[*yaml.Node]map[string]*yaml.Node)}
	if root := info.RootNode; root != nil && root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		d.root = d.target(root.Content[0])
	}
	if d.root == nil || d.root.Kind != yaml.MappingNode {
		return nil, &policy.RuleError{File: file, Line: 1, Reason: "this is not an OpenAPI document"}
	}
	return d.rules()
}

// place is how the parsers name a line: "L2.C1" and "line 2".
var place = regexp.MustCompile(`\bL(\d+)\.C\d+\b|\bline (\d+)\b`)

// syntaxError says in one sentence what the parser found.
func syntaxError(file string, data []byte, err error) error {
	e := &policy.RuleError{File: file, Line: 1}
	text, _, _ := strings.Cut(err.Error(), "\n")
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		e.Line = 1 + strings.Count(string(data[:min(int(syntax.Offset), len(data))]), "\n")
		text = syntax.Error()
	} else if m := place.FindStringSubmatch(text); m != nil {
		e.Line, _ = strconv.Atoi(m[1] + m[2])
	}
	e.Reason = "this is not an OpenAPI 3 document: " + text
	return e
}
