package api

import (
	"net/http"
	"time"

	"github.com/keystile/keystile/keystore"
)

// MasterKey is the state of the master keyset. It holds the numbers of keys, which are no secret, and no key.
type MasterKey struct {
	Object  string          `json:"object" enum:"master_key"`
	Source  string          `json:"source" doc:"Where the keyset is kept, in words"`
	Primary int64           `json:"primary" doc:"Number of the key that seals"`
	Waiting *int64          `json:"waiting" doc:"Number of the key that promote takes into use"`
	Keys    []int64         `json:"keys" doc:"Numbers of all keys, in the order in which they were made"`
	Old     MasterKeySealed `json:"old" doc:"What is still sealed under other keys than the primary"`
	Nodes   []MasterKeyNode `json:"nodes" doc:"What the live nodes of the fleet have said of their keysets"`
}

// MasterKeySealed counts what is sealed.
type MasterKeySealed struct {
	Keys        int        `json:"keys" doc:"Tokens of keys that can be revealed"`
	Members     int        `json:"members" doc:"Passwords and authenticator secrets of members"`
	Webhooks    int        `json:"webhooks" doc:"Secrets of webhook endpoints"`
	Kept        int        `json:"kept" doc:"Saved answers, verification codes, states of deliveries"`
	SigningKeys bool       `json:"signing_keys" doc:"The keys that sign assertions"`
	KeptUntil   *time.Time `json:"kept_until" doc:"When the last of the saved answers is destroyed that a fleet does not seal anew"`
}

// MasterKeyNode is what a node has said of its keyset.
type MasterKeyNode struct {
	Node    string  `json:"node"`
	Self    bool    `json:"self" doc:"It is the one that answers"`
	Primary *int64  `json:"primary" doc:"Number of the key that seals there; null: it has not said"`
	Keys    []int64 `json:"keys"`
}

// MasterKeyDone is what a step has done.
type MasterKeyDone struct {
	Object   string          `json:"object" enum:"master_key_change"`
	Resealed MasterKeySealed `json:"resealed" doc:"What was sealed anew under the primary"`
	Now      MasterKey       `json:"master_key" doc:"The state after it"`
}

type masterKeyInput struct{}

type rotateMasterKeyInput struct{ Body MasterKeyRotate }

// MasterKeyRotate is the body of a rotation.
type MasterKeyRotate struct {
	KeepOld Optional[bool] `json:"keep_old,omitzero" doc:"Keep the old keys in the keyset, for backups that are sealed under them"`
}

// registerMasterKey adds what, like the backup, no admin token may do: it is for who has the machine.
func (a *API) registerMasterKey() {
	const tag = "master_key"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/master_key", id: "get_master_key", tag: tag, summary: "Show the state of the master keyset",
		description: "Which key seals, which waits, and what is still sealed under others. It opens everything that is sealed to find out. Only at the gateway's own admin endpoint, as all of these calls.",
	}, func(c *call, _ *masterKeyInput) (MasterKey, error) { return a.masterKey(c) })
	handle(a, operation{
		method: http.MethodPost, path: "/v1/master_key/add", id: "add_master_key", tag: tag, summary: "Add a master key that waits",
		description: "The first step of a rotation in a fleet. Every node needs the keyset with it before the next one. If a key waits already, nothing is done.",
	}, func(c *call, _ *masterKeyInput) (MasterKeyDone, error) {
		_, err := a.Store.AddMasterKey(c.ctx, c.actor)
		return a.masterKeyDone(c, nil, err)
	})
	handle(a, operation{
		method: http.MethodPost, path: "/v1/master_key/reload", id: "reload_master_key", tag: tag, summary: "Read the master keyset again",
		description: "On a node to which the keyset was copied. A keyset that does not open what the store holds is refused.",
	}, func(c *call, _ *masterKeyInput) (MasterKeyDone, error) {
		_, err := a.Store.ReloadMasterKey(c.ctx)
		return a.masterKeyDone(c, nil, err)
	})
	handle(a, operation{
		method: http.MethodPost, path: "/v1/master_key/promote", id: "promote_master_key", tag: tag, summary: "Take the waiting master key into use",
		description: "From then on it seals, on all nodes, and what is sealed under others is sealed anew. Refused while a live node does not have it. Repeated, it seals anew what is left.",
	}, func(c *call, _ *masterKeyInput) (MasterKeyDone, error) {
		done, err := a.Store.PromoteMasterKey(c.ctx, c.actor)
		return a.masterKeyDone(c, done, err)
	})
	handle(a, operation{
		method: http.MethodPost, path: "/v1/master_key/prune", id: "prune_master_key", tag: tag, summary: "Drop the old master keys",
		description: "Refused while something is sealed under one of them.",
	}, func(c *call, _ *masterKeyInput) (MasterKeyDone, error) {
		return a.masterKeyDone(c, nil, a.Store.PruneMasterKey(c.ctx, c.actor))
	})
	handle(a, operation{
		method: http.MethodPost, path: "/v1/master_key/rotate", id: "rotate_master_key", tag: tag, summary: "Replace the master key",
		description: "All steps at once, where one node uses the store. A rotation that was cut off is finished.",
	}, func(c *call, in *rotateMasterKeyInput) (MasterKeyDone, error) {
		done, err := a.Store.RotateMasterKey(c.ctx, c.actor, in.Body.KeepOld.Value)
		return a.masterKeyDone(c, done, err)
	})
}

func (a *API) masterKeyDone(c *call, done *keystore.Sealed, err error) (MasterKeyDone, error) {
	if err != nil {
		return MasterKeyDone{}, err
	}
	out := MasterKeyDone{Object: "master_key_change"}
	if done != nil {
		out.Resealed = newMasterKeySealed(*done)
	}
	out.Now, err = a.masterKey(c)
	return out, err
}

func (a *API) masterKey(c *call) (MasterKey, error) {
	state, err := a.Store.MasterKeys(c.ctx)
	if err != nil {
		return MasterKey{}, err
	}
	out := MasterKey{
		Object: "master_key", Source: state.Source, Primary: int64(state.Primary), Waiting: number(state.Waiting), Keys: numbers(state.Keys),
		Old: newMasterKeySealed(state.Old), Nodes: make([]MasterKeyNode, 0, len(state.Nodes)),
	}
	for _, n := range state.Nodes {
		if n.Node == "" {
			n.Node = a.Node
		}
		out.Nodes = append(out.Nodes, MasterKeyNode{Node: n.Node, Self: n.Self, Primary: number(n.Primary), Keys: numbers(n.Keys)})
	}
	return out, nil
}

func newMasterKeySealed(n keystore.Sealed) MasterKeySealed {
	return MasterKeySealed{
		Keys: n.Keys, Members: n.Members, Webhooks: n.Webhooks, Kept: n.Kept, SigningKeys: n.SigningKeys, KeptUntil: stamp(n.KeptUntil),
	}
}

// number is nil for no key.
func number(id uint32) *int64 {
	if id == 0 {
		return nil
	}
	n := int64(id)
	return &n
}

func numbers(ids []uint32) []int64 {
	out := make([]int64, 0, len(ids))
	for _, id := range ids {
		out = append(out, int64(id))
	}
	return out
}
