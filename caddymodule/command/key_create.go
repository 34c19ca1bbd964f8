package command

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keystile/keystile/admin/api"
)

func keyCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create (--account ACCOUNT | --organization ORGANIZATION) --mode MODE --kind KIND [flags]",
		Short: "Creates a key and prints its token",
		Long: `
Creates a secret, restricted or organization key and prints its token, which for
most live keys is the only time that it can be seen.

A restricted key has the permissions that --permission gives, and none without
one. An organization key without --permission is unrestricted; '--permissions none'
makes one that may do nothing yet. --connected-permission gives the rights on
connected accounts; without it a list of permissions reaches none of them.`,
		Example: `
  keystile key create --account acct_9fKq2LmZx81TnWvB --mode live --kind restricted --name billing \
      --permission charges=write --permission customers=read --ip 100.10.38.255 --note "vault: billing"
  keystile key create --organization org_Vh2RnXs0K3mQb7Ty --mode sandbox --kind organization --name reports \
      --permission charges=read,refunds=read --expire-in 90d
  keystile key create --account acct_9fKq2LmZx81TnWvB --mode live --kind secret --ip-ranges - < ranges.txt --token-only`,
	}
	fs := cmd.Flags()
	fs.String("account", "", "Id of the `ACCOUNT` that owns the key")
	fs.String("organization", "", "Id of the `ORGANIZATION` that owns the key (organization keys)")
	fs.String("mode", "", "`MODE`: live or sandbox (required)")
	fs.String("kind", "", "`KIND`: secret, restricted or organization (required)")
	fs.String("sandbox", "", "Id of the `SANDBOX`, in sandbox mode (default: the account's default sandbox)")
	addKeyFlags(fs)
	addTokenOnly(fs)
	return leaf(cmd, nil, func(c *call) error {
		req, err := newKeyRequest(c)
		if err != nil {
			return err
		}
		return c.keyWithToken("POST", pathTo("keys"), req)
	})
}

// newKeyRequest is the body of a create. Which kinds and modes there are and what goes with what is for the server to say;
// that something is missing altogether is misuse.
func newKeyRequest(c *call) (body, error) {
	fs := c.flags()
	if exclusive(fs.Changed("account"), fs.Changed("organization")) != 1 {
		return nil, misuse("one owner is wanted: --account or --organization")
	}
	for _, name := range []string{"mode", "kind"} {
		if value, _ := fs.GetString(name); value == "" {
			return nil, misuse("--%s is missing", name)
		}
	}
	owner, prefix := "account", "acct_"
	if fs.Changed("organization") {
		owner, prefix = "organization", "org_"
	}
	id, _ := fs.GetString(owner)
	if _, err := checkID("--"+owner, id, prefix); err != nil {
		return nil, err
	}
	req := make(body)
	for _, name := range []string{"account", "organization", "mode", "kind", "sandbox"} {
		req.setText(fs, name, name, true)
	}
	return req, req.setKey(c)
}

// addKeyFlags adds the flags of what can be said of a key both when it is made and later.
func addKeyFlags(fs *pflag.FlagSet) {
	fs.String("name", "", "`NAME` of the key; restricted keys must have one")
	fs.String("note", "", "`TEXT`: where the key was put, or anything else worth knowing")
	fs.StringArray("permission", nil, "`RESOURCE=ACCESS`, with access none, read or write; repeat it or separate by commas")
	fs.StringArray("permissions", nil, "The same as a `LIST`, or 'none' for no permission, or 'all' for no restriction (organization keys)")
	fs.StringArray("connected-permission", nil, "`RESOURCE=ACCESS` on connected accounts")
	fs.StringArray("connected-permissions", nil, "The same as a `LIST`, or 'none', or 'all'")
	fs.StringArray("ip", nil, "`ADDRESS` or CIDR range that may use the key; repeatable")
	fs.String("ip-ranges", "", "All `RANGES` as one text, by blanks or lines; - reads standard input")
	fs.StringArray("origin", nil, "`ORIGIN` that may use a publishable key, such as https://shop.example; repeatable")
	fs.String("expires-at", "", "`TIME` when the key ends, as 2027-01-31T12:00:00Z")
	fs.String("expire-in", "", "`DURATION` from now after which the key ends, as 24h or 90d")
	fs.String("rate-limit", "", "`N` requests a second for this key alone, in place of its account's limit")
	fs.StringArray("metadata", nil, "`NAME=VALUE` to keep with the key; repeatable")
}

// addNoLimitFlags adds the flags by which an edit lifts what was set before.
func addNoLimitFlags(fs *pflag.FlagSet) {
	fs.Bool("no-ip-restriction", false, "Let the key be used from any address")
	fs.Bool("no-origin-restriction", false, "Let the key be used from any origin")
	fs.Bool("no-expiry", false, "Let the key never end")
	fs.Bool("no-rate-limit", false, "Let the key draw on its account's limit")
	fs.Bool("no-metadata", false, "Remove all metadata")
}

// setKey sets the fields of addKeyFlags and addNoLimitFlags.
func (b body) setKey(c *call) error {
	fs := c.flags()
	b.setText(fs, "name", "name", false)
	b.setText(fs, "note", "note", false)
	if err := b.setPermissions(fs, "permission", "permissions", "permissions"); err != nil {
		return err
	}
	if err := b.setPermissions(fs, "connected-permission", "connected-permissions", "connected_permissions"); err != nil {
		return err
	}
	if err := b.setIPRanges(c); err != nil {
		return err
	}
	if err := b.setOrigins(fs); err != nil {
		return err
	}
	if err := b.setExpiry(c); err != nil {
		return err
	}
	if err := b.setKeyRate(fs); err != nil {
		return err
	}
	return b.setMetadata(fs)
}

// addTokenOnly adds --token-only, for pipes into a vault.
func addTokenOnly(fs *pflag.FlagSet) {
	fs.Bool("token-only", false, "Print the token and nothing else, to pipe it into a vault")
}

// keyWithToken makes a call whose answer is a key with its token, and prints it.
func (c *call) keyWithToken(method, path string, req body) error {
	only, _ := c.flags().GetBool("token-only")
	if only && c.json {
		return misuse("--token-only and --json exclude each other")
	}
	answer, err := c.do(method, path, c.wait(), req)
	if err != nil {
		return err
	}
	var k api.Key
	if err := json.Unmarshal(answer, &k); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch {
	case only:
		c.out.linef("%s", clean(string(k.Token)))
	case c.json:
		err = c.out.raw(answer)
	default:
		err = c.showKey(&k)
	}
	if err != nil {
		return err
	}
	if k.Notice != "" && !c.json {
		c.warn("Note: %s.", k.Notice)
	}
	c.nodeNotice(k.Nodes)
	c.tokenNotice(k.Revealable)
	return nil
}
