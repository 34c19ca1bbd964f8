package gatetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// Admin is a client of the admin API. It remembers every token that an answer carried. It is safe for concurrent use.
type Admin struct {
	base   string
	client *http.Client
	seen   tokens
}

func newAdmin(base string) *Admin {
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	return &Admin{base: base, client: &http.Client{Transport: transport, Timeout: 60 * time.Second}}
}

// CloseIdle drops connections kept for reuse: the server behind them may be about to go.
func (a *Admin) CloseIdle() { a.client.CloseIdleConnections() }

// URL is the address of a path of the API, as "/v1/keys".
func (a *Admin) URL(path string) string { return a.base + path }

// Remember tells of a token that did not come from this API (an imported one), to be searched for like all others.
func (a *Admin) Remember(token string) { a.seen.add(token) }

// Call sends in as JSON (nil: no body) and returns status and body. The error is the connection's.
func (a *Admin) Call(method, path string, in any) (int, []byte, error) {
	status, _, body, err := a.CallHeader(method, path, in, nil)
	return status, body, err
}

// CallHeader is Call with request headers; it returns those of the answer too.
func (a *Admin) CallHeader(method, path string, in any, header http.Header) (int, http.Header, []byte, error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return 0, nil, nil, fmt.Errorf("encoding the body for %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, a.URL(path), body)
	if err != nil {
		return 0, nil, nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, resp.Header, nil, fmt.Errorf("reading the answer of %s %s: %w", method, path, err)
	}
	a.seen.addJSON(raw)
	return resp.StatusCode, resp.Header, raw, nil
}

// Do is Call that wants a 2xx answer and decodes it into out (nil: thrown away).
func (a *Admin) Do(tb testing.TB, method, path string, in, out any) {
	tb.Helper()
	if err := a.TryDo(method, path, in, out); err != nil {
		tb.Fatal(err)
	}
}

// TryDo is Do for goroutines beside the test's own and for calls that may fail.
func (a *Admin) TryDo(method, path string, in, out any) error {
	status, body, err := a.Call(method, path, in)
	if err != nil {
		return err
	}
	if status < 200 || status > 299 {
		return fmt.Errorf("%s %s: status %d, want 2xx; body: %s", method, path, status, body)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("decoding the answer of %s %s: %w; body: %s", method, path, err, body)
	}
	return nil
}

// Fails calls, wants the status and the error code, and returns the error.
func (a *Admin) Fails(tb testing.TB, method, path string, in any, wantStatus int, wantCode string) APIError {
	tb.Helper()
	status, body, err := a.Call(method, path, in)
	if err != nil {
		tb.Fatal(err)
	}
	got, err := ParseError(body)
	if err != nil {
		tb.Fatalf("%s %s: status %d, %v", method, path, status, err)
	}
	if status != wantStatus || got.Code != wantCode {
		tb.Fatalf("%s %s: got status %d code %q, want %d %q; body: %s", method, path, status, got.Code, wantStatus, wantCode, body)
	}
	return got
}

// APIError is the error object of the gateway's and the admin API's answers.
type APIError struct {
	Type               string `json:"type"`
	Code               string `json:"code"`
	Message            string `json:"message"`
	RequestID          string `json:"request_id"`
	DocURL             string `json:"doc_url"`
	Param              string `json:"param"`
	RequiredPermission string `json:"required_permission"`
}

// ParseError reads {"error":{…}} and refuses every other member, so that an answer cannot say more than the contract.
func ParseError(body []byte) (APIError, error) {
	var envelope struct {
		Error *APIError `json:"error"`
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&envelope); err != nil {
		return APIError{}, fmt.Errorf("the body is no error object: %w; body: %.500s", err, body)
	}
	if envelope.Error == nil {
		return APIError{}, fmt.Errorf("the body has no error: %.500s", body)
	}
	return *envelope.Error, nil
}
