package gatetest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// leakPages bounds how many pages of records are searched: a hundred records each, the newest first.
const leakPages = 50

// leakedByAnswers searches what a running gateway tells of itself for tokens in clear: its metrics, its configuration, its
// lists of keys and request records. Nothing of that may hold one, whoever asks.
func (g *Gateway) leakedByAnswers() error {
	if !g.Running() {
		return nil
	}
	known := g.Admin.seen.list()
	var errs []error
	for _, path := range []string{"/metrics", "/config/"} {
		resp, err := http.Get("http://" + g.AdminAddr + path)
		if err != nil {
			return err
		}
		raw, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		errs = append(errs, err, findTokens(path, raw, known))
	}
	for _, path := range []string{"/v1/keys", "/v1/accounts", "/v1/organizations", "/v1/resources", "/v1/request_logs", "/v1/openapi.json"} {
		query := url.Values{"limit": {"100"}}
		if path == "/v1/resources" || path == "/v1/openapi.json" {
			query = nil
		}
		for range leakPages {
			status, raw, err := g.Admin.Call("GET", path+"?"+query.Encode(), nil)
			if err != nil {
				return err
			}
			if status != http.StatusOK {
				errs = append(errs, fmt.Errorf("GET %s: status %d: %.300s", path, status, raw))
				break
			}
			errs = append(errs, findTokens("the answer of "+path, raw, known))
			last, more := lastRow(raw)
			if !more || query == nil {
				break
			}
			query.Set("starting_after", last)
		}
	}
	return errors.Join(errs...)
}
