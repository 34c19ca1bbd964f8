package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keystile/keystile/keystore"
)

// defaultOverlap is how long an old key goes on beside its replacement if a schedule does not say. Nobody has seen the
// replacement yet when it is made: to end the old key at that moment must be asked for.
const defaultOverlap = 24 * time.Hour

// RotationSchedule says when a key is rotated by itself: once or every so many days.
type RotationSchedule struct {
	At        *time.Time `json:"at"`
	EveryDays *int       `json:"every_days"`
	Overlap   string     `json:"overlap"`
	NextAt    time.Time  `json:"next_at"`
}

// Schema is an object or null: the generator has no nullable objects.
func (RotationSchedule) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, Nullable: true,
		Properties: map[string]*huma.Schema{
			"at":         {Type: huma.TypeString, Format: "date-time", Nullable: true, Description: "Once, at this time"},
			"every_days": {Type: huma.TypeInteger, Nullable: true, Description: "Again and again"},
			"overlap":    {Type: huma.TypeString, Description: "How long the old key goes on working, such as 24h; at most 7 days"},
			"next_at":    {Type: huma.TypeString, Format: "date-time", Description: "When it will be rotated next"},
		},
		Required: []string{"at", "every_days", "overlap", "next_at"},
	}
}

// KeySchedule is the body that schedules rotations: at or every_days, and the overlap.
type KeySchedule struct {
	At        Optional[time.Time] `json:"at,omitzero" doc:"Once, at this time"`
	EveryDays Optional[int]       `json:"every_days,omitzero" doc:"Every so many days of 24 hours from now on; goes over to each replacement"`
	Overlap   Optional[string]    `json:"overlap,omitzero" doc:"How long the old key goes on working beside its replacement, such as 24h, 90m or 7d; at most 7 days, 0s is not at all. Default: 24h"`
}

type scheduleKeyInput struct {
	ID   string `path:"id" doc:"key_…"`
	Body KeySchedule
}

func (a *API) registerSchedule() {
	const tag = "keys"
	handle(a, operation{
		method: http.MethodPut, path: "/v1/keys/{id}/rotation_schedule", id: "schedule_key_rotation", tag: tag,
		summary: "Schedule rotations of a key", etag: true, precondition: true,
		description: "Replaces what was scheduled before. The replacement is made at that time, at most a minute late, and can be revealed once.",
		errors:      []int{http.StatusConflict},
	}, a.scheduleKey)
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/keys/{id}/rotation_schedule", id: "unschedule_key_rotation", tag: tag,
		summary: "Remove a key's rotation schedule", etag: true, precondition: true,
		description: "Answers the key. A key without a schedule stays as it is.",
		errors:      []int{http.StatusConflict},
	}, a.unscheduleKey)
}

func (a *API) scheduleKey(c *call, in *scheduleKeyInput) (Key, error) {
	k, ok := a.Store.Snapshot().Key(in.ID)
	if !ok {
		return Key{}, notFound("key", in.ID)
	}
	p := keystore.ScheduleParams{At: in.Body.At.Value, EveryDays: in.Body.EveryDays.Value, Overlap: defaultOverlap}
	if in.Body.EveryDays.Set && !in.Body.EveryDays.Null && p.EveryDays == 0 {
		return Key{}, badParam("every_days", "the days between two rotations are 1 to %d", keystore.MaxRotationDays)
	}
	var err error
	if in.Body.Overlap.Set && !in.Body.Overlap.Null {
		if p.Overlap, err = parseOverlap(in.Body.Overlap.Value); err != nil {
			return Key{}, badParam("overlap", "%s", err.Error())
		}
	}
	if p.IfRevision, err = c.ifRevision(k.Revision); err != nil {
		return Key{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	if k, err = a.Store.ScheduleRotation(ctx, c.actor, in.ID, p); err != nil {
		return Key{}, err
	}
	return c.viewChanged(k), nil
}

func (a *API) unscheduleKey(c *call, in *keyInput) (Key, error) {
	k, ok := a.Store.Snapshot().Key(in.ID)
	if !ok {
		return Key{}, notFound("key", in.ID)
	}
	revision, err := c.ifRevision(k.Revision)
	if err != nil {
		return Key{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	if k, err = a.Store.UnscheduleRotation(ctx, c.actor, in.ID, revision); err != nil {
		return Key{}, err
	}
	return c.viewChanged(k), nil
}

// viewSchedule is the wire form, null for none.
func viewSchedule(s *keystore.RotationSchedule) *RotationSchedule {
	if s == nil {
		return nil
	}
	out := &RotationSchedule{Overlap: overlapText(s.Overlap), NextAt: *stamp(s.At)}
	if s.EveryDays > 0 {
		out.EveryDays = &s.EveryDays
	} else {
		out.At = stamp(s.At)
	}
	return out
}

// parseOverlap reads a duration as Go writes it, or whole days as 7d.
func parseOverlap(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("overlap must be a duration such as 24h, 90m or 7d; at most 7 days")
	}
	return d, nil
}

// overlapText writes a duration without the zeros that Go puts behind it: 24h and not 24h0m0s.
func overlapText(d time.Duration) string {
	text := d.String()
	if cut, ok := strings.CutSuffix(text, "m0s"); ok {
		text = cut + "m"
	}
	if cut, ok := strings.CutSuffix(text, "h0m"); ok {
		text = cut + "h"
	}
	return text
}
