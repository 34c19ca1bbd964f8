package dashboard

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
)

// The API's codes about verification codes.
const (
	codeVerification = auth.CodeVerificationRequired
	codeWrong        = auth.CodeVerificationCode
	codeOver         = auth.CodeVerificationOver
	codeMismatch     = auth.CodeVerificationMismatch
	codeUnavailable  = auth.CodeVerificationUnavailable
)

// Fields of forms that pages add for themselves.
const (
	fieldOnce         = "_once"         // makes a form that is sent twice happen once
	fieldVerification = "_verification" // ver_…: the code that was sent
	fieldCode         = "_code"         // the code as it was typed
	fieldMethod       = "_method"       // how it was sent
	fieldAnother      = "_another"      // the button for another code: the one before is forgotten
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
	c.header.Set(auth.VerificationHeader, id)
	c.header.Set(auth.VerificationCodeHeader, code)
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

// failOrCode goes on to the page for the code if the API wants one, or wants another than the one that came; any other error is
// the page's.
func (q *request) failOrCode(err error, title string, what codeFor) error {
	e := apiFailure(err)
	if e == nil {
		return err
	}
	switch e.Code {
	case codeVerification:
		return q.askCode(title, what, "")
	case codeWrong:
		if strings.HasSuffix(e.Message, "ask for a new one") {
			return q.askCode(title, what, "That was the last try. A new code is on its way.")
		}
		return q.showCode(title, what, api.Verification{ID: q.form(fieldVerification), Method: q.form(fieldMethod)}, "The code is wrong. Look again, and type all six digits.")
	case codeOver, codeMismatch:
		return q.askCode(title, what, "That code is over. A new one is on its way.")
	case codeUnavailable:
		return q.noCode(title, e.Message)
	}
	return err
}

// codePage takes the code that a member was sent.
type codePage struct {
	Page
	Heading string
	ID      string
	Method  string // email, http, log or totp
	SentTo  string
	Fields  []formField // of the form that it is for: sent once more with the code
	Wrong   string
	None    string // why there is no code: nothing can be done on the page
}

// formField is one value of a form.
type formField struct{ Name, Value string }

// askCode asks the API for a code, and shows the page that takes it.
func (q *request) askCode(title string, what codeFor, wrong string) error {
	body := api.VerificationCreate{Operation: what.operation}
	if what.key != "" {
		body.ObjectID = api.Set(what.key)
	}
	if what.body != nil {
		data, err := json.Marshal(what.body)
		if err != nil {
			return err
		}
		var content map[string]any
		if err := json.Unmarshal(data, &content); err != nil {
			return err
		}
		body.Body = api.Set(content)
	}
	if q.form(fieldCode) == "" && q.form(fieldMethod) == auth.MethodTOTP {
		body.Method = api.Set(auth.MethodTOTP)
	}
	v, err := ask[api.Verification](q, post("/v1/verifications", body))
	if e := apiFailure(err); e != nil && e.Code == codeUnavailable {
		return q.noCode(title, e.Message)
	}
	if err != nil {
		return err
	}
	return q.showCode(title, what, v, wrong)
}

func (q *request) showCode(title string, _ codeFor, v api.Verification, wrong string) error {
	p := &codePage{Page: q.page("Verification code", "keys"), Heading: title, ID: v.ID, Method: v.Method, Wrong: wrong, Fields: q.formFields()}
	if v.SentTo != nil {
		p.SentTo = *v.SentTo
	}
	return q.show("code", p)
}

// noCode says that there is no way to ask for a code, and what to set up.
func (q *request) noCode(title, why string) error {
	p := &codePage{Page: q.page("Verification code", "keys"), Heading: title, None: sentence(why)}
	q.render(http.StatusForbidden, "code", p)
	return nil
}

// formFields is the form as it was sent, without what belongs to an earlier code. The word that makes it happen once is a new
// one. No form of these holds a token or a password.
func (q *request) formFields() []formField {
	var out []formField
	for name, values := range q.r.PostForm {
		if name == fieldAnother || name == fieldVerification || name == fieldCode || name == fieldMethod || name == fieldOnce {
			continue
		}
		for _, v := range values {
			out = append(out, formField{name, v})
		}
	}
	slices.SortStableFunc(out, func(a, b formField) int { return cmp.Compare(a.Name, b.Name) })
	return append(out, formField{fieldOnce, newOnce()})
}
