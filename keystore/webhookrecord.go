package keystore

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// The numbers of a webhook endpoint's fields. They are stored. What narrows what it hears stands from criticalField up: a
// program that does not know one of those must not tell it more than it was made for.
const (
	webhookID = iota + 1
	webhookURL
	webhookDescription
	webhookCreatedAt
	webhookCreatedBy
	webhookFrom
	webhookSecret
	webhookRevision
	webhookPrevious
	webhookPreviousEnds

	webhookEventTypes   = criticalField
	webhookAccount      = criticalField + 1
	webhookOrganization = criticalField + 2
	webhookDisabled     = criticalField + 3
	webhookSpans        = criticalField + 4
)

func (w *WebhookEndpoint) encode() []byte {
	e := newEncoder(320)
	e.string(webhookID, w.ID)
	e.string(webhookURL, w.URL)
	e.string(webhookDescription, w.Description)
	e.time(webhookCreatedAt, w.CreatedAt)
	e.string(webhookCreatedBy, w.CreatedBy)
	e.uint(webhookFrom, w.From)
	e.string(webhookSecret, w.sealed)
	e.uint(webhookRevision, w.Revision)
	e.string(webhookPrevious, w.previous)
	e.time(webhookPreviousEnds, w.PreviousEnds)
	e.strings(webhookEventTypes, w.Events)
	e.string(webhookAccount, w.Account)
	e.string(webhookOrganization, w.Organization)
	if w.Disabled {
		e.uint(webhookDisabled, 1)
	}
	e.strings(webhookSpans, encodeSpans(w.spans))
	return e.finish()
}

func decodeWebhook(id string, data []byte) (*WebhookEndpoint, error) {
	w := new(WebhookEndpoint)
	err := decodeRecord(data, func(number uint64, value []byte) (err error) {
		switch number {
		case webhookID:
			w.ID = string(value)
		case webhookURL:
			w.URL = string(value)
		case webhookDescription:
			w.Description = string(value)
		case webhookCreatedAt:
			w.CreatedAt, err = decodeTime(value)
		case webhookCreatedBy:
			w.CreatedBy = string(value)
		case webhookFrom:
			w.From, err = decodeUint(value)
		case webhookSecret:
			w.sealed = string(value)
		case webhookRevision:
			w.Revision, err = decodeUint(value)
		case webhookEventTypes:
			w.Events, err = decodeStrings(value, func(s string) string { return s })
		case webhookAccount:
			w.Account = string(value)
		case webhookOrganization:
			w.Organization = string(value)
		case webhookPrevious:
			w.previous = string(value)
		case webhookPreviousEnds:
			w.PreviousEnds, err = decodeTime(value)
		case webhookDisabled:
			w.Disabled = true
		case webhookSpans:
			w.spans, err = decodeSpans(value)
		default:
			err = unknownField(number)
		}
		return err
	})
	if err == nil {
		err = checkID(prefixWebhook, id, w.ID)
	}
	if err == nil {
		err = w.checkStored()
	}
	return w, err
}

// checkStored refuses an endpoint that could not be signed for, or that could hear more than it was made for: fail closed.
func (w *WebhookEndpoint) checkStored() error {
	switch {
	case w.sealed == "":
		return errors.New("the webhook endpoint has no secret")
	case len(w.Events) == 0 || !slices.IsSorted(w.Events):
		return errors.New("the webhook endpoint's list of events is empty or out of order")
	case w.Account != "" && w.Organization != "":
		return errors.New("the webhook endpoint has two limits")
	case (w.previous == "") != w.PreviousEnds.IsZero():
		return errors.New("the webhook endpoint's secret before this one has no end, or is not there")
	}
	return checkWebhookURL(w.URL)
}

// encodeSpans writes each span as its end and its types, with blanks between.
func encodeSpans(spans []webhookSpan) []string {
	out := make([]string, 0, len(spans))
	for _, s := range spans {
		out = append(out, strconv.FormatUint(s.until, 10)+" "+strings.Join(s.events, " "))
	}
	return out
}

func decodeSpans(value []byte) ([]webhookSpan, error) {
	list, err := decodeStrings(value, func(s string) string { return s })
	if err != nil {
		return nil, err
	}
	spans := make([]webhookSpan, 0, len(list))
	for _, text := range list {
		words := strings.Split(text, " ")
		until, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil || len(words) < 2 || len(spans) > 0 && until < spans[len(spans)-1].until {
			return nil, errors.New("not what the webhook endpoint heard of before")
		}
		spans = append(spans, webhookSpan{until: until, events: words[1:]})
	}
	return spans, nil
}
