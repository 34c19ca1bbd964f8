package api

import (
	"net/http"
	"strings"

	"github.com/keystile/keystile/policy"
)

// Resource is one noun of the catalog: what permissions are given on.
type Resource struct {
	Object string   `json:"object" enum:"resource"`
	Name   string   `json:"name" example:"charges"`
	Access []string `json:"access" nullable:"false" enum:"read,write" doc:"The accesses that its routes ask for"`
	Routes []Route  `json:"routes" nullable:"false"`
}

// Route is one route of a resource.
type Route struct {
	Method      string `json:"method" example:"POST"`
	Pattern     string `json:"pattern" example:"/v1/charges"`
	Access      string `json:"access" enum:"none,read,write" doc:"What a restricted key needs on the resource"`
	Publishable bool   `json:"publishable" doc:"Publishable keys may call it"`
}

type listResourcesInput struct{}

func (a *API) registerResources() {
	handle(a, operation{
		method: http.MethodGet, path: "/v1/resources", id: "list_resources", tag: "resources", summary: "List the catalog's resources",
		description: "All of them in one page: has_more is always false.",
	}, a.listResources)
}

func (a *API) listResources(_ *call, _ *listResourcesInput) (List[Resource], error) {
	catalog := a.Catalog()
	if catalog == nil {
		return listOf([]policy.Resource{}, false, viewResource), nil
	}
	return listOf(catalog.Resources(), false, viewResource), nil
}

func viewResource(r policy.Resource) Resource {
	out := Resource{Object: "resource", Name: r.Name, Access: []string{}, Routes: make([]Route, 0, len(r.Routes))}
	if r.Read {
		out.Access = append(out.Access, policy.AccessRead.String())
	}
	if r.Write {
		out.Access = append(out.Access, policy.AccessWrite.String())
	}
	for _, route := range r.Routes {
		out.Routes = append(out.Routes, Route{
			Method: route.Method, Pattern: route.Pattern, Access: route.Access.String(), Publishable: route.Publishable,
		})
	}
	return out
}

// permissions compiles permissions as a caller wrote them. Every name must stand in the catalog, also one with "none": a
// misspelt name would give nothing and look as if it did. Names that the key has already may stay when the catalog has
// lost them since. param is the field's name, for errors.
func (a *API) permissions(param string, p Permissions, before *policy.Permissions) (*policy.Permissions, error) {
	catalog := a.Catalog()
	compiled := make(map[string]policy.Access, len(p))
	for name, text := range p {
		if (catalog == nil || !catalog.Has(name)) && (before == nil || before.Get(name) == policy.AccessNone) {
			return nil, a.unknownResource(param, name, catalog)
		}
		access, err := policy.ParseAccess(text)
		if err != nil {
			return nil, badParam(join(param, name), "%s must be none, read or write", join(param, name))
		}
		compiled[name] = access
	}
	return policy.NewPermissions(compiled), nil
}

func (a *API) unknownResource(param, name string, catalog *policy.Catalog) error {
	at := join(param, name)
	if catalog == nil || len(catalog.Resources()) == 0 {
		return badParam(at, "unknown resource %s: this gateway has no catalog, so that no permission can be given", shown(name))
	}
	var known []string
	for _, r := range catalog.Resources() {
		known = append(known, r.Name)
	}
	hint := suggestion(name, known)
	if hint == "" {
		// "charges_write" is how messages and headers spell a permission; here resource and access stand apart.
		for _, access := range []string{"_read", "_write"} {
			if base, ok := strings.CutSuffix(name, access); ok && catalog.Has(base) {
				hint = `; write {"` + base + `": "` + access[1:] + `"}`
			}
		}
	}
	if hint == "" {
		hint = "; GET /v1/resources lists the resources"
	}
	return badParam(at, "unknown resource %s%s", shown(name), hint)
}

// viewPermissions is the wire form: nil is unrestricted, empty is none.
func viewPermissions(p *policy.Permissions) map[string]string {
	if p == nil {
		return nil
	}
	out := map[string]string{}
	for name, access := range p.Map() {
		out[name] = access.String()
	}
	return out
}
