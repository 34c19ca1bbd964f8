package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tink-crypto/tink-go/v2/keyset"
	"go.uber.org/zap"
)

// The master key is changed in three steps, each of which can be repeated, and after each of which, and at any moment in
// between, every node can open everything:
//
//   - add: the keyset gets a key that waits. On a fleet it is then carried to the other nodes, and reloaded there.
//   - promote: the store says that this key seals from now on, and all that is sealed under others is sealed anew.
//   - prune: the other keys are dropped, once nothing is sealed under them.

// The events of master keys. Their object is the number of the key.
const (
	EventMasterKeyAdded    EventType = "master_key.added"
	EventMasterKeyPromoted EventType = "master_key.promoted"
	EventMasterKeyResealed EventType = "master_key.resealed"
	EventMasterKeyPruned   EventType = "master_key.pruned"
)

// MasterKeys is the state of the master keyset.
type MasterKeys struct {
	Source  string   // where it is, in words
	Primary uint32   // the key that seals
	Waiting uint32   // the key that promote takes into use; 0: none
	Keys    []uint32 // all of them, in order
	Old     Sealed   // what other keys than the primary have sealed
	Nodes   []NodeMasterKeys
}

// MasterKeys tells of the master keyset, and of what is still sealed under keys that are not its primary.
func (s *Store) MasterKeys(ctx context.Context) (*MasterKeys, error) {
	nodes, err := s.nodeKeysets(ctx)
	if err != nil {
		return nil, err
	}
	r := s.seal.ring.Load()
	old, err := s.sealedOld(ctx, r)
	if err != nil {
		return nil, err
	}
	return &MasterKeys{
		Source: s.master.String(), Primary: r.primary, Waiting: waitingKey(r.handle), Keys: keyIDs(r.handle), Old: old.Sealed, Nodes: nodes,
	}, nil
}

// masterKeyTime bounds one step.
const masterKeyTime = 30 * time.Minute

// changingKeyset lets one in at a time. A step goes on when whoever asked for it has left: half of one helps nobody.
func (s *Store) changingKeyset(ctx context.Context) (context.Context, func()) {
	s.keysets.Lock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), masterKeyTime)
	return ctx, func() {
		cancel()
		s.keysets.Unlock()
	}
}

// AddMasterKey adds a key that waits to the keyset, if none waits yet, and answers its number.
func (s *Store) AddMasterKey(ctx context.Context, by Actor) (uint32, error) {
	ctx, done := s.changingKeyset(ctx)
	defer done()
	return s.addMasterKey(ctx, by)
}

func (s *Store) addMasterKey(ctx context.Context, by Actor) (uint32, error) {
	r := s.seal.ring.Load()
	if id := waitingKey(r.handle); id != 0 {
		return id, nil
	}
	if err := s.changeableKeyset(); err != nil {
		return 0, err
	}
	next, id, err := withNewKey(r.handle)
	if err != nil {
		return 0, err
	}
	// No event, no change: the event comes first, and tells of a key that is waiting from now on, or of the try.
	if err := s.noteMasterKey(ctx, by, EventMasterKeyAdded, id, nil); err != nil {
		return 0, err
	}
	return id, s.changeKeyset(ctx, r, next)
}

// changeKeyset puts another keyset in place: in its source first, so that nothing is sealed under a key that is nowhere.
func (s *Store) changeKeyset(ctx context.Context, r *ring, next *keyset.Handle) error {
	if err := s.master.replace(r.handle, next); err != nil {
		return conflict("", "%v", err)
	}
	return s.useKeyset(ctx, next)
}

// changeableKeyset says what to do where this program cannot change the keyset.
func (s *Store) changeableKeyset() error {
	err := s.master.fixed()
	if errors.Is(err, errByHand) {
		return conflict("", "%v: %s", err, byHand)
	}
	return err
}

// byHand says what to do with a keyset that is kept elsewhere.
const byHand = "put the keyset into a file of mode 0600, change it there by `keystile master-key add --file FILE` or `prune --file FILE --keep NUMBER`, " +
	"put it back where it is kept, restart every node, and go on with `keystile master-key promote`; then remove the file"

// useKeyset takes a keyset into use. Which of its keys seals is the store's to say.
func (s *Store) useKeyset(ctx context.Context, handle *keyset.Handle) error {
	stored, err := s.backend.Meta(ctx, metaKeyset)
	if err != nil {
		return fmt.Errorf("reading which master key seals: %w", err)
	}
	next, err := newRing(handle, stored)
	if err != nil {
		return fmt.Errorf("the master keyset cannot be used for sealing: %w", err)
	}
	s.seal.ring.Store(next)
	if err := s.quiesce(ctx); err != nil {
		return err
	}
	s.tellKeyset(ctx)
	return nil
}

// ReloadMasterKey reads the keyset from its source again. A keyset is refused that does not open what the store holds.
func (s *Store) ReloadMasterKey(ctx context.Context) (*MasterKeys, error) {
	ctx, done := s.changingKeyset(ctx)
	defer done()
	handle, err := s.master.load()
	if errors.Is(err, errNoMasterKey) {
		err = fmt.Errorf("%v is missing", s.master)
	}
	if err != nil {
		return nil, conflict("", "%v; the keyset in use stays", err)
	}
	stored, err := s.backend.Meta(ctx, metaKeyset)
	if err != nil {
		return nil, fmt.Errorf("reading which master key seals: %w", err)
	}
	next, err := newRing(handle, stored)
	if err != nil || !next.opens(stored) {
		return nil, conflict("", "%v does not hold key %s, under which the store's secrets are sealed; the keyset in use stays", s.master, keysetName(stored))
	}
	for _, id := range keyIDs(s.seal.ring.Load().handle) {
		if hasKey(handle, id) {
			continue
		}
		if err := s.catchUp(ctx); err != nil {
			return nil, err
		}
		old, err := s.sealedOld(ctx, next)
		if err != nil {
			return nil, err
		}
		if n := old.total(); n > 0 {
			return nil, conflict("", "%v lacks key %d, and %s; the keyset in use stays", s.master, id, old.words())
		}
		break
	}
	if err := s.useKeyset(ctx, handle); err != nil {
		return nil, err
	}
	return s.MasterKeys(ctx)
}

// PromoteMasterKey takes the key that waits into use, if one waits, and seals everything anew that is sealed under another
// key than the primary. It is refused while a live node of the fleet does not have that key.
func (s *Store) PromoteMasterKey(ctx context.Context, by Actor) (*Sealed, error) {
	ctx, done := s.changingKeyset(ctx)
	defer done()
	return s.promoteMasterKey(ctx, by)
}

func (s *Store) promoteMasterKey(ctx context.Context, by Actor) (*Sealed, error) {
	r := s.seal.ring.Load()
	if err := s.sourceHolds(r); err != nil {
		return nil, err
	}
	if id := waitingKey(r.handle); id != 0 {
		if err := s.turnTo(ctx, by, r, id); err != nil {
			return nil, err
		}
	}
	return s.reseal(ctx, by)
}

// sourceHolds asks whether the keys in use still stand where they are kept. What is sealed under a key that only this process
// has is lost when it ends.
func (s *Store) sourceHolds(r *ring) error {
	there, err := s.master.load()
	switch {
	case errors.Is(err, errNoMasterKey):
		err = fmt.Errorf("%v is missing: put it back; nothing was changed", s.master)
	case err == nil && !sameKeys(there, r.handle):
		err = otherKeys(s.master)
	}
	if err != nil {
		return conflict("", "%v", err)
	}
	return nil
}

// turnTo makes a key the primary of the whole fleet.
func (s *Store) turnTo(ctx context.Context, by Actor, r *ring, id uint32) error {
	stored, err := s.backend.Meta(ctx, metaKeyset)
	if err != nil {
		return fmt.Errorf("reading which master key seals: %w", err)
	}
	if checkedID(stored) != r.primary || !r.opens(stored) {
		return conflict("", "another node has changed the master key: run `keystile master-key reload` first")
	}
	handle, err := withPrimary(r.handle, id)
	if err != nil {
		return err
	}
	next, err := newRing(handle, nil)
	if err != nil {
		return err
	}
	if err := s.everyNodeHas(ctx, id); err != nil {
		return err
	}
	if err := s.noteMasterKey(ctx, by, EventMasterKeyPromoted, id, map[string]any{"from": r.primary}); err != nil {
		return err
	}
	value, err := s.swapCheck(ctx, stored, next)
	if err != nil {
		return err
	}
	// From here on a node without the key does not start. One that has started between the first look and now is known by now.
	if err := s.everyNodeHas(ctx, id); err != nil {
		_, back := s.swapCheck(ctx, value, r)
		return errors.Join(err, back)
	}
	s.seal.ring.Store(next)
	// The file says the same as the store, for whoever reads it without a store. What counts is the store.
	if err := s.master.replace(r.handle, handle); err != nil && !errors.Is(err, errByHand) {
		s.logger.Warn("noting the primary key in the master key file", zap.Error(err))
	}
	if err := s.quiesce(ctx); err != nil {
		return err
	}
	s.tellKeyset(ctx)
	s.logger.Info("took another master key into use", zap.Uint32("master_key", id))
	return nil
}

func (s *Store) everyNodeHas(ctx context.Context, id uint32) error {
	nodes, err := s.nodeKeysets(ctx)
	if err != nil {
		return err
	}
	if lack := without(nodes, func(n *NodeMasterKeys) bool { return slices.Contains(n.Keys, id) }); lack != "" {
		return conflict("", "these nodes do not have master key %d: %s; copy the keyset there and run `keystile master-key reload` on each; nothing was changed", id, lack)
	}
	return nil
}

// PruneMasterKey drops all keys but the primary. It is refused while something is sealed under another one, or while a live
// node may seal something so.
func (s *Store) PruneMasterKey(ctx context.Context, by Actor) error {
	ctx, done := s.changingKeyset(ctx)
	defer done()
	return s.pruneMasterKey(ctx, by)
}

func (s *Store) pruneMasterKey(ctx context.Context, by Actor) error {
	r := s.seal.ring.Load()
	nodes, err := s.nodeKeysets(ctx)
	if err != nil {
		return err
	}
	if other := without(nodes, func(n *NodeMasterKeys) bool { return n.Primary == r.primary }); other != "" {
		return conflict("", "these nodes may still seal under another master key than %d: %s; they follow within a minute: try again; nothing was changed", r.primary, other)
	}
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	stored, err := s.backend.Meta(ctx, metaKeyset)
	if err != nil {
		return fmt.Errorf("reading which master key seals: %w", err)
	}
	if s.seal.ring.Load() != r || checkedID(stored) != r.primary || !r.opens(stored) {
		return conflict("", "another node has changed the master key: run `keystile master-key reload` first; nothing was changed")
	}
	old, err := s.sealedOld(ctx, r)
	if err != nil {
		return err
	}
	if old.total() > 0 {
		return conflict("", "%s", old.words())
	}
	next, err := onlyPrimary(r.handle)
	if err != nil {
		return err
	}
	if next.Len() == r.handle.Len() {
		return nil
	}
	if err := s.changeableKeyset(); err != nil {
		return err
	}
	dropped := slices.DeleteFunc(keyIDs(r.handle), func(id uint32) bool { return id == r.primary })
	if err := s.noteMasterKey(ctx, by, EventMasterKeyPruned, r.primary, map[string]any{"dropped": dropped}); err != nil {
		return err
	}
	s.setDropping(true)
	if err = s.holdPromotions(ctx, r, stored); err == nil {
		err = s.changeKeyset(ctx, r, next)
	}
	s.setDropping(false)
	if err != nil {
		s.tellKeyset(ctx) // of what this node has after all
	}
	return err
}

// holdPromotions sees to it that no other node promotes a key that is about to be dropped here. One that has begun finds
// another check value than it has read, and one that begins later finds that this node does not have the key.
func (s *Store) holdPromotions(ctx context.Context, r *ring, stored []byte) error {
	if s.shared == nil {
		return nil
	}
	if err := s.sayKeyset(ctx); err != nil {
		return fmt.Errorf("telling the other nodes which master keys are left: %w", err)
	}
	_, err := s.swapCheck(ctx, stored, r)
	return err
}

// RotateMasterKey does all of it at once, for a store of one node: a new key, everything sealed anew under it, and the old
// keys dropped unless they are to be kept. A rotation that was cut off is finished instead.
func (s *Store) RotateMasterKey(ctx context.Context, by Actor, keepOld bool) (*Sealed, error) {
	ctx, done := s.changingKeyset(ctx)
	defer done()
	nodes, err := s.nodeKeysets(ctx)
	if err != nil {
		return nil, err
	}
	if others := without(nodes, func(n *NodeMasterKeys) bool { return n.Self }); others != "" {
		return nil, conflict("", "other nodes use this key store (%s), and each needs the new key before one seals under it: run `keystile master-key add` here, "+
			"copy the keyset to them, run `keystile master-key reload` on each, and then `promote` and `prune` on one; nothing was changed", others)
	}
	r := s.seal.ring.Load()
	old, err := s.sealedOld(ctx, r)
	if err != nil {
		return nil, err
	}
	if cutOff := old.total() > 0 && keyIDs(r.handle)[0] != r.primary; !cutOff {
		if _, err := s.addMasterKey(ctx, by); err != nil {
			return nil, err
		}
	}
	sealed, err := s.promoteMasterKey(ctx, by)
	if err != nil || keepOld {
		return sealed, err
	}
	if err := s.pruneMasterKey(ctx, by); err != nil {
		var known *Error
		if errors.As(err, &known) {
			return nil, conflict("", "the new key seals everything from now on, but the old one stays: %s", known.Message)
		}
		return nil, err
	}
	return sealed, nil
}

func (s *Store) noteMasterKey(ctx context.Context, by Actor, t EventType, id uint32, after map[string]any) error {
	return s.write(ctx, by, func(c *change) error { return c.event(t, fmt.Sprint(id), "", "", nil, after) })
}
