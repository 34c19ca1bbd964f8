package caddymodule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/policy/openapi"
)

// CatalogConfig says which resource and which access each route needs. A route that it does not know is refused to
// restricted keys.
type CatalogConfig struct {
	// An OpenAPI 3 document to take routes from, JSON or YAML. A relative path is taken from the working directory of the
	// process. It is read at each load; `caddy reload --force` reads it again when nothing else has changed.
	OpenAPI string `json:"openapi,omitempty"`

	// Rules by resource. They win over what the document says of the same method and pattern.
	Resources []ResourceConfig `json:"resources,omitempty"`
}

// ResourceConfig is one noun of the API that permissions are given on, and its routes.
type ResourceConfig struct {
	// The name as it stands in permissions: "charges".
	Name string `json:"name"`

	// The routes that belong to it.
	Rules []RuleConfig `json:"rules,omitempty"`

	// Where the resource is written, "Caddyfile:12". Only for error messages.
	At string `json:"at,omitempty"`
}

// RuleConfig says of one method and some path patterns what they need.
type RuleConfig struct {
	// What the rule gives: "read" or "write" is the access that the route needs; "publishable" lets publishable keys call
	// it, with the access of another rule or, without one, by method (GET and HEAD read, others write).
	Rule string `json:"rule"`

	// The HTTP method. A read rule on GET covers HEAD.
	Method string `json:"method"`

	// The path patterns: literal segments, `{name}` for one segment, a final `/*` for one or more further segments.
	Paths []string `json:"paths"`

	// Where the rule is written, "Caddyfile:13". Only for error messages.
	At string `json:"at,omitempty"`
}

// The words of RuleConfig.Rule.
const (
	ruleRead        = "read"
	ruleWrite       = "write"
	rulePublishable = "publishable"
)

var ruleWords = []string{ruleRead, ruleWrite, rulePublishable}

// compile builds the catalog. Its errors name the file and line of each rule at fault, or, for JSON without positions, the
// rule's place in the configuration. A nil config is a catalog that knows no route.
func (c *CatalogConfig) compile(repl *caddy.Replacer) (*policy.Catalog, error) {
	if c == nil {
		return policy.NewCatalog(nil, nil)
	}
	overrides, err := c.rules()
	if err != nil {
		return nil, err
	}
	var source []policy.Rule
	if c.OpenAPI != "" {
		path, err := dataPath(repl, c.OpenAPI, "")
		if err != nil {
			return nil, fmt.Errorf("catalog: openapi: %w", err)
		}
		if source, err = openapi.Load(path); err != nil {
			return nil, fmt.Errorf("catalog: %w", err)
		}
	}
	catalog, err := policy.NewCatalog(source, overrides)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return catalog, nil
}

// rules are the rules of the configuration, one for each pattern.
func (c *CatalogConfig) rules() ([]policy.Rule, error) {
	var rules []policy.Rule
	for i, resource := range c.Resources {
		place := withDefault(resource.At, fmt.Sprintf("apps.keystile.catalog.resources[%d]", i))
		if resource.Name == "" {
			return nil, fmt.Errorf("catalog: %s: the resource has no name", place)
		}
		for j, config := range resource.Rules {
			file, line := splitPosition(config.At)
			if file == "" {
				file = fmt.Sprintf("apps.keystile.catalog.resources[%d].rules[%d]", i, j)
			}
			rule := policy.Rule{Resource: resource.Name, Methods: []string{config.Method}, File: file, Line: line}
			switch config.Rule {
			case ruleRead:
				rule.Access = policy.AccessRead
			case ruleWrite:
				rule.Access = policy.AccessWrite
			case rulePublishable:
				rule.Publishable = true
			default:
				return nil, fmt.Errorf("catalog: %s: rule %q is none of %s", withDefault(config.At, file), config.Rule, strings.Join(ruleWords, ", "))
			}
			if len(config.Paths) == 0 {
				return nil, fmt.Errorf("catalog: %s: the rule has no paths", withDefault(config.At, file))
			}
			for _, pattern := range config.Paths {
				rule.Pattern = pattern
				rules = append(rules, rule)
			}
		}
	}
	return rules, nil
}

// splitPosition takes "Caddyfile:12" apart. What is no position is all file.
func splitPosition(at string) (file string, line int) {
	i := strings.LastIndexByte(at, ':')
	if i < 0 {
		return at, 0
	}
	line, err := strconv.Atoi(at[i+1:])
	if err != nil {
		return at, 0
	}
	return at[:i], line
}

// compile builds the rule for the API versions that are served. A nil config is the default rule.
func (v *VersionsConfig) compile() (policy.VersionRule, error) {
	switch {
	case v == nil:
		return policy.VersionRule{}, nil
	case v.Pattern != "" && v.List != nil:
		return policy.VersionRule{}, errors.New("api_versions: pattern and list exclude each other")
	case v.Pattern != "":
		rule, err := policy.VersionPattern(v.Pattern)
		if err != nil {
			return rule, fmt.Errorf("api_versions: %w", err)
		}
		return rule, nil
	case v.List != nil:
		rule, err := policy.VersionList(v.List)
		if err != nil {
			return rule, fmt.Errorf("api_versions: %w", err)
		}
		return rule, nil
	}
	return policy.VersionRule{}, errors.New("api_versions: neither a pattern nor a list is given")
}
