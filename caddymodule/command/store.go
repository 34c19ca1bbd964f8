package command

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/pgstore"
)

func storeCommand() caddycmd.Command {
	return group("store", "Copies the key store, and makes master keys", `
Copies the key store from one kind of backend to another, while the gateway is
stopped, and makes the master key that the gateways of a fleet share.`,
		storeCopy, storeMasterKey)
}

func storeMasterKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new-master-key [--base64]",
		Short: "Prints a new master key",
		Long: `
Prints a new master key, to be kept where the gateways of a fleet find it: in a
file with mode 0600 (master_key file), or in an environment variable (master_key
env), for which --base64 writes it in one line. Nothing else is made or changed.
A gateway of its own needs none: it makes one at its first start.`,
		Example: `
  (umask 077 && keystile store new-master-key > /etc/keystile/master.key)
  keystile store new-master-key --base64 | vault kv put secret/keystile master-key=-`,
	}
	cmd.Flags().Bool("base64", false, "Write it in one line")
	return leaf(cmd, nil, func(c *call) error {
		text, err := keystore.NewMasterKeyset()
		if err != nil {
			return err
		}
		if oneLine, _ := c.flags().GetBool("base64"); oneLine {
			text = []byte(base64.StdEncoding.EncodeToString(text))
		}
		c.out.linef("%s", bytes.TrimSpace(text))
		return nil
	})
}

func storeCopy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy --from STORE --to STORE",
		Short: "Copies all of a key store to an empty one, and compares them",
		Long: `
Copies all of a key store to an empty one: keys and all other objects, the whole
chain of events, when keys were last used, and saved answers. Then it reads both
through and compares them. The source is not changed.

A STORE is bolt:FILE or postgres:ADDRESS. Placeholders such as {env.DSN} and
{file./run/secrets/dsn} are replaced; an address with a password is better not an
argument. The master key is not copied: all gateways of a fleet need the same one,
so take the file with you.

All gateways that use one of the two must be stopped.`,
		Example: `
  keystile store copy --from bolt:/var/lib/caddy/keystile/keys.db --to 'postgres:{env.KEYSTILE_DSN}'
  keystile store copy --from postgres://keystile@db.example.com/keystile --to bolt:keys.db`,
	}
	fs := cmd.Flags()
	fs.String("from", "", "The `STORE` to copy (required)")
	fs.String("to", "", "The empty `STORE` to copy to (required)")
	return leaf(cmd, nil, runStoreCopy)
}

func runStoreCopy(c *call) (err error) {
	ctx := c.context()
	source, _ := c.flags().GetString("from")
	target, _ := c.flags().GetString("to")
	switch {
	case source == "" || target == "":
		return misuse("--from and --to are both needed: bolt:FILE or postgres:ADDRESS")
	case source == target:
		return misuse("--from and --to are the same")
	}
	from, err := openPlace(ctx, "--from", source, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := openPlace(ctx, "--to", target, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	p := c.progress()
	moved, err := keystore.Move(ctx, from, to, p.updatef)
	p.done()
	if err != nil {
		return err
	}
	c.out.linef("copied and compared: %d objects, %d events, %d last uses, %d saved answers, revision %d",
		moved.Rows, moved.Events, moved.Usage, moved.Kept, moved.Head.Revision)
	c.note.linef("The new store needs the same master key as the old one.")
	return nil
}

// openPlace opens a store by its name on the command line.
func openPlace(ctx context.Context, flag, place string, there bool) (keystore.Backend, error) {
	kind, rest, _ := strings.Cut(place, ":")
	if kind == "postgresql" || kind == "postgres" && strings.HasPrefix(rest, "//") {
		kind, rest = "postgres", place
	}
	rest, err := caddy.NewReplacer().ReplaceOrErr(rest, true, true)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	rest = strings.TrimSpace(rest)
	switch kind {
	case "bolt":
		if rest == "" {
			return nil, misuse("%s: bolt: without a file", flag)
		}
		if there { // opening makes what is not there
			if _, err := os.Stat(rest); err != nil {
				return nil, fmt.Errorf("%s: %w", flag, err)
			}
		}
		b, err := boltstore.Open(rest, boltstore.Options{})
		if err != nil {
			return nil, fmt.Errorf("%s: %w; the gateway must be stopped", flag, err)
		}
		return b, nil
	case "postgres":
		b, err := pgstore.Open(ctx, rest)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		return b, nil
	}
	return nil, misuse("%s: a store is bolt:FILE or postgres:ADDRESS", flag) // not repeated: it may hold a password
}
