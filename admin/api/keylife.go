package api

import (
	"net/http"
	"time"

	"github.com/keystile/keystile/keystore"
)

// KeyRotate is the body that rotates a key.
type KeyRotate struct {
	ExpiresAt Optional[time.Time] `json:"expires_at,omitzero" doc:"When the old key ends, at most 7 days on; absent or null: now"`
}

type deleteKeyInput struct {
	ID   string `path:"id" doc:"key_…"`
	Wait string `query:"wait" enum:"fleet,node" default:"fleet" doc:"fleet: answer when every live node has applied it; node: when this one has"`
}

type rotateKeyInput struct {
	ID   string `path:"id" doc:"key_…"`
	Wait string `query:"wait" enum:"fleet,node" doc:"fleet: answer when every live node has applied it, the default if the old key ends now; node: when this one has"`
	Body KeyRotate
}

type duplicateKeyInput struct {
	ID   string `path:"id" doc:"key_…"`
	Body KeyUpdate
}

func (a *API) registerKeyLife() {
	const tag = "keys"
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/keys/{id}", id: "delete_key", tag: tag, summary: "Delete a key", etag: true,
		description: "Works at once and is final. The record stays, with status deleted. A publishable key cannot be deleted, only rotated.",
		errors:      []int{http.StatusConflict},
	}, a.deleteKey)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/keys/{id}/reveal", id: "reveal_key", tag: tag, summary: "Reveal a key's token", etag: true,
		description: "Publishable and sandbox keys any number of times. A live key once, and only if it is its account's default secret key " +
			"or was made by a scheduled rotation; revealing destroys the kept token.",
	}, a.revealKey)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/keys/{id}/rotate", id: "rotate_key", tag: tag, summary: "Rotate a key", etag: true,
		description: "Answers the new key, which works at once. The old one ends now or at expires_at.",
	}, a.rotateKey)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/keys/{id}/duplicate", id: "duplicate_key", tag: tag, summary: "Duplicate a restricted key", etag: true,
		description: "Answers a new key. What the body does not name is as it is in the original.",
	}, a.duplicateKey)
}

func (a *API) deleteKey(c *call, in *deleteKeyInput) (Key, error) {
	ctx, cancel := c.commit()
	defer cancel()
	k, err := a.Store.DeleteKey(ctx, c.actor, in.ID)
	if err != nil {
		return Key{}, err
	}
	out := c.viewChanged(k)
	out.Nodes = a.appliedNodes(c, k.Revision, in.Wait)
	return out, nil
}

func (a *API) revealKey(c *call, in *keyInput) (Key, error) {
	ctx, cancel := c.commit()
	defer cancel()
	k, token, err := a.Store.RevealKey(ctx, c.actor, in.ID)
	if err != nil {
		return Key{}, err
	}
	return c.viewToken(k, token), nil
}

func (a *API) rotateKey(c *call, in *rotateKeyInput) (Key, error) {
	ctx, cancel := c.commit()
	defer cancel()
	k, token, err := a.Store.RotateKey(ctx, c.actor, in.ID, keystore.RotateParams{ExpiresAt: in.Body.ExpiresAt.Value})
	if err != nil {
		return Key{}, err
	}
	wait := in.Wait
	if wait == "" && in.Body.ExpiresAt.Value.IsZero() {
		wait = waitFleet
	}
	out := c.viewToken(k, token)
	out.Nodes = a.appliedNodes(c, k.Revision, wait)
	return out, nil
}

func (a *API) duplicateKey(c *call, in *duplicateKeyInput) (Key, error) {
	k, ok := a.Store.Snapshot().Key(in.ID)
	if !ok {
		return Key{}, notFound("key", in.ID)
	}
	patch, err := a.keyPatch(&in.Body, k)
	if err != nil {
		return Key{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	k, token, err := a.Store.DuplicateKey(ctx, c.actor, in.ID, patch)
	if err != nil {
		return Key{}, err
	}
	return c.viewToken(k, token), nil
}
