package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

// apiError is an answer that is not a success.
type apiError struct {
	Status    int    `json:"-"`
	Type      string `json:"type"`
	Code      string `json:"code"`
	Message   string `json:"message"`
	Param     string `json:"param"`
	RequestID string `json:"request_id"`

	// Errors are all that is wrong with an import, the error itself among them.
	Errors []api.RowError `json:"errors"`
	// Users are who uses the key that was not ended.
	Users []api.KeyUser `json:"users"`
}

// Error is one sentence, and in brackets what a script or a bug report needs.
func (e *apiError) Error() string {
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(e.Message, "."))
	fmt.Fprintf(&b, " (%s", e.Code)
	if e.Param != "" {
		fmt.Fprintf(&b, ": %s", e.Param)
	}
	if e.Status >= 500 && e.RequestID != "" {
		fmt.Fprintf(&b, ", request %s", e.RequestID)
	}
	b.WriteString(")")
	return b.String()
}

// decodeError reads the body of an answer that is not a success: our own errors, those of Caddy's admin endpoint (whose
// "error" is a text), or something foreign.
func (c *client) decodeError(status int, body []byte) error {
	var envelope struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &envelope) == nil && len(envelope.Error) > 0 {
		ours := apiError{Status: status}
		if json.Unmarshal(envelope.Error, &ours) == nil && ours.Message != "" {
			return &ours
		}
		var caddys string
		if json.Unmarshal(envelope.Error, &caddys) == nil && caddys != "" {
			return fmt.Errorf("%s answered %d: %s", c.where, status, caddys)
		}
	}
	switch {
	case status == http.StatusNotFound && c.local:
		return fmt.Errorf("the process at %s has no keystile: is another Caddy running there? --address names another admin endpoint", c.where)
	case status >= 300 && status <= 399:
		return fmt.Errorf("%s answered with a redirect (%d), which is not followed: give --url the address it leads to", c.where, status)
	}
	return fmt.Errorf("%s answered %d %s, which is no answer of keystile", c.where, status, http.StatusText(status))
}
