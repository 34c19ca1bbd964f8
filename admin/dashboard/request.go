package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
)

// maxForm bounds a form's body. The largest has a part of the permissions and, packed, those of thousands of resources.
const maxForm = 1 << 20

// request is one request for a page being answered. It belongs to one goroutine.
type request struct {
	*Dashboard

	w       http.ResponseWriter
	r       *http.Request
	links   links
	scope   Scope
	visitor Visitor      // who looks; nil: a guest
	caller  *auth.Caller // the same, with the rights that they have in the scope
	owner   ownerName    // of the scope
	route   route
}

func (d *Dashboard) newRequest(w http.ResponseWriter, r *http.Request) *request {
	return &request{Dashboard: d, w: w, r: r, links: links{prefix: d.Prefix(r), files: d.files}}
}

// serve answers a request for a route: it finds out who asks and whether they may, and serves the page.
func (d *Dashboard) serve(route route, w http.ResponseWriter, r *http.Request) {
	q := d.newRequest(w, r)
	q.route = route
	if err := q.enter(); err != nil {
		if q.visitor == nil {
			q.recognise()
		}
		if route.pattern == signOutForm {
			err = q.forgotten(err)
		}
		q.fail(err)
		return
	}
	if err := route.serve(q); err != nil {
		q.fail(err)
	}
}

// enter finds the scope and the caller. The API asks again, on each call: this is what hides a page.
func (q *request) enter() error {
	var err error
	if q.scope, err = scopeOf(q.r); err != nil {
		return err
	}
	q.visitor, err = q.Visitor(q.r)
	if err != nil {
		var refusal *auth.Refusal
		guest := errors.As(err, &refusal) && refusal.Status == http.StatusUnauthorized
		if guest && q.route.operation == "" {
			q.visitor = nil
			return q.readForm()
		}
		return err
	}
	if q.scope.Owner() == "" {
		q.caller, err = widest(q.visitor)
	} else {
		q.caller, err = q.visitor.Caller(q.scope.where())
	}
	if err != nil {
		q.scope = Scope{} // nothing of it is shown
		if q.caller, _ = widest(q.visitor); q.caller == nil {
			q.caller = q.visitor.Self()
		}
		return err
	}
	// The API answers for what is not there as for what the caller does not cover; so does every page of it.
	if q.owner, err = q.ownerOf(q.scope); err != nil {
		return err
	}
	if q.route.operation != "" {
		if err := q.caller.May(q.route.operation); err != nil {
			return err
		}
	}
	return q.readForm()
}

// readForm reads the form of a POST. It comes last: who may not send it is told so before their megabyte is read, and who is
// nobody yet is let send little, and not for long.
func (q *request) readForm() error {
	if q.r.Method != http.MethodPost {
		return nil
	}
	body := api.Receive(q.w, q.r)
	defer body.Leave()
	most := int64(api.MaxStrangersBody)
	if q.visitor != nil {
		most = maxForm
		body.Known()
	}
	q.r.Body = http.MaxBytesReader(q.w, body, most)
	if err := q.r.ParseForm(); err != nil {
		var refusal *auth.Refusal
		if errors.As(err, &refusal) {
			return refusal
		}
		return &refusedError{
			status: http.StatusBadRequest, title: "The form could not be read",
			text: fmt.Sprintf("It was not complete, or did not come in time, or was larger than the %d KiB that this page takes. Nothing was done. Go back and send it again.", most>>10),
		}
	}
	if q.caller != nil && !q.caller.Still() {
		// It may have come slowly: what begins after the end of a session is refused.
		return &auth.Refusal{Status: http.StatusUnauthorized, Code: auth.CodeRequired, Message: "the session is over: sign in again"}
	}
	if q.r.PostForm.Has(fieldAnother) {
		for _, field := range []string{fieldVerification, fieldCode, fieldMethod} {
			q.r.PostForm.Del(field)
		}
	}
	return nil
}

// recognise finds out who asks for what is no page, so that the frame around the answer is theirs.
func (q *request) recognise() *request {
	if v, err := q.Visitor(q.r); err == nil {
		if c, err := widest(v); err == nil {
			q.visitor, q.caller = v, c
		}
	}
	return q
}

// may says whether the viewer may make a call of the API. What they may not is not shown.
func (q *request) may(operation string) bool {
	return q.caller != nil && q.caller.May(operation) == nil
}

// form is a field of the form that was sent, without the space around it.
func (q *request) form(name string) string { return strings.TrimSpace(q.r.PostForm.Get(name)) }

// query is a parameter of the address.
func (q *request) query(name string) string { return q.r.URL.Query().Get(name) }

// seeOther answers a form that was carried out: the browser goes on to a page to read, and neither reloading nor going back
// sends the form again. done names the notice of that page.
func (q *request) seeOther(to, done string) error {
	if done != "" {
		joint := "?"
		if strings.Contains(to, "?") {
			joint = "&"
		}
		to += joint + "done=" + url.QueryEscape(done)
	}
	q.w.Header().Set("Location", q.links.To(to))
	q.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// refusedError is a page that says why nothing was done.
type refusedError struct {
	status      int
	title, text string
}

func (e *refusedError) Error() string { return e.title }

// fail shows the page for an error.
func (q *request) fail(err error) {
	var refused *refusedError
	var refusal *auth.Refusal
	failure := apiFailure(err)
	p := &errorPage{Page: q.page("Something went wrong", "")}
	switch {
	case errors.As(err, &refused):
		p.Status, p.Title, p.Text = refused.status, refused.title, refused.text
	case errors.As(err, &refusal):
		p.ofRefusal(q, refusal.Status, refusal.Code, refusal.Message)
		if refusal.RetryAfter > 0 {
			q.w.Header().Set("Retry-After", strconv.Itoa(int(refusal.RetryAfter.Seconds())+1))
		}
	case failure != nil && failure.Status < http.StatusInternalServerError:
		p.ofRefusal(q, failure.Status, failure.Code, failure.Message)
		p.RequestID = failure.RequestID
	default:
		p.Status, p.Title = http.StatusInternalServerError, "Something went wrong"
		p.Text = "It is not your fault. Nothing more is known here; the server's log has the details."
		if failure != nil {
			p.Status, p.Text, p.RequestID = failure.Status, failure.Message, failure.RequestID
		} else {
			q.Logger.Error("dashboard page failed", zap.String("page", q.route.pattern), zap.Error(err))
		}
	}
	if p.Status == http.StatusUnauthorized && q.r.Method == http.MethodGet && q.signIn() {
		return
	}
	q.render(p.Status, "error", p)
}

// signIn sends a guest to the page for signing in, and from there back.
func (q *request) signIn() bool {
	to := "/sign_in"
	if q.r.URL.Path != "/" {
		to += "?next=" + url.QueryEscape(q.r.URL.RequestURI())
	}
	return q.seeOther(to, "") == nil
}

// formError is what was wrong with a form, beside the field that it is about.
type formError struct {
	Param   string // the API's name of the field; "" if it is about the whole
	Message string
}

// formFailure is the API's answer to a form, if it is one that the viewer can do something about on the form itself; nil if it
// is not.
func formFailure(err error) *formError {
	e := apiFailure(err)
	if e == nil || e.Code == codeVerification {
		return nil
	}
	if e.Code == "idempotency_key_reused" {
		return &formError{Message: "This form was sent before with other values. Look it over and send it again."}
	}
	if e.Code == unprovenField { // the API's own text is for programs
		return &formError{Param: unprovenField, Message: "A member came in under this e-mail address who has not shown that it is theirs. Have an invitation sent to it by e-mail, or make sure who they are, and tick the box below."}
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusPreconditionFailed:
		return &formError{Param: e.Param, Message: sentence(e.Message)}
	case http.StatusNotFound:
		if e.Param != "" {
			return &formError{Param: e.Param, Message: sentence(e.Message)}
		}
	}
	return nil
}

// sentence makes a sentence of the API's message: they begin without a capital and end without a stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// At says the error of a field.
func (e *formError) At(param string) string {
	if e == nil || e.Param != param && !strings.HasPrefix(e.Param, param+"[") && !strings.HasPrefix(e.Param, param+".") {
		return ""
	}
	return e.Message
}
