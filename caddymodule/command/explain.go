package command

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

func explainCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "explain",
		Usage: "(--key KEY | --token-stdin | --no-key) METHOD PATH [flags]",
		Short: "Says whether a key may make a request, and why",
		Long: strings.TrimSpace(`
Asks the gateway what it would do with a request, and why. The request is not
made. The key is named by its id, or its token is read from standard input; with
--no-key the request has none.

The exit code is 0 whether or not the request would be allowed; with --exit-code it
is 1 if it would not be. With --url, the admin token comes from KEYSTILE_TOKEN:
--token-stdin is the token of the key here.`),
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Example = `
  keystile explain --key key_3Jd8sVwQ0xTnB6Lm GET /v1/charges/ch_1
  keystile explain --token-stdin POST /v1/charges < token.txt
  keystile explain --key key_3Jd8sVwQ0xTnB6Lm POST /v1/charges --client-address 203.0.113.9 --exit-code`
			fs := cmd.Flags()
			fs.String("key", "", "Id of the `KEY`")
			fs.Bool("token-stdin", false, "Read the key's token from standard input")
			fs.Bool("no-key", false, "Ask about a request without a key")
			fs.String("client-address", "", "`ADDRESS` that the request would come from")
			fs.String("context", "", "Account that it would name, as `ACCOUNT` or ACCOUNT/CONNECTED")
			fs.String("origin", "", "`ORIGIN` header that it would have")
			fs.String("version", "", "API `VERSION` that it would name")
			fs.String("host", "", "`HOST` of the site, if there are several")
			fs.Bool("exit-code", false, "Exit with 1 if the request would be refused")
			addAddress(fs)
			cmd.Annotations = map[string]string{ownTokenStdin: "yes"}
			leaf(cmd, []string{"METHOD", "PATH"}, explain)
			seal(cmd)
		},
	}
}

func explain(c *call) error {
	fs := c.flags()
	fromStdin, _ := fs.GetBool("token-stdin")
	noKey, _ := fs.GetBool("no-key")
	if exclusive(fs.Changed("key"), fromStdin, noKey) != 1 {
		return misuse("one key is wanted: --key KEY, or --token-stdin; or --no-key")
	}
	req := body{"method": strings.ToUpper(c.arg(0)), "path": c.arg(1)}
	if !strings.HasPrefix(c.arg(1), "/") {
		return misuse("PATH begins with a slash, such as /v1/charges")
	}
	for _, name := range []string{"client-address", "context", "origin", "version", "host"} {
		req.setText(fs, name, strings.ReplaceAll(name, "-", "_"), false)
	}
	switch {
	case fromStdin:
		token, err := c.secretLine("the key's token")
		if err != nil {
			return err
		}
		req["token"] = token
	case !noKey:
		id, _ := fs.GetString("key")
		if _, err := checkID("--key", id, "key_"); err != nil {
			return err
		}
		req["key"] = id
	}
	answer, err := c.do("POST", pathTo("explain"), nil, req)
	if err != nil {
		return err
	}
	err = show(c, answer, func(e *api.Explanation) error {
		verdict := "denied"
		if e.Allowed {
			verdict = "allowed"
		}
		reason := e.Decision
		if reason == verdict {
			reason = ""
		}
		c.out.fields(
			field{"verdict", verdict},
			field{"reason", reason},
			field{"required permission", text(e.RequiredPermission)},
			field{"account", text(e.Account)},
			field{"resource", strings.TrimSpace(text(e.Resource) + " " + text(e.Access))},
			field{"explanation", e.Explanation},
		)
		return nil
	})
	if err != nil {
		return err
	}
	if strict, _ := fs.GetBool("exit-code"); strict {
		allowed, err := isAllowed(answer)
		if err != nil {
			return err
		}
		if !allowed {
			return errNegative
		}
	}
	return nil
}

// isAllowed reads the verdict of an answer.
func isAllowed(answer []byte) (bool, error) {
	var e api.Explanation
	if err := json.Unmarshal(answer, &e); err != nil {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	return e.Allowed, nil
}
