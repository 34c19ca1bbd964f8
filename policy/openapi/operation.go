package openapi

import (
	"errors"
	"slices"
	"strings"

	"github.com/pb33f/go-yaml"

	"github.com/keystile/keystile/policy"
)

const (
	extensionPrefix      = "x-keystile-"
	extensionResource    = "x-keystile-resource"
	extensionAccess      = "x-keystile-access"
	extensionPublishable = "x-keystile-publishable"
)

// rules walks the whole document. All errors found are joined, in the order of the file.
func (d *document) rules() ([]policy.Rule, error) {
	if v := d.text(d.root, "openapi"); !strings.HasPrefix(v, "3.") {
		if d.get(d.root, "swagger") != nil {
			return nil, d.fail(d.root, "this is a Swagger 2.0 document: OpenAPI 3 is needed")
		}
		return nil, d.fail(d.root, `this is not an OpenAPI 3 document: it must say "openapi" with a version such as "3.1.0"`)
	}
	paths := d.get(d.root, "paths")
	if paths == nil {
		return nil, d.fail(d.root, `the document has no "paths"`)
	}
	bases, err := d.bases(d.root, []string{""})
	if err != nil {
		return nil, err
	}
	items, err := d.pairs(paths, `"paths"`)
	if err != nil {
		return nil, err
	}
	d.collectIDs()
	var rules []policy.Rule
	var errs []error
	for _, item := range items {
		if strings.HasPrefix(item.key.Value, "x-") {
			continue
		}
		more, err := d.pathRules(item, bases)
		if err != nil {
			const most = 20
			if errs = append(errs, err); len(errs) == most {
				break
			}
		}
		rules = append(rules, more...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return rules, nil
}

// pathRules reads one path and its operations.
func (d *document) pathRules(path pair, bases []string) ([]policy.Rule, error) {
	if !strings.HasPrefix(path.key.Value, "/") {
		return nil, d.fail(path.key, "the path %q must start with a slash", clip(path.key.Value))
	}
	item, err := d.follow(path.value)
	if err != nil {
		return nil, err
	}
	if item != path.value {
		if err := d.checkReferring(path); err != nil {
			return nil, err
		}
	}
	words, err := d.pairs(item, "the path "+clip(path.key.Value))
	if err != nil {
		return nil, err
	}
	outer, err := d.marks(words, marks{})
	if err != nil {
		return nil, err
	}
	if bases, err = d.bases(item, bases); err != nil {
		return nil, err
	}
	var rules []policy.Rule
	for _, word := range words {
		list := []pair{word}
		switch word.key.Value {
		case "get", "put", "post", "delete", "options", "head", "patch", "trace", "query":
		case "additionalOperations": // OpenAPI 3.2: a method each
			if list, err = d.pairs(word.value, "additionalOperations"); err != nil {
				return nil, err
			}
		default:
			if strings.ToLower(word.key.Value) != word.key.Value && slices.Contains([]string{"get", "put", "post", "delete", "options", "head", "patch"}, strings.ToLower(word.key.Value)) {
				return nil, d.fail(word.key, "the method %q must be written in lower case", word.key.Value)
			}
			continue
		}
		for _, operation := range list {
			more, err := d.operationRules(path.key.Value, operation, outer, bases)
			if err != nil {
				return nil, err
			}
			rules = append(rules, more...)
		}
	}
	return rules, nil
}

// checkReferring refuses a path that has both a reference and operations: OpenAPI leaves open which of them count.
func (d *document) checkReferring(path pair) error {
	words, err := d.pairs(path.value, "the path "+clip(path.key.Value))
	if err != nil {
		return err
	}
	for _, w := range words {
		if k := w.key.Value; k != "$ref" && k != "summary" && k != "description" {
			return d.fail(w.key, "the path %s has a reference and %q beside it: OpenAPI leaves open which one counts", clip(path.key.Value), clip(k))
		}
	}
	return nil
}

// operationRules reads one operation: a rule for each base path that it is served under.
func (d *document) operationRules(path string, operation pair, outer marks, bases []string) ([]policy.Rule, error) {
	method := strings.ToUpper(operation.key.Value)
	words, err := d.pairs(operation.value, method+" "+clip(path))
	if err != nil {
		return nil, err
	}
	m, err := d.marks(words, outer)
	if err != nil {
		return nil, err
	}
	if bases, err = d.bases(operation.value, bases); err != nil {
		return nil, err
	}
	if m.access == policy.AccessNone {
		m.access = policy.AccessWrite
		if method == "GET" || method == "HEAD" {
			m.access = policy.AccessRead
		}
	}
	rules := make([]policy.Rule, 0, len(bases))
	for _, base := range bases {
		resource := m.resource
		if resource == "" {
			resource = d.resource(operation.value, base, path)
		}
		if resource == "" {
			return nil, d.fail(operation.key, "%s %s tells no resource: give it %s", method, clip(path), extensionResource)
		}
		rules = append(rules, policy.Rule{
			Resource:    resource,
			Access:      m.access,
			Methods:     []string{method},
			Pattern:     base + path,
			Publishable: m.publishable,
			File:        d.file,
			Line:        operation.key.Line,
		})
	}
	return rules, nil
}

// marks are what the extensions say.
type marks struct {
	resource    string
	access      policy.Access // none: not said
	publishable bool
}

// marks reads the extensions of a path or an operation; what it does not say stays as the outer one has it.
func (d *document) marks(words []pair, m marks) (marks, error) {
	for _, w := range words {
		key, value := w.key.Value, w.value
		// The words are ours in any case: an unknown or misspelled one must not be passed over.
		if !strings.HasPrefix(strings.ToLower(key), extensionPrefix) {
			continue
		}
		switch key {
		case extensionResource:
			if !isString(value) || !policy.IsResourceName(value.Value) {
				return m, d.fail(value, "%s must be a resource name: lower-case letters, digits and underscores, starting with a letter", key)
			}
			m.resource = value.Value
		case extensionAccess:
			a, err := policy.ParseAccess(value.Value)
			if err != nil || a == policy.AccessNone || !isString(value) {
				return m, d.fail(value, "%s must be read or write", key)
			}
			m.access = a
		case extensionPublishable:
			if value.Kind != yaml.ScalarNode || value.ShortTag() != "!!bool" || value.Value != "true" && value.Value != "false" {
				return m, d.fail(value, "%s must be true or false", key)
			}
			m.publishable = value.Value == "true"
		default:
			return m, d.fail(w.key, "unknown word %q: there are %s, %s and %s", clip(key), extensionResource, extensionAccess, extensionPublishable)
		}
	}
	return m, nil
}
