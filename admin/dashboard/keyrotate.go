package dashboard

import (
	"net/http"
	"strconv"
	"time"

	"github.com/keystile/keystile/admin/api"
)

func keyRotatePages() []route {
	return []route{
		{"GET /{owner}/{mode}/keys/{id}/rotate", "rotate_key", (*request).showRotate},
		{"POST /{owner}/{mode}/keys/{id}/rotate", "rotate_key", (*request).rotate},
		{"POST /{owner}/{mode}/keys/{id}/schedule", "schedule_key_rotation", (*request).schedule},
		{"POST /{owner}/{mode}/keys/{id}/unschedule", "unschedule_key_rotation", (*request).unschedule},
		{"POST /{owner}/{mode}/keys/{id}/end", "end_key_rotation", (*request).endRotation},
	}
}

var (
	doneScheduled   = notice("scheduled", "The rotation is scheduled.")
	doneUnscheduled = notice("unscheduled", "The key will not be rotated by itself any more.")
	doneEnded       = notice("ended", "The old key has ended. Requests with it are refused from now on.")
)

// rotateChoices are the ends that the old key may be given.
var rotateChoices = []choice{
	{"now", "Now"}, {"1h", "In 1 hour"}, {"24h", "In 24 hours"}, {"72h", "In 3 days"}, {"168h", "In 7 days"}, {"custom", "At another time…"},
}

// overlapChoices are how long a key goes on beside its scheduled replacement.
var overlapChoices = []choice{
	{"0s", "Not at all"}, {"1h", "1 hour"}, {"24h", "24 hours"}, {"72h", "3 days"}, {"168h", "7 days"},
}

// rotatePage rotates a key now, or says when it rotates by itself.
type rotatePage struct {
	keyPage
	Expires, ExpiresAt string
	How, At, Days      string // of the schedule: "once" or "every"
	Overlap            string
	Schedule           *formError // what is wrong in the form of the schedule
	Usage              *api.KeyUsage
}

func (p *rotatePage) shrink() bool { return fewerUsers(p.Usage) }

// Choices are the ends of the old key, for the template.
func (rotatePage) Choices() []choice { return rotateChoices }

// Overlaps are the overlaps of a schedule, for the template.
func (rotatePage) Overlaps() []choice { return overlapChoices }

// NewName is what the replacement will be called.
func (p *rotatePage) NewName() string {
	switch p.Key.Kind {
	case "publishable":
		return "Publishable key"
	case "secret":
		return "Secret key"
	}
	return p.Key.Name
}

func (q *request) rotatePage() (*rotatePage, error) {
	base, err := q.keyPage("Rotate key")
	if err != nil {
		return nil, err
	}
	p := &rotatePage{
		keyPage: *base, Expires: q.form("expires"), ExpiresAt: q.form("expires_at"),
		How: q.form("how"), At: q.form("at"), Days: q.form("days"), Overlap: q.form("overlap"),
	}
	p.Key.page = &p.Page
	p.Usage = q.usage(p.Key.ID, "24h")
	return p, nil
}

func (q *request) showRotate() error {
	p, err := q.rotatePage()
	if err != nil {
		return err
	}
	p.How, p.Days, p.Overlap, p.Expires = "every", "90", "24h", "24h"
	if s := p.Key.Rotation.Schedule; s != nil {
		p.Overlap = s.Overlap
		if s.At != nil {
			p.How, p.At = "once", s.At.UTC().Format(localTime)
		}
		if s.EveryDays != nil {
			p.Days = strconv.Itoa(*s.EveryDays)
		}
	}
	return q.show("key_rotate", p)
}

func (q *request) rotate() error {
	p, err := q.rotatePage()
	if err != nil {
		return err
	}
	p.How, p.Days, p.Overlap = "every", "90", "24h"
	var body api.KeyRotate
	end, wrong := q.expiry(p.Expires, p.ExpiresAt)
	if p.Expires == "" {
		wrong = &formError{Param: "expires_at", Message: "Choose when the old key ends."} // never now by accident
	}
	if wrong != nil {
		p.Error = wrong
		return q.show("key_rotate", p)
	}
	if !end.IsZero() {
		body.ExpiresAt = api.Set(end)
	}
	k, header, err := askHeader[api.Key](q, q.withCode(q.once(post("/v1/keys/"+p.Key.ID+"/rotate", body))))
	if err != nil {
		if p.Error = formFailure(err); p.Error != nil {
			return q.show("key_rotate", p)
		}
		return q.failOrCode(err, p.Title, codeFor{operation: "rotate_key", key: p.Key.ID, body: body})
	}
	text := onceText(k.Mode)
	if end.IsZero() {
		text = "The old key has ended. " + text
	}
	if header.Get("Idempotent-Replayed") != "" {
		return repeated()
	}
	return q.showSecret(k, "Save your new key", text, end)
}

func (q *request) schedule() error {
	p, err := q.rotatePage()
	if err != nil {
		return err
	}
	p.Expires = "24h"
	body := api.KeySchedule{Overlap: api.Set(p.Overlap)}
	switch p.How {
	case "once":
		var at time.Time
		if at, p.Schedule = customTime("at", p.At); p.Schedule != nil {
			return q.show("key_rotate", p)
		}
		body.At = api.Set(at)
	default:
		days, err := strconv.Atoi(p.Days)
		if err != nil {
			p.Schedule = &formError{Param: "every_days", Message: "Give a whole number of days."}
			return q.show("key_rotate", p)
		}
		body.EveryDays = api.Set(days)
	}
	c := q.withCode(call{method: http.MethodPut, path: "/v1/keys/" + p.Key.ID + "/rotation_schedule", body: body})
	if _, err := ask[api.Key](q, c); err != nil {
		if p.Schedule = formFailure(err); p.Schedule != nil {
			return q.show("key_rotate", p)
		}
		return q.failOrCode(err, p.Title, codeFor{operation: "schedule_key_rotation", key: p.Key.ID, body: body})
	}
	return q.seeOther(q.scope.path("keys/"+p.Key.ID), doneScheduled)
}

func (q *request) unschedule() error {
	k, err := q.key()
	if err != nil {
		return err
	}
	c := call{method: http.MethodDelete, path: "/v1/keys/" + k.ID + "/rotation_schedule"}
	if _, err := ask[api.Key](q, c); err != nil {
		return err
	}
	return q.seeOther(q.scope.path("keys/"+k.ID), doneUnscheduled)
}

// endRotation ends an old key before its time. If it is still used, the API says by whom, and it is asked once more.
func (q *request) endRotation() error {
	k, err := q.key()
	if err != nil {
		return err
	}
	c := post("/v1/keys/"+k.ID+"/rotation/end", api.KeyRotationEnd{Force: api.Set(q.form("force") == "yes")})
	if _, err := ask[api.Key](q, q.withCode(c)); err != nil {
		if e := apiFailure(err); e != nil && e.Code == "key_in_use" {
			p, err := q.useKeyPage()
			if err != nil {
				return err
			}
			p.InUse, p.Users = true, e.Users
			return q.show("key", p)
		}
		return q.failOrCode(err, "End the old key", codeFor{operation: "end_key_rotation", key: k.ID, body: c.body})
	}
	return q.seeOther(q.scope.path("keys/"+k.ID), doneEnded)
}
