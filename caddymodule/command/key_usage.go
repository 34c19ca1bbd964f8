package command

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keystile/keystile/admin/api"
)

func keyUsage() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "usage KEY [--since TIME]",
		Short: "Shows who uses a key",
		Long: `
Shows who has used a key lately, by address and user agent, from the request
records, the latest first. Look here before a key is deleted or a rotation ended.`,
		Example: `
  keystile key usage key_3Jd8sVwQ0xTnB6Lm
  keystile key usage key_3Jd8sVwQ0xTnB6Lm --since 7d`,
	}
	cmd.Flags().String("since", "1h", "Look at records from this `TIME` on: a time, a date, or how long ago, as 24h or 7d")
	return leaf(cmd, []string{"KEY"}, func(c *call) error {
		id, err := c.id(0, "key_")
		if err != nil {
			return err
		}
		since, _ := c.flags().GetString("since")
		answer, err := c.get(pathTo("keys", id, "usage"), url.Values{"since": {since}})
		if err != nil {
			return err
		}
		return show(c, answer, func(u *api.KeyUsage) error {
			c.out.fields(
				field{"key", u.Key},
				field{"last used", strings.TrimSpace(moment(u.LastUsedAt) + " " + text(u.LastUsedIP))})
			if len(u.Users) == 0 {
				c.out.linef("nobody has used it since %s", moment(&u.Since))
				return nil
			}
			c.out.table(usersHead, usersRows(u.Users)...)
			if !u.Complete {
				c.warn("There is more: these are the latest.")
			}
			return nil
		})
	})
}

var usersHead = []string{"LAST USED", "ADDRESS", "REQUESTS", "USER AGENT"}

func usersRows(users []api.KeyUser) [][]string {
	rows := make([][]string, 0, len(users))
	for _, u := range users {
		rows = append(rows, []string{moment(&u.LastUsedAt), text(u.ClientAddress), strconv.Itoa(u.Requests), u.UserAgent})
	}
	return rows
}

// showUsersOf prints who uses the key that a refused command was about.
func (c *call) showUsersOf(err error) {
	var refused *apiError
	if errors.As(err, &refused) && len(refused.Users) > 0 {
		c.note.table(usersHead, usersRows(refused.Users)...)
	}
}

// expiryText is when a key ends, and how long that is from now.
func expiryText(k *api.Key) string {
	text := moment(k.ExpiresAt)
	if left := remaining(k); left != "" {
		text += " (" + left + ")"
	}
	return text
}

// remaining is how long a key still works, rounded down to one unit: "in 3 h"; "" if it has no end, or has ended.
func remaining(k *api.Key) string {
	if k.ExpiresIn == nil {
		return ""
	}
	d := time.Duration(*k.ExpiresIn) * time.Second
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= 2*unit.of || d >= unit.of && unit.of < 24*time.Hour {
			return fmt.Sprintf("in %d %s", d/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("in %d s", d/time.Second)
}

// scheduleText says when a key is rotated by itself.
func scheduleText(s *api.RotationSchedule) string {
	if s == nil {
		return ""
	}
	text := moment(&s.NextAt)
	if s.EveryDays != nil {
		text += fmt.Sprintf(", every %d days", *s.EveryDays)
	}
	return text + ", overlap " + s.Overlap
}
