package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
)

// call is one call of the API by a page.
type call struct {
	method, path string
	query        url.Values
	body         any         // sent as JSON; nil: none
	header       http.Header // further headers
}

// get is a call that reads.
func get(path string, query url.Values) call {
	return call{method: http.MethodGet, path: path, query: query}
}

// post is a call that makes or does something.
func post(path string, body any) call { return call{method: http.MethodPost, path: path, body: body} }

// ask makes a call as the viewer of the page and decodes the answer. An error of the API is an *api.Error, with the status.
func ask[Out any](q *request, c call) (Out, error) {
	out, _, err := askHeader[Out](q, c)
	return out, err
}

// askHeader is ask with the answer's header.
func askHeader[Out any](q *request, c call) (Out, http.Header, error) {
	var out Out
	r, err := q.apiRequest(c)
	if err != nil {
		return out, nil, err
	}
	a := &apiAnswer{header: http.Header{}}
	q.API.ServeHTTP(a, r)
	if a.status >= http.StatusBadRequest {
		var body api.ErrorBody
		if err := json.Unmarshal(a.body.Bytes(), &body); err != nil {
			return out, nil, fmt.Errorf("decoding the API's error %d on %s %s: %w", a.status, c.method, c.path, err)
		}
		body.Error.Status = a.status
		return out, a.header, &body.Error
	}
	if err := json.Unmarshal(a.body.Bytes(), &out); err != nil {
		return out, nil, fmt.Errorf("decoding the API's answer to %s %s: %w", c.method, c.path, err)
	}
	return out, a.header, nil
}

// apiRequest is the call as a request of the API. It goes to a handler and over no wire; who calls stands in its context,
// where nothing from outside can put it.
func (q *request) apiRequest(c call) (*http.Request, error) {
	target := c.path
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	ctx := q.r.Context()
	if q.caller != nil {
		ctx = auth.WithCaller(ctx, q.caller)
	}
	var data []byte
	if c.body != nil {
		var err error
		if data, err = json.Marshal(c.body); err != nil {
			return nil, fmt.Errorf("encoding the body of %s %s: %w", c.method, c.path, err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, c.method, target, bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("making the call %s %s: %w", c.method, c.path, err)
	}
	if c.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range c.header {
		r.Header[name] = values
	}
	r.Host, r.RemoteAddr = q.r.Host, q.r.RemoteAddr
	r.Header.Set("User-Agent", q.r.UserAgent()) // sessions show it
	return r, nil
}

// apiAnswer keeps what the API answers. The API bounds its answers itself: lists have at most a hundred rows.
type apiAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *apiAnswer) Header() http.Header { return a.header }

func (a *apiAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *apiAnswer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// apiFailure is the API's error in err, nil if it is something else.
func apiFailure(err error) *api.Error {
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// pages asks for all pages of a list, up to a number of rows.
func pages[T any](q *request, path string, query url.Values, most int, id func(T) string) (rows []T, more bool, err error) {
	asked := url.Values{}
	for name, values := range query {
		asked[name] = values
	}
	asked.Set("limit", "100")
	for {
		list, err := ask[api.List[T]](q, get(path, asked))
		if err != nil {
			return nil, false, err
		}
		rows = append(rows, list.Data...)
		if !list.HasMore || len(list.Data) == 0 || len(rows) >= most {
			return rows, list.HasMore, nil
		}
		asked.Set("starting_after", id(list.Data[len(list.Data)-1]))
	}
}
