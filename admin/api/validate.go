package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Bodies are validated against the schema that stands in the document, in two passes. The first is ours: exact names (the
// library's check folds case), null only where the schema has null, and the branch of a choice picked by the value's type,
// so that the error is about the value and not about the choice. The second is the library's: types, ranges, enumerations.

// decodeBody validates data and decodes it into target. No data stands for an empty object.
func decodeBody(registry huma.Registry, schema *huma.Schema, data []byte, target any) error {
	if data == nil {
		data = []byte("{}")
	}
	object, err := parseJSON(data)
	if err != nil {
		return err
	}
	if err := checkShape(registry, schema, "", object); err != nil {
		return err
	}
	if err := validate(registry, schema, "", object); err != nil {
		return err
	}
	if err := json.Unmarshal(data, target); err != nil {
		// The schema has let it through and Go's type does not take it: such as a number beyond the type's range. The
		// decoder's text may repeat the value, so it is not shown.
		param := ""
		var typeError *json.UnmarshalTypeError
		if errors.As(err, &typeError) {
			param = typeError.Field
		}
		return newError(http.StatusBadRequest, codeParameterInvalid, param, "the body has a value that is not of the documented form")
	}
	return nil
}

// checkShape is the first pass.
func checkShape(registry huma.Registry, s *huma.Schema, path string, v any) error {
	s = resolve(registry, s)
	if s.OneOf != nil {
		return checkChoice(registry, s, path, v)
	}
	if v == nil {
		if s.Nullable || s.Type == "null" || s.Type == "" { // no type at all is anything
			return nil
		}
		return badParam(path, "%s must not be null", path)
	}
	switch v := v.(type) {
	case map[string]any:
		if s.Type != huma.TypeObject {
			return nil // the second pass says so
		}
		return checkObject(registry, s, path, v)
	case []any:
		if s.Type != huma.TypeArray {
			return nil
		}
		for i, item := range v {
			if err := checkShape(registry, s.Items, fmt.Sprintf("%s[%d]", path, i), item); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkObject(registry huma.Registry, s *huma.Schema, path string, v map[string]any) error {
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names) // the same error for the same body
	for _, name := range names {
		property := s.Properties[name]
		if property == nil {
			extra, ok := s.AdditionalProperties.(*huma.Schema)
			if !ok {
				known := make([]string, 0, len(s.Properties))
				for k := range s.Properties {
					known = append(known, k)
				}
				slices.Sort(known)
				return newError(http.StatusBadRequest, codeParameterUnknown, join(path, name), "unknown field %s%s", join(path, name), suggestion(name, known))
			}
			property = extra
		}
		if err := checkShape(registry, property, join(path, name), v[name]); err != nil {
			return err
		}
	}
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			return newError(http.StatusBadRequest, codeParameterMissing, join(path, name), "%s is required", join(path, name))
		}
	}
	return nil
}

// checkChoice picks the branch of a oneOf by the JSON type of the value, and judges the value by that branch alone.
func checkChoice(registry huma.Registry, s *huma.Schema, path string, v any) error {
	var names []string
	for _, branch := range s.OneOf {
		list, isList := v.([]any)
		if isList && len(list) > 0 && branch.MaxItems != nil && *branch.MaxItems == 0 {
			continue // only an empty list is taken here: the others say what is
		}
		if branch.Type == jsonType(v) {
			if err := checkShape(registry, branch, path, v); err != nil {
				return err
			}
			return validate(registry, branch, path, v)
		}
		names = append(names, typeNames[branch.Type])
	}
	return badParam(path, "%s must be %s", path, strings.Join(names, ", or "))
}

// validate is the second pass. Only the first fault is answered, in the order of the schema.
func validate(registry huma.Registry, s *huma.Schema, path string, v any) error {
	res := &huma.ValidateResult{}
	at := huma.NewPathBuffer(nil, 0)
	huma.Validate(registry, s, at, huma.ModeWriteToServer, v, res)
	if len(res.Errors) == 0 {
		return nil
	}
	var detail *huma.ErrorDetail
	if !errors.As(res.Errors[0], &detail) {
		return newError(http.StatusBadRequest, codeParameterInvalid, path, "%s is not of the documented form", path)
	}
	// The detail also has the value. It is left out: it may be a token.
	param := path
	for i, part := range strings.Split(detail.Location, ".") {
		switch {
		case part == "":
		case i == 0 && strings.HasPrefix(part, "["):
			param += part
		default:
			param = join(param, part)
		}
	}
	return badParam(param, "%s: %s", param, detail.Message)
}

// resolve follows references to the schema itself.
func resolve(registry huma.Registry, s *huma.Schema) *huma.Schema {
	for s.Ref != "" {
		s = registry.SchemaFromRef(s.Ref)
	}
	return s
}

// typeNames says in words what a schema's type takes.
var typeNames = map[string]string{
	huma.TypeArray:   "a list",
	huma.TypeBoolean: "true or false",
	huma.TypeNumber:  "a number",
	huma.TypeObject:  "an object",
	huma.TypeString:  "a string",
	"null":           "null",
}

// jsonType is the schema type of a decoded value.
func jsonType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return huma.TypeBoolean
	case string:
		return huma.TypeString
	case float64:
		return huma.TypeNumber
	case []any:
		return huma.TypeArray
	}
	return huma.TypeObject
}
