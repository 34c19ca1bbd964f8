package openapi

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"github.com/pb33f/go-yaml"

	"github.com/keystile/keystile/policy"
)

const resourceID = "x-resourceId"

// resource finds the resource of an operation that does not name it; "" if nothing tells it.
func (d *document) resource(operation *yaml.Node, base, path string) string {
	ids := make(map[string]bool)
	if schema := d.successSchema(operation); schema != nil {
		budget := 200
		d.schemaIDs(schema, ids, 0, &budget)
	}
	if len(ids) == 1 {
		for id := range ids {
			return id
		}
	}
	if tags := d.get(operation, "tags"); tags != nil && tags.Kind == yaml.SequenceNode && len(tags.Content) > 0 {
		if tag := d.target(tags.Content[0]); tag != nil && isString(tag) {
			if name := ResourceName(tag.Value); name != "" {
				return name
			}
		}
	}
	return fromPath(base, path)
}

// collectIDs reads which ids the file's schemas have.
func (d *document) collectIDs() {
	d.ids = make(map[string]bool)
	schemas := d.find("/components/schemas")
	if schemas == nil || schemas.Kind != yaml.MappingNode {
		return
	}
	for i := 1; i < len(schemas.Content); i += 2 {
		if id := d.text(d.target(schemas.Content[i]), resourceID); id != "" {
			d.ids[id] = true
		}
	}
}

// successSchema is the schema of the answer that means success: of the lowest 2xx status that has one, JSON first.
func (d *document) successSchema(operation *yaml.Node) *yaml.Node {
	responses := d.get(operation, "responses")
	if responses == nil || responses.Kind != yaml.MappingNode {
		return nil
	}
	var codes []string
	for i := 0; i+1 < len(responses.Content); i += 2 {
		if code := responses.Content[i].Value; len(code) == 3 && code[0] == '2' {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes) // "2XX" sorts last
	for _, code := range codes {
		// A reference out of the file tells nothing here: the next source of a name does.
		response, err := d.follow(d.get(responses, code))
		if err != nil {
			continue
		}
		content := d.get(response, "content")
		if content == nil || content.Kind != yaml.MappingNode {
			continue
		}
		var media []string
		for i := 0; i+1 < len(content.Content); i += 2 {
			media = append(media, content.Content[i].Value)
		}
		slices.SortStableFunc(media, func(a, b string) int { return cmp.Compare(mediaRank(a), mediaRank(b)) })
		for _, m := range media {
			if schema := d.get(d.get(content, m), "schema"); schema != nil {
				return schema
			}
		}
	}
	return nil
}

func mediaRank(media string) int {
	media, _, _ = strings.Cut(media, ";")
	switch {
	case media == "application/json":
		return 0
	case strings.HasSuffix(media, "json"):
		return 1
	}
	return 2
}

// schemaIDs collects the resources that a schema stands for. Depth and budget keep a hostile or circular file from costing
// more than its worth.
func (d *document) schemaIDs(n *yaml.Node, ids map[string]bool, depth int, budget *int) {
	if *budget--; depth > 6 || *budget < 0 {
		return
	}
	schema, err := d.follow(n)
	if err != nil {
		return
	}
	if id := d.text(schema, resourceID); id != "" {
		if rest, ok := strings.CutPrefix(id, "deleted_"); ok && d.ids[rest] {
			id = rest
		}
		if name := ResourceName(id); name != "" {
			ids[name] = true
		}
		return
	}
	for _, word := range []string{"allOf", "anyOf", "oneOf"} {
		if members := d.get(schema, word); members != nil && members.Kind == yaml.SequenceNode {
			for _, m := range members.Content {
				d.schemaIDs(d.target(m), ids, depth+1, budget)
			}
		}
	}
	if items := d.get(schema, "items"); items != nil {
		d.schemaIDs(items, ids, depth+1, budget)
	}
	if data := d.get(d.get(schema, "properties"), "data"); data != nil {
		if data, err = d.follow(data); err == nil {
			if items := d.get(data, "items"); items != nil {
				d.schemaIDs(items, ids, depth+1, budget)
			}
		}
	}
}

// fromPath is the first literal segment after the version, or the first one of the path if there is no version.
func fromPath(base, path string) string {
	segments := strings.Split(base+path, "/")
	if i := slices.IndexFunc(segments, isVersion); i >= 0 {
		segments = segments[i+1:]
	} else {
		segments = strings.Split(path, "/")
	}
	for _, s := range segments {
		if s == "" || strings.ContainsAny(s, "{}") {
			continue
		}
		if name := ResourceName(s); name != "" {
			return name
		}
	}
	return ""
}

// isVersion says whether a segment is a version: v1, v2beta1.
func isVersion(s string) bool {
	return len(s) >= 2 && s[0] == 'v' && s[1] >= '0' && s[1] <= '9'
}

// ResourceName brings a name into the form of a resource: "billing_portal.session" gives "billing_portal_session",
// "PaymentIntent" gives "payment_intent". It is "" if nothing usable remains.
func ResourceName(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		switch {
		case r < 0x80 && (unicode.IsLower(r) || unicode.IsDigit(r)):
			b.WriteRune(r)
		case r < 0x80 && unicode.IsUpper(r):
			// A new word starts after a small letter or digit, and at the last capital of a run: "APIKey" is api_key.
			if i > 0 && (isSmall(runes[i-1]) || isCapital(runes[i-1]) && i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
				b.WriteByte('_')
			}
			b.WriteRune(unicode.ToLower(r))
		default:
			b.WriteByte('_')
		}
	}
	words := strings.FieldsFunc(b.String(), func(r rune) bool { return r == '_' })
	name := strings.Join(words, "_")
	if !policy.IsResourceName(name) {
		return ""
	}
	return name
}

func isSmall(r rune) bool   { return r < 0x80 && (unicode.IsLower(r) || unicode.IsDigit(r)) }
func isCapital(r rune) bool { return r < 0x80 && unicode.IsUpper(r) }
