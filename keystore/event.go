package keystore

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// EventType is what an event tells of, in Stripe's manner.
type EventType string

// The types of events.
const (
	EventOrganizationCreated EventType = "organization.created"
	EventOrganizationUpdated EventType = "organization.updated"
	EventAccountCreated      EventType = "account.created"
	EventAccountUpdated      EventType = "account.updated"
	EventAccountConnected    EventType = "account.connected"
	EventAccountDisconnected EventType = "account.disconnected"
	EventSandboxCreated      EventType = "sandbox.created"
	EventSandboxDeleted      EventType = "sandbox.deleted"
	EventKeyCreated          EventType = "key.created"
	EventKeyImported         EventType = "key.imported"
	EventKeyUpdated          EventType = "key.updated"
	EventKeyRevealed         EventType = "key.revealed"
	EventKeyRotated          EventType = "key.rotated"
	EventKeyDeleted          EventType = "key.deleted"
	EventKeyExpired          EventType = "key.expired" // its end, which had passed, was written down

	EventKeyRotationScheduled   EventType = "key.rotation_scheduled"
	EventKeyRotationUnscheduled EventType = "key.rotation_unscheduled"
	EventKeyRotationEnded       EventType = "key.rotation_ended" // an overlap was ended early

	// EventKeyImportCompleted stands for all keys of one large import: a million events would tell nothing more.
	EventKeyImportCompleted EventType = "key_import.completed"
)

// Event is one line of the audit trail. Its canonical encoding is the JSON of this struct as encoding/json writes it:
// fields in this order, maps by key. The stored bytes are the truth: Previous is the SHA-256 of the stored bytes of the
// event before, so that no event can be changed, removed or put in between without breaking the chain, and no re-encoding
// is ever needed to verify it. Events hold no token material.
type Event struct {
	ID           string         `json:"id"`
	Seq          uint64         `json:"seq"`      // place in the chain, from 1
	Revision     uint64         `json:"revision"` // of the commit that it became durable with
	Type         EventType      `json:"type"`
	Time         time.Time      `json:"time"` // UTC, whole milliseconds
	Actor        EventActor     `json:"actor"`
	Object       string         `json:"object"` // id of what changed
	Account      string         `json:"account,omitempty"`
	Organization string         `json:"organization,omitempty"`
	Before       map[string]any `json:"before,omitempty"` // only the fields that changed
	After        map[string]any `json:"after,omitempty"`
	Previous     string         `json:"previous"` // hex; zeros for the first event
}

// EventActor is an [Actor] as events keep it.
type EventActor struct {
	Kind    string `json:"kind"`
	ID      string `json:"id,omitempty"`
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
}

func (e *Event) encode() ([]byte, error) { return json.Marshal(e) }

// DecodeEvent reads an event from its stored bytes.
func DecodeEvent(body []byte) (*Event, error) {
	e := new(Event)
	if err := json.Unmarshal(body, e); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	return e, nil
}

func hexHash(h [32]byte) string { return hex.EncodeToString(h[:]) }

// event adds an event to the change. before and after are whole summaries, or nil; only their differences are kept.
func (c *change) event(t EventType, object, account, organization string, before, after map[string]any) error {
	id, err := c.newID(prefixEvent)
	if err != nil {
		return err
	}
	before, after = differences(before, after)
	c.events = append(c.events, &Event{
		ID:           id,
		Type:         t,
		Time:         c.now,
		Actor:        EventActor(c.actor),
		Object:       object,
		Account:      account,
		Organization: organization,
		Before:       before,
		After:        after,
	})
	return nil
}

func (c *change) keyEvent(t EventType, before, after *Key) error {
	k := after
	if k == nil {
		k = before
	}
	return c.event(t, k.ID, k.Account, k.Organization, before.summary(), after.summary())
}
