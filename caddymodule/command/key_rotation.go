package command

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"

	"github.com/keystile/keystile/admin/api"
)

func keyEndRotation() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "end-rotation KEY [--force]",
		Short: "Ends a rotated key now, before its time",
		Long: `
Ends the old key of a rotation that has an overlap. No request that starts after
this command has returned is accepted with it. If it was used within the last
hour, the command says by whom and changes nothing, unless --force is given.
To move the end to another time, use 'key edit --expires-at'.`,
		Example: `
  keystile key end-rotation key_3Jd8sVwQ0xTnB6Lm
  keystile key end-rotation key_3Jd8sVwQ0xTnB6Lm --force`,
	}
	cmd.Flags().Bool("force", false, "End the key although it is in use")
	addWait(cmd.Flags(), "fleet")
	return leaf(cmd, []string{"KEY"}, func(c *call) error {
		id, err := c.id(0, "key_")
		if err != nil {
			return err
		}
		req := make(body)
		if force, _ := c.flags().GetBool("force"); force {
			req["force"] = true
		}
		answer, err := c.do("POST", pathTo("keys", id, "rotation", "end"), c.wait(), req)
		if err != nil {
			c.showUsersOf(err)
			return err
		}
		return show(c, answer, func(k *api.Key) error {
			c.out.linef("ended %s", id)
			c.nodeNotice(k.Nodes)
			return nil
		})
	})
}

func keyScheduleRotation() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schedule-rotation KEY (--at TIME | --in DURATION | --every-days N) [--overlap DURATION]",
		Short: "Tells a key to be rotated by itself, once or every N days",
		Long: `
Tells a key to be rotated by itself: once at a time, or every so many days from now
on. A repeated schedule goes over to each replacement. The replacement can be
revealed once; until the overlap ends, the old key works beside it.`,
		Example: `
  keystile key schedule-rotation key_3Jd8sVwQ0xTnB6Lm --every-days 90 --overlap 7d
  keystile key schedule-rotation key_3Jd8sVwQ0xTnB6Lm --at 2027-01-31T03:00:00Z`,
	}
	fs := cmd.Flags()
	fs.String("at", "", "Rotate once, at this `TIME`, as 2027-01-31T12:00:00Z")
	fs.String("in", "", "Rotate once, after this `DURATION`, as 12h or 30d")
	fs.Int("every-days", 0, "Rotate every `N` days")
	fs.String("overlap", "", "`DURATION` for which the old key goes on working, up to 7d (default: 24h)")
	return leaf(cmd, []string{"KEY"}, func(c *call) error {
		id, err := c.id(0, "key_")
		if err != nil {
			return err
		}
		req, err := newScheduleRequest(c)
		if err != nil {
			return err
		}
		answer, err := c.do("PUT", pathTo("keys", id, "rotation_schedule"), nil, req)
		if err != nil {
			return err
		}
		return show(c, answer, c.showKey)
	})
}

func newScheduleRequest(c *call) (body, error) {
	fs := c.flags()
	if exclusive(fs.Changed("at"), fs.Changed("in"), fs.Changed("every-days")) != 1 {
		return nil, misuse("one of --at, --in and --every-days is wanted")
	}
	req := make(body)
	switch {
	case fs.Changed("at"):
		text, _ := fs.GetString("at")
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, misuse("--at %q: want a time such as 2027-01-31T12:00:00Z", text)
		}
		req["at"] = at.UTC().Format(time.RFC3339Nano)
	case fs.Changed("in"):
		d, err := durationFlag(c, "in")
		if err != nil {
			return nil, err
		}
		if d == 0 {
			return nil, misuse("--in 0: to rotate now, use 'key rotate'")
		}
		req["at"] = c.now().Add(d).UTC().Format("2006-01-02T15:04:05.000Z07:00")
	default:
		days, _ := fs.GetInt("every-days")
		if days < 1 {
			return nil, misuse("--every-days %d: want 1 or more", days)
		}
		req["every_days"] = days
	}
	if fs.Changed("overlap") {
		d, err := durationFlag(c, "overlap")
		if err != nil {
			return nil, err
		}
		req["overlap"] = d.String()
	}
	return req, nil
}

// durationFlag reads a duration as Go writes it, and with d for days.
func durationFlag(c *call, name string) (time.Duration, error) {
	text, _ := c.flags().GetString(name)
	d, err := caddy.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, misuse("--%s %q: want a duration such as 24h or 7d", name, text)
	}
	return d, nil
}

func keyUnscheduleRotation() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "unschedule-rotation KEY",
		Short:   "Takes a key's rotation schedule away",
		Long:    `Takes a key's rotation schedule away. A key without one stays as it is.`,
		Example: `  keystile key unschedule-rotation key_3Jd8sVwQ0xTnB6Lm`,
	}, []string{"KEY"}, func(c *call) error {
		id, err := c.id(0, "key_")
		if err != nil {
			return err
		}
		answer, err := c.do("DELETE", pathTo("keys", id, "rotation_schedule"), nil, nil)
		if err != nil {
			return err
		}
		return show(c, answer, c.showKey)
	})
}
