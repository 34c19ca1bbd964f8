package command

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/keystore"
)

func masterKeyCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "master-key",
		Usage: "<verb>",
		Short: "Shows and rotates the master key",
		Long: strings.TrimSpace(`
Shows and rotates the master key, under which everything is sealed that can be read
again: tokens that can be revealed, passwords and authenticator secrets of members,
secrets of webhook endpoints, signing keys, saved answers. Requests go on meanwhile.

A gateway with a store of its own needs one command: rotate. In a fleet every node
needs the new key before one of them seals under it: add on one node, copy the keyset
to the others and reload there, then promote on one, and prune on one when a day has
passed. After a prune, copy the keyset once more and reload.

Backups that are older than a rotation need the keyset of their time. A backup's
manifest names its key; keep a copy of that keyset as long as the backup, apart from
it, or take a new backup and destroy both.

These work only at the gateway's own admin endpoint, not with --url.`),
		CobraFunc: func(cmd *cobra.Command) {
			for _, verb := range []func() *cobra.Command{
				masterKeyStatus, masterKeyRotate, masterKeyAdd, masterKeyReload, masterKeyPromote, masterKeyPrune,
			} {
				cmd.AddCommand(verb())
			}
			cmd.RunE = func(cmd *cobra.Command, args []string) error { return finish(cmd, verbError(cmd, args)) }
			addConnection(cmd.PersistentFlags())
			seal(cmd)
		},
	}
}

func masterKeyStatus() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "status",
		Short:   "Shows which key seals, and what is still sealed under others",
		Long:    `Shows which key seals, which waits, and what is still sealed under others.`,
		Example: `  keystile master-key status`,
	}, nil, func(c *call) error {
		answer, err := c.masterKey("GET", "", nil)
		if err != nil {
			return err
		}
		return show(c, answer, func(k *api.MasterKey) error {
			c.showMasterKey(k)
			return nil
		})
	})
}

func masterKeyRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replaces the master key of a gateway with a store of its own",
		Long: `
Makes a new master key, seals everything anew under it, and drops the old one. If it
is cut off, by a crash or a full disk, everything can be read as before, and the same
command goes on from there. Refused while other nodes use the store.`,
		Example: `
  keystile master-key rotate
  keystile master-key rotate --keep-old`,
	}
	cmd.Flags().Bool("keep-old", false, "Keep the old key in the keyset, for backups that are sealed under it")
	return leaf(cmd, nil, func(c *call) error {
		keep, _ := c.flags().GetBool("keep-old")
		return c.masterKeyStep("rotate", body{"keep_old": keep})
	})
}

func masterKeyAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Adds a key that waits",
		Long: `
Adds a key to the keyset that waits: it opens, and does not seal yet. If one waits
already, nothing is done.

With --file it is added to a keyset in a file, and no gateway is asked: for keysets
that are kept in an environment variable or by another program. Nothing of the keyset
is printed.`,
		Example: `
  keystile master-key add
  keystile master-key add --file keyset.json`,
	}
	cmd.Flags().String("file", "", "Change the keyset in this `FILE` (mode 0600)")
	return leaf(cmd, nil, func(c *call) error {
		file, _ := c.flags().GetString("file")
		if file == "" {
			return c.masterKeyStep("add", body{})
		}
		id, err := keystore.AddToMasterKeyFile(file)
		if err != nil {
			return err
		}
		c.out.linef("key %d waits in %s", id, clean(file))
		return nil
	})
}

func masterKeyReload() *cobra.Command {
	return leaf(&cobra.Command{
		Use:   "reload",
		Short: "Reads the keyset again",
		Long: `
Reads the keyset again, on a node to which it was copied. A keyset that does not open
what the store holds is refused, and the one in use stays.`,
		Example: `  keystile master-key reload`,
	}, nil, func(c *call) error { return c.masterKeyStep("reload", body{}) })
}

func masterKeyPromote() *cobra.Command {
	return leaf(&cobra.Command{
		Use:   "promote",
		Short: "Takes the key that waits into use, and seals everything anew",
		Long: `
Takes the key that waits into use, on all nodes at once, and seals everything anew
that is sealed under another. Refused while a node does not have the key. Repeated,
it seals anew what is left.`,
		Example: `  keystile master-key promote`,
	}, nil, func(c *call) error { return c.masterKeyStep("promote", body{}) })
}

func masterKeyPrune() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Drops the keys that nothing is sealed under",
		Long: `
Drops all keys but the one that seals. Refused while something is sealed under one of
them: in a fleet, saved answers are, for up to 24 hours after a promote.

With --file and --keep, all keys but one are dropped from a keyset in a file, and no
gateway is asked. See first, by status, that nothing is sealed under them.`,
		Example: `
  keystile master-key prune
  keystile master-key prune --file keyset.json --keep 2718281828`,
	}
	cmd.Flags().String("file", "", "Change the keyset in this `FILE` (mode 0600)")
	cmd.Flags().String("keep", "", "With --file: the `NUMBER` of the key that stays")
	return leaf(cmd, nil, func(c *call) error {
		file, _ := c.flags().GetString("file")
		keep, _ := c.flags().GetString("keep")
		if (file == "") != (keep == "") {
			return misuse("--file and --keep go together")
		}
		if file == "" {
			return c.masterKeyStep("prune", body{})
		}
		id, err := strconv.ParseUint(keep, 10, 32)
		if err != nil {
			return misuse("--keep is not the number of a key: see status")
		}
		if err := keystore.PruneMasterKeyFile(file, uint32(id)); err != nil {
			return err
		}
		c.out.linef("key %d is the only one left in %s", id, clean(file))
		return nil
	})
}

// masterKey makes one call. Sealing a big store anew takes its time: the answer is waited for.
func (c *call) masterKey(method, step string, b any) ([]byte, error) {
	if remote, _ := c.flags().GetString("url"); remote != "" {
		return nil, misuse("the master key is managed at the gateway's own admin endpoint: --url does not go with it")
	}
	conn, err := c.connect()
	if err != nil {
		return nil, err
	}
	path := pathTo("master_key")
	if step != "" {
		path = pathTo("master_key", step)
	}
	resp, err := conn.send(c.context(), method, path, nil, b)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return answer, nil
}

func (c *call) masterKeyStep(step string, b body) error {
	answer, err := c.masterKey("POST", step, b)
	if err != nil {
		return err
	}
	return show(c, answer, func(done *api.MasterKeyDone) error {
		if n := sealedWords(&done.Resealed); n != "" {
			c.out.linef("sealed anew: %s", n)
		}
		c.showMasterKey(&done.Now)
		return nil
	})
}

func (c *call) showMasterKey(k *api.MasterKey) {
	c.out.linef("keyset:   %s", clean(k.Source))
	c.out.linef("primary:  %d", k.Primary)
	if k.Waiting != nil {
		c.out.linef("waiting:  %d", *k.Waiting)
	}
	for _, id := range k.Keys {
		if id != k.Primary && (k.Waiting == nil || id != *k.Waiting) {
			c.out.linef("old:      %d", id)
		}
	}
	if n := sealedWords(&k.Old); n != "" {
		c.out.linef("sealed under old keys: %s", n)
	} else {
		c.out.linef("nothing is sealed under old keys")
	}
	if k.Old.KeptUntil != nil {
		c.out.linef("the last of the saved answers is destroyed by %s", moment(k.Old.KeptUntil))
	}
	if len(k.Nodes) < 2 {
		return
	}
	for _, n := range k.Nodes {
		state := "has not said which keys it has"
		if n.Primary != nil {
			state = fmt.Sprintf("seals under %d, has %s", *n.Primary, strings.Trim(fmt.Sprint(n.Keys), "[]"))
		}
		c.out.linef("node %s %s", clean(n.Node), state)
	}
}

// sealedWords counts in words, "" for nothing.
func sealedWords(n *api.MasterKeySealed) string {
	var words []string
	for _, part := range []struct {
		count int
		noun  string
	}{{n.Keys, "tokens"}, {n.Members, "members"}, {n.Webhooks, "webhook endpoints"}, {n.Kept, "saved answers and the like"}} {
		if part.count > 0 {
			words = append(words, fmt.Sprintf("%d %s", part.count, part.noun))
		}
	}
	if n.SigningKeys {
		words = append(words, "the signing keys")
	}
	return strings.Join(words, ", ")
}
