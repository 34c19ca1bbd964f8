package command

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

func keyCommand() caddycmd.Command {
	return group("key", "Manages API keys", `
Manages API keys: secret, publishable and restricted keys of an account, and
organization keys.

A key's token is printed once, by the command that makes it, and for some keys
again by 'key reveal'. No command takes a token as an argument; 'key import' reads
tokens from a file or from standard input.`,
		keyCreate, keyList, keyGet, keyEdit, keyDelete, keyReveal, keyRotate, keyScheduleRotation, keyUnscheduleRotation,
		keyEndRotation, keyUsage, keyDuplicate, keyImport, keyExport)
}

func keyList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "Lists keys, newest first",
		Long:  `Lists keys, newest first, with their masks. The filters can be combined.`,
		Example: `
  keystile key list --account acct_9fKq2LmZx81TnWvB --mode live
  keystile key list --status expiring --all
  keystile key list --query billing --json`,
	}
	fs := cmd.Flags()
	fs.String("account", "", "Only keys of this `ACCOUNT`")
	fs.String("organization", "", "Only keys of this `ORGANIZATION` itself, not of its accounts")
	fs.String("sandbox", "", "Only keys of this `SANDBOX`")
	fs.String("mode", "", "Only keys of this `MODE`: live or sandbox")
	fs.String("kind", "", "Only keys of this `KIND`: secret, publishable, restricted or organization")
	fs.String("status", "", "Only keys of this `STATUS`: active, expiring, expired or deleted")
	fs.String("query", "", "Only keys whose name, note, id or last four characters contain `TEXT`")
	addPaging(fs)
	return leaf(cmd, nil, func(c *call) error {
		query := make(url.Values)
		c.filter(query, "account", "organization", "sandbox", "mode", "kind", "status", "query")
		head := []string{"ID", "KIND", "MODE", "STATUS", "TOKEN", "OWNER", "EXPIRES", "LAST USED", "NAME"}
		return list(c, pathTo("keys"), query, head, func(k *api.Key) []string {
			return []string{k.ID, k.Kind, k.Mode, k.Status, k.TokenMasked, ownerOf(k), remaining(k), moment(k.LastUsedAt), k.Name}
		})
	})
}

func keyGet() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "get KEY",
		Short:   "Shows one key",
		Long:    `Shows one key by its id: rights, limits, life and last use. It shows the mask, not the token.`,
		Example: `  keystile key get key_3Jd8sVwQ0xTnB6Lm`,
	}, []string{"KEY"}, func(c *call) error {
		id, err := c.id(0, "key_")
		if err != nil {
			return err
		}
		answer, err := c.get(pathTo("keys", id), nil)
		if err != nil {
			return err
		}
		return show(c, answer, c.showKey)
	})
}

func keyDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete KEY",
		Short: "Deletes a key at once and for good",
		Long: `
Deletes a key. No request that starts after this command has returned is accepted
with it. There is no way back; the record stays, so that its log stays readable.
Publishable keys cannot be deleted, only rotated.`,
		Example: `  keystile key delete key_3Jd8sVwQ0xTnB6Lm`,
	}
	addWait(cmd.Flags(), "fleet")
	return leaf(cmd, []string{"KEY"}, func(c *call) error {
		id, err := c.id(0, "key_")
		if err != nil {
			return err
		}
		answer, err := c.do("DELETE", pathTo("keys", id), c.wait(), nil)
		if err != nil {
			return err
		}
		return show(c, answer, func(k *api.Key) error {
			c.out.linef("deleted %s", id)
			c.nodeNotice(k.Nodes)
			return nil
		})
	})
}

func ownerOf(k *api.Key) string {
	if k.Organization != nil {
		return *k.Organization
	}
	return text(k.Account)
}

// tokenText is the token where the answer has one, else the mask.
func tokenText(k *api.Key) string {
	if k.Token != "" {
		return string(k.Token)
	}
	return k.TokenMasked
}

// addWait adds the flag that says on which nodes of a fleet a change must be in force before the command returns.
func addWait(fs *pflag.FlagSet, standard string) {
	fs.String("wait", "", "Return when the change is in force on every live node (`fleet`), or on the one that is asked (node); default: "+standard)
}

// wait is the query that --wait asks for.
func (c *call) wait() url.Values {
	where, _ := c.flags().GetString("wait") // "" where a command has no such flag
	if where == "" {
		return nil
	}
	return url.Values{"wait": {where}}
}

// nodeNotice names the nodes of a fleet on which a change is not in force yet.
func (c *call) nodeNotice(nodes []api.Node) {
	for _, node := range nodes {
		if !node.Applied {
			c.warn("Node %s has not applied the change yet: it may still accept the old rights.", node.ID)
		}
	}
}

func (c *call) showKey(k *api.Key) error {
	rows := []field{
		{"id", k.ID},
		{"kind", k.Kind},
		{"mode", k.Mode},
		{"status", k.Status},
		{"account", text(k.Account)},
		{"organization", text(k.Organization)},
		{"sandbox", text(k.Sandbox)},
		{"name", k.Name},
		{"note", k.Note},
		{"token", tokenText(k)},
	}
	if k.Kind == "restricted" || k.Kind == "organization" {
		rows = append(rows,
			field{"permissions", permissionText(k.Permissions)},
			field{"on connected accounts", permissionText(k.ConnectedPermissions)})
	}
	revealable := ""
	if k.Revealable {
		revealable = "yes"
	}
	rows = append(rows,
		field{"IP ranges", strings.Join(k.IPRanges, " ")},
		field{"allowed origins", strings.Join(k.AllowedOrigins, " ")},
		field{"created", moment(&k.CreatedAt)},
		field{"created by", k.CreatedBy},
		field{"expires", expiryText(k)},
		field{"last used", strings.TrimSpace(moment(k.LastUsedAt) + " " + text(k.LastUsedIP))},
		field{"rate limit", keyRateText(k.RateLimit)},
		field{"metadata", pairText(k.Metadata)},
		field{"rotated next", scheduleText(k.Rotation.Schedule)},
		field{"replaces", text(k.Rotation.Predecessor)},
		field{"replaced by", text(k.Rotation.Successor)},
		field{"revealable", revealable},
	)
	c.out.fields(rows...)
	return nil
}

// permissionText is a permission list for people. null is no restriction, an empty list is no right at all.
func permissionText(permissions map[string]string) string {
	switch {
	case permissions == nil:
		return "unrestricted"
	case len(permissions) == 0:
		return "none"
	}
	return pairText(permissions)
}

// pairText writes a map as name=value pairs, sorted.
func pairText(m map[string]string) string {
	pairs := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, name+"="+m[name])
	}
	return strings.Join(pairs, " ")
}
