package command

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

func eventCommand() caddycmd.Command {
	return group("event", "Reads and verifies the audit trail", `
Reads the audit trail: one event for each change of an organization, an account, a
sandbox, a key and the rest, with who made it, from where, and what was before and
after. Events hold no tokens. Each holds the hash of the one before it.`,
		eventList, eventGet, eventVerify, eventExport)
}

var eventFilters = []struct{ name, usage string }{
	{"type", "Only events of this `TYPE`, as key.created, or key.* for all of a noun"},
	{"actor", "Only what was done by this `ACTOR`: an id, a name or a kind"},
	{"object", "Only what changed the object with this `ID`"},
	{"account", "Only what belongs to this `ACCOUNT`"},
	{"organization", "Only what belongs to this `ORGANIZATION`"},
	{"since", "Not before this `TIME`, or a duration back from now as 24h"},
	{"until", "Before this `TIME`, or a duration back from now"},
}

func addEventFilters(fs *pflag.FlagSet) {
	for _, f := range eventFilters {
		fs.String(f.name, "", f.usage)
	}
}

func (c *call) eventQuery() url.Values {
	query := make(url.Values)
	for _, f := range eventFilters {
		c.filter(query, f.name)
	}
	return query
}

func eventList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [filters]",
		Short: "Lists events, newest first",
		Long:  `Lists events, newest first. The filters can be combined.`,
		Example: `
  keystile event list --object key_3Jd8sVwQ0xTnB6Lm
  keystile event list --type 'key.*' --since 24h --all --json`,
	}
	addEventFilters(cmd.Flags())
	addPaging(cmd.Flags())
	return leaf(cmd, nil, func(c *call) error {
		head := []string{"TIME", "ID", "TYPE", "OBJECT", "ACTOR", "ADDRESS"}
		return list(c, pathTo("events"), c.eventQuery(), head, func(e *api.Event) []string {
			return []string{stamp(e.Time), e.ID, e.Type, e.Object, actorText(&e.Actor), e.Actor.Address}
		})
	})
}

func actorText(a *api.EventActor) string {
	switch {
	case a.Name != "":
		return a.Name
	case a.ID != "":
		return a.ID
	}
	return a.Kind
}

func eventGet() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "get EVENT",
		Short:   "Shows one event",
		Long:    `Shows one event by its id, with what was before and after.`,
		Example: `  keystile event get evt_3Jd8sVwQ0xTnB6Lm`,
	}, []string{"EVENT"}, func(c *call) error {
		id, err := c.id(0, "evt_")
		if err != nil {
			return err
		}
		answer, err := c.get(pathTo("events", id), nil)
		if err != nil {
			return err
		}
		return show(c, answer, c.showEvent)
	})
}

func (c *call) showEvent(e *api.Event) error {
	c.out.fields(
		field{"id", e.ID},
		field{"type", e.Type},
		field{"time", stamp(e.Time)},
		field{"object", e.Object},
		field{"account", e.Account},
		field{"organization", e.Organization},
		field{"actor", e.Actor.Kind},
		field{"actor id", e.Actor.ID},
		field{"actor name", e.Actor.Name},
		field{"address", e.Actor.Address},
		field{"before", jsonText(e.Before)},
		field{"after", jsonText(e.After)},
		field{"place", strconv.FormatUint(e.Seq, 10)},
		field{"revision", strconv.FormatUint(e.Revision, 10)},
		field{"previous", e.Previous},
		field{"hash", e.Hash},
	)
	return nil
}

func jsonText(m map[string]any) string {
	if len(m) == 0 {
		return ""
	}
	text, err := json.Marshal(m)
	if err != nil {
		return "" // it came as JSON
	}
	return string(text)
}

func eventExport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [filters]",
		Short: "Writes events as JSON Lines or CSV, oldest first",
		Long: `
Writes events, oldest first. The lines of JSON are the stored bytes: without
filters, the SHA-256 of each is the "previous" of the next one.`,
		Example: `
  keystile event export -o events.jsonl
  keystile event export --type 'key.*' --since 720h -o keys.csv`,
	}
	addEventFilters(cmd.Flags())
	addExport(cmd.Flags())
	return leaf(cmd, nil, func(c *call) error { return c.export(pathTo("events", "export"), c.eventQuery()) })
}

func eventVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [--after PLACE]",
		Short: "Verifies that no event was changed, removed or moved",
		Long: `
Walks along the whole chain of events. The exit code is 1 if something is amiss.

Who can rewrite the whole store can also make a new chain. Against that, keep the
place that this command prints somewhere else, and give it with --after the next
time: then everything up to there must still be as it was.`,
		Example: `
  keystile event verify
  keystile event verify --after "$(cat place.txt)" --json`,
	}
	cmd.Flags().String("after", "", "`PLACE` that an earlier verification printed: begin there")
	return leaf(cmd, nil, verifyEvents)
}

func verifyEvents(c *call) error {
	query := make(url.Values)
	c.filter(query, "after")
	progress := c.progress()
	defer progress.done()
	var sum api.EventVerification
	for checked := uint64(0); ; {
		answer, err := c.get(pathTo("events", "verify"), query)
		if err != nil {
			return err
		}
		sum = api.EventVerification{}
		if err := json.Unmarshal(answer, &sum); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		checked += sum.Checked
		sum.Checked = checked
		if sum.Complete || !sum.Intact {
			break
		}
		if query.Get("after") == sum.Place {
			return fmt.Errorf("the verification does not come any further than %s", clean(sum.Place))
		}
		query.Set("after", sum.Place)
		progress.updatef("Verified %d of %d events", sum.Checked, sum.Events)
	}
	progress.done()
	switch {
	case c.json:
		text, err := json.Marshal(sum)
		if err != nil {
			return err
		}
		if err := c.out.raw(text); err != nil {
			return err
		}
	case sum.Intact:
		c.out.linef("%d events are in order", sum.Checked)
		c.out.linef("place: %s", clean(sum.Place))
	case sum.FirstBad != nil:
		c.out.linef("event %d %s: %s", sum.FirstBad.Seq, clean(orDash(text(sum.FirstBad.ID))), clean(sum.FirstBad.Reason))
		c.out.linef("in order up to: %s", clean(sum.Place))
	}
	if !sum.Intact {
		return errNegative
	}
	return nil
}
