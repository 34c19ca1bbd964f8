package keystore

import (
	"errors"
	"slices"
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

	webhookEventTypes   = criticalField
	webhookAccount      = criticalField + 1
	webhookOrganization = criticalField + 2
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
	e.strings(webhookEventTypes, w.Events)
	e.string(webhookAccount, w.Account)
	e.string(webhookOrganization, w.Organization)
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
	}
	return checkWebhookURL(w.URL)
}
