package command

import (
	"github.com/spf13/cobra"

	"github.com/keystile/keystile/admin/api"
)

func keyEdit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edit KEY [flags]",
		Short: "Changes a key's name, rights, limits or expiry",
		Long: `
Changes a key. Only what a flag names is changed; a list (permissions, IP ranges,
origins) is replaced as a whole, metadata pair by pair, where NAME= removes a pair.
Kind, mode and owner never change. Once this command has returned, no request is
accepted under the old rights.`,
		Example: `
  keystile key edit key_3Jd8sVwQ0xTnB6Lm --permission charges=read
  keystile key edit key_3Jd8sVwQ0xTnB6Lm --permissions none
  keystile key edit key_3Jd8sVwQ0xTnB6Lm --ip 100.10.38.0/24 --ip 203.0.113.7
  keystile key edit key_3Jd8sVwQ0xTnB6Lm --no-ip-restriction --no-expiry`,
	}
	addKeyFlags(cmd.Flags())
	addNoLimitFlags(cmd.Flags())
	addWait(cmd.Flags(), "node")
	return leaf(cmd, []string{"KEY"}, func(c *call) error {
		id, err := c.id(0, "key_")
		if err != nil {
			return err
		}
		patch := make(body)
		if err := patch.setKey(c); err != nil {
			return err
		}
		if len(patch) == 0 {
			return errNothingToEdit
		}
		answer, err := c.do("PATCH", pathTo("keys", id), c.wait(), patch)
		if err != nil {
			return err
		}
		return show(c, answer, func(k *api.Key) error {
			err := c.showKey(k)
			if k.Notice != "" {
				c.warn("Note: %s.", k.Notice)
			}
			c.nodeNotice(k.Nodes)
			return err
		})
	})
}

func keyReveal() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reveal KEY",
		Short: "Prints a key's token, where that is still possible",
		Long: `
Prints the token of a key: of publishable and sandbox keys any number of times, of
an account's default live secret key and of a replacement that a schedule has made
once. Every other live key was shown when it was made, and is not kept.`,
		Example: `
  keystile key reveal key_3Jd8sVwQ0xTnB6Lm
  keystile key reveal key_3Jd8sVwQ0xTnB6Lm --token-only | vault kv put secret/api token=-`,
	}
	addTokenOnly(cmd.Flags())
	return leaf(cmd, []string{"KEY"}, func(c *call) error {
		id, err := c.id(0, "key_")
		if err != nil {
			return err
		}
		return c.keyWithToken("POST", pathTo("keys", id, "reveal"), body{})
	})
}

func keyRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate KEY [--expire-in DURATION | --expires-at TIME]",
		Short: "Replaces a key by a new one and prints its token",
		Long: `
Makes a replacement that works at once, and ends the old key: now, or at any time
up to seven days on. The replacement keeps permissions, IP ranges, note and
metadata. 'key usage' shows who still uses the old key, 'key end-rotation' ends it
early, and 'key edit --expires-at' moves its end.`,
		Example: `
  keystile key rotate key_3Jd8sVwQ0xTnB6Lm
  keystile key rotate key_3Jd8sVwQ0xTnB6Lm --expire-in 24h`,
	}
	cmd.Flags().String("expires-at", "", "`TIME` when the old key ends, as 2027-01-31T12:00:00Z (default: now)")
	cmd.Flags().String("expire-in", "", "`DURATION` from now after which the old key ends, as 24h or 7d")
	addTokenOnly(cmd.Flags())
	addWait(cmd.Flags(), "fleet if the old key ends now, else node")
	return leaf(cmd, []string{"KEY"}, func(c *call) error {
		id, err := c.id(0, "key_")
		if err != nil {
			return err
		}
		req := make(body)
		if in, _ := c.flags().GetString("expire-in"); in != "now" {
			if err := req.setExpiry(c); err != nil {
				return err
			}
		}
		return c.keyWithToken("POST", pathTo("keys", id, "rotate"), req)
	})
}

func keyDuplicate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "duplicate KEY [flags]",
		Short: "Makes a new restricted key from an existing one and prints its token",
		Long: `
Makes a new key with the name, rights and limits of an existing restricted key.
Flags say what shall differ.`,
		Example: `  keystile key duplicate key_3Jd8sVwQ0xTnB6Lm --name "billing 2" --permission charges=read`,
	}
	addKeyFlags(cmd.Flags())
	addNoLimitFlags(cmd.Flags())
	addTokenOnly(cmd.Flags())
	return leaf(cmd, []string{"KEY"}, func(c *call) error {
		id, err := c.id(0, "key_")
		if err != nil {
			return err
		}
		req := make(body)
		if err := req.setKey(c); err != nil {
			return err
		}
		return c.keyWithToken("POST", pathTo("keys", id, "duplicate"), req)
	})
}
