package dashboard

import (
	"crypto/rand"
	"net/http"
)

// codeVerification is the API's code for a call that it makes only with a verification code.
const codeVerification = "verification_required"

// Fields of forms that pages add for themselves.
const (
	fieldOnce         = "_once"         // makes a form that is sent twice happen once
	fieldVerification = "_verification" // ver_…: the code that was sent
	fieldCode         = "_code"         // the code as it was typed
)

// codeFor is what a verification code is asked for.
type codeFor struct {
	operation string
	key       string // key_…, "" for a new one
	body      any
}

// withCode adds to a call the verification code of the form, if it has one.
func (q *request) withCode(c call) call {
	id, code := q.form(fieldVerification), q.form(fieldCode)
	if id == "" {
		return c
	}
	if c.header == nil {
		c.header = http.Header{}
	}
	c.header.Set("Keystile-Verification", id)
	c.header.Set("Keystile-Verification-Code", code)
	return c
}

// once makes a call happen once, however often the form is sent.
func (q *request) once(c call) call {
	if key := q.form(fieldOnce); key != "" {
		if c.header == nil {
			c.header = http.Header{}
		}
		c.header.Set("Idempotency-Key", key)
	}
	return c
}

// newOnce is the word that a form carries for that.
func newOnce() string { return rand.Text() }

// Once is it for templates. A form that is shown again gets a new one: what is kept for the old one is that it was wrong.
func (Page) Once() string { return newOnce() }

// failOrCode goes on to the page for the code if the API wants one; any other error is the page's.
func (q *request) failOrCode(err error, title string, what codeFor) error {
	e := apiFailure(err)
	if e == nil || e.Code != codeVerification {
		return err
	}
	return q.askCode(title, what)
}

func (q *request) askCode(string, codeFor) error { return nil }
