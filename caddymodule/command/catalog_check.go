package command

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/policy/openapi"
)

func catalogCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE [--routes]",
		Short: "Checks an OpenAPI file as a source of the catalog",
		Long: `
Reads an OpenAPI 3 file, YAML or JSON, as the gateway would, and prints the
resources that it gives, with --routes also which route needs what. FILE - is
standard input. Mistakes are printed with their lines, and give exit code 1. No
gateway is asked, and override blocks of a Caddyfile are not looked at: 'keystile
validate' checks both together.`,
		Example: `
  keystile catalog check openapi.yaml
  keystile catalog check openapi.json --routes`,
	}
	cmd.Flags().Bool("routes", false, "List every route")
	return leaf(cmd, []string{"FILE"}, func(c *call) error {
		rules, err := c.loadRules(c.arg(0))
		if err != nil {
			return c.mistakes(err)
		}
		catalog, err := policy.NewCatalog(rules, nil)
		if err != nil {
			return c.mistakes(err)
		}
		resources := resourcesOf(catalog)
		if c.json {
			doc, err := json.Marshal(api.List[api.Resource]{Object: "list", Data: resources})
			if err != nil {
				return fmt.Errorf("writing the resources: %w", err)
			}
			return c.out.raw(doc)
		}
		c.showResources(resources)
		c.note.linef("%s: %d routes, %d resources", clean(c.arg(0)), len(rules), len(resources))
		return nil
	})
}

// loadRules reads the rules of a file, or of standard input for "-".
func (c *call) loadRules(name string) ([]policy.Rule, error) {
	if name != "-" {
		return openapi.Load(name)
	}
	data, err := c.stdin("the OpenAPI file")
	if err != nil {
		return nil, err
	}
	return openapi.Parse("standard input", data)
}

// mistakes prints each of the joined errors on a line of its own, and returns what sums them up.
func (c *call) mistakes(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) == 1 {
		return err
	}
	for _, mistake := range joined.Unwrap() {
		c.note.linef("%s", clean(mistake.Error()))
	}
	return fmt.Errorf("%s has %d mistakes", c.arg(0), len(joined.Unwrap()))
}

// resourcesOf is the catalog in the form of GET /v1/resources.
func resourcesOf(catalog *policy.Catalog) []api.Resource {
	list := []api.Resource{}
	for _, r := range catalog.Resources() {
		out := api.Resource{Object: "resource", Name: r.Name, Access: []string{}, Routes: []api.Route{}}
		if r.Read {
			out.Access = append(out.Access, policy.AccessRead.String())
		}
		if r.Write {
			out.Access = append(out.Access, policy.AccessWrite.String())
		}
		for _, route := range r.Routes {
			out.Routes = append(out.Routes, api.Route{
				Method: route.Method, Pattern: route.Pattern, Access: route.Access.String(), Publishable: route.Publishable,
			})
		}
		list = append(list, out)
	}
	return list
}
