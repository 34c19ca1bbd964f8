package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// RequestLogDetail is one request record answered alone: with its decision in words.
type RequestLogDetail struct {
	*requestlog.Record
	Explanation string
}

const explanationName = "explanation"

// MarshalJSON is the record with one field more.
func (d RequestLogDetail) MarshalJSON() ([]byte, error) {
	record, err := d.Record.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return slices.Concat(record[:len(record)-1], []byte(`,"`+explanationName+`":`), bytes.TrimSpace(marshal(d.Explanation)), []byte("}")), nil
}

// UnmarshalJSON is for clients.
func (d *RequestLogDetail) UnmarshalJSON(data []byte) error {
	var more struct{ Explanation string }
	d.Record = new(requestlog.Record)
	if err := d.Record.UnmarshalJSON(data); err != nil { // passes over what it does not know
		return err
	}
	err := json.Unmarshal(data, &more)
	d.Explanation = more.Explanation
	return err
}

// Schema is the record's, with one field more.
func (RequestLogDetail) Schema(r huma.Registry) *huma.Schema {
	const name = "RequestLogDetail"
	if r.Map()[name] == nil {
		s := requestLogSchema()
		s.Properties[explanationName] = &huma.Schema{Type: huma.TypeString, Description: "The decision in words, and what would allow such a request if it was refused"}
		s.Required = append(s.Required, explanationName)
		s.PrecomputeMessages()
		r.Map()[name] = s
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

// explainRecord says what was decided, and of a refusal what would allow such a request. It tells nothing that is not in the
// record: what keys and catalog say now may be another thing.
func explainRecord(r *requestlog.Record) string {
	if r.IsGap() {
		return fmt.Sprintf("This stands for %d records between %s and %s that are missing: the request log had no room for them.",
			r.Lost, r.LostFrom.UTC().Format(time.RFC3339), r.LostTo.UTC().Format(time.RFC3339))
	}
	reason := policy.ReasonOf(r.Decision)
	switch reason {
	case policy.ReasonNone:
		return "The decision is unknown to this version."
	case policy.ReasonAllowed:
		return allowedRecord(r) + backendRecord(r)
	case policy.ReasonOpen:
		return reason.Remedy() + backendRecord(r)
	case policy.ReasonPreflight:
		return reason.Remedy()
	}
	return deniedRecord(r, reason) + " " + reason.Remedy()
}

// deniedRecord is what the client was told. A record without it, which only another writer's can be, gets the same sentence
// as far as the record knows its parts.
func deniedRecord(r *requestlog.Record, reason policy.Reason) string {
	if r.ErrorCode == r.Decision && r.ErrorMessage != "" {
		return r.ErrorMessage
	}
	message := policy.Message(&policy.Decision{
		Reason: reason, Owner: r.Owner, Account: r.Account, Param: "context or version",
		Connected: r.Owner != "" && r.Owner != r.Account && strings.HasPrefix(r.Owner, "acct_"),
		Route: policy.Route{
			Known: r.Resource != "", Resource: r.Resource, Permission: r.RequiredPermission,
		},
	}, r.TokenMasked)
	return requestlog.ScrubTokens(message)
}

func allowedRecord(r *requestlog.Record) string {
	text := "The key may make this request"
	if r.Kind != "" {
		text = "The " + r.Kind + " key may make this request"
		if r.TokenMasked != "" {
			text = "The " + r.Kind + " key '" + r.TokenMasked + "' may make this request"
		}
	}
	if r.Account != "" {
		text += " on account '" + r.Account + "'"
	}
	switch {
	case r.RequiredPermission != "" && r.Kind == policy.KindPublishable.String():
		text += ": the route is marked publishable"
	case r.RequiredPermission != "":
		text += ": it needs '" + r.RequiredPermission + "'"
	}
	return text + "."
}

// backendRecord says who answered, where that was not the gateway.
func backendRecord(r *requestlog.Record) string {
	if r.Status < 400 || r.Upstream == 0 && r.UpstreamAddress == "" {
		return ""
	}
	text := " The backend answered " + strconv.Itoa(r.Status)
	if r.ErrorCode != "" {
		text += " (" + r.ErrorCode + ")"
	}
	return text + "."
}
