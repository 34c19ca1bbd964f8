package api

import (
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// RotationSchedule says when a key is rotated by itself: once or every so many days.
type RotationSchedule struct {
	At        *time.Time `json:"at"`
	EveryDays *int       `json:"every_days"`
	Overlap   string     `json:"overlap"`
}

// Schema is an object or null: the generator has no nullable objects.
func (RotationSchedule) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, Nullable: true,
		Properties: map[string]*huma.Schema{
			"at":         {Type: huma.TypeString, Format: "date-time", Nullable: true, Description: "Once, at this time"},
			"every_days": {Type: huma.TypeInteger, Nullable: true, Description: "Again and again"},
			"overlap":    {Type: huma.TypeString, Description: "How long the old key goes on working, such as 24h; at most 7 days"},
		},
		Required: []string{"at", "every_days", "overlap"},
	}
}
