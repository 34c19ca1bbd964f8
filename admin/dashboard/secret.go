package dashboard

import (
	"net/http"
	"time"

	"github.com/keystile/keystile/admin/api"
)

// secretPage shows a new token. It is the answer of the form that made it, and of nothing else: no address leads here.
type secretPage struct {
	Page
	Heading, Text string
	Name          string
	Label         string // of the field with the secret
	Secret        string
	Example       string // a line for a shell that works, "" if there is none
	NoteURL       string // where the note goes; "": there is none to make
	Note          string
	Next          string    // where to go on
	Notice2       string    // what the API adds
	Until         time.Time // until when the key before it goes on; zero: there is none that does
}

// showSecret shows the token of a key that was just made or revealed.
func (q *request) showSecret(k api.Key, heading, text string, until time.Time) error {
	if k.Sandbox != nil && q.scope.Sandbox == "" {
		q.scope.Sandbox = *k.Sandbox
	}
	p := &secretPage{
		Page: q.page(heading, "keys"), Heading: heading, Text: text, Name: k.Name, Label: "API key", Secret: string(k.Token), Note: k.Note,
		Notice2: k.Notice, Until: until,
	}
	p.Next = p.In("keys")
	if q.may("update_key") {
		p.NoteURL = p.In("keys/" + k.ID + "/note")
	}
	return q.show("secret", p)
}

// repeated is the answer for a form that was sent a second time, by reloading or going back. What it made was made once, and
// what it showed was shown then.
func repeated() error {
	return &refusedError{
		status: http.StatusConflict, title: "This was done already",
		text: "The form was sent twice. The key was made the first time, and shown then: it is not shown again. If you did not save it, rotate or delete it.",
	}
}

// made answers a form that made a key with a token, once.
func (q *request) made(header http.Header, k api.Key, heading, text string) error {
	if header.Get("Idempotent-Replayed") != "" {
		return repeated()
	}
	return q.showSecret(k, heading, text, time.Time{})
}
