package keystore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Which of the master keys seals is what the store's check value says, so that one write turns a whole fleet. A node turns
// when it catches up with a change, and looks once a minute besides.

// turnKeyset takes the key into use that the store says seals, if this node has it. From then on nothing new is sealed under
// another one here; what was begun before may still be: see quiesce.
func (s *Store) turnKeyset(ctx context.Context) {
	stored, err := s.meta(ctx, metaKeyset)
	if err != nil || s.seal == nil { // nil: the store is being opened, and looks later
		return
	}
	now := s.seal.ring.Load()
	if checkedID(stored) == now.primary {
		return
	}
	next, err := newRing(now.handle, stored)
	if err == nil && !next.opens(stored) {
		err = fmt.Errorf("the key store's secrets are sealed under master key %s, which this node does not have: "+
			"copy the keyset from another node and run `keystile master-key reload`", keysetName(stored))
	}
	if err != nil {
		s.logger.Error("taking another master key into use", zap.Error(err))
		return
	}
	if s.seal.ring.CompareAndSwap(now, next) {
		s.logger.Info("took another master key into use", zap.Uint32("master_key", next.primary))
	}
}

// followKeyset turns, and tells the other nodes.
func (s *Store) followKeyset(ctx context.Context) {
	if s.shared == nil || !s.met.Load() {
		return
	}
	s.turnKeyset(ctx)
	if err := s.quiesce(ctx); err == nil {
		s.tellKeyset(ctx)
	}
}

// quiesce waits until nothing is on its way to the backend that was sealed before it was called.
func (s *Store) quiesce(ctx context.Context) error {
	s.sealing.Lock()
	s.sealing.Unlock() //nolint:staticcheck // who comes later seals with what is in force now
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return unavailable("the key store is closed")
	}
	return s.settleLocked(ctx) // a commit of which nobody knows whether it is durable
}

// catchUp is quiesce, and brings memory to the state that the backend has now: what other nodes have sealed until here is seen.
func (s *Store) catchUp(ctx context.Context) error {
	if err := s.quiesce(ctx); err != nil || s.shared == nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending != nil || s.closed {
		return unavailable("it is not known yet whether the last change was saved; try again in a moment")
	}
	return s.catchUpLocked(ctx)
}

// Nodes say which keys they have in a kept value each, which ends if it is not renewed.
const (
	keysetNodePrefix = "master keys of "
	keysetNodeTime   = 5 * time.Minute
)

// tellKeyset tells the other nodes which keys this one has, and which of them seals. Call it only when nothing is on its
// way that another key has sealed.
func (s *Store) tellKeyset(ctx context.Context) {
	if s.shared == nil || !s.met.Load() {
		return
	}
	if err := s.sayKeyset(ctx); err != nil {
		s.logger.Warn("telling the other nodes which master keys this one has", zap.Error(err))
	}
}

func (s *Store) sayKeyset(ctx context.Context) error {
	s.telling.Lock()
	defer s.telling.Unlock()
	r := s.seal.ring.Load()
	keys := keyIDs(r.handle)
	if s.dropping {
		keys = []uint32{r.primary}
	}
	data := binary.BigEndian.AppendUint32(nil, r.primary)
	for _, id := range keys {
		data = binary.BigEndian.AppendUint32(data, id)
	}
	row := KeptRow{ID: keysetNodePrefix + s.node.id, Expires: milliseconds(s.now().Add(keysetNodeTime)), Data: data}
	return s.backend.Keep(ctx, []KeptRow{row}, nil)
}

func (s *Store) setDropping(on bool) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.dropping = on
}

// NodeMasterKeys is what a live node has said of its master keys.
type NodeMasterKeys struct {
	Node    string
	Self    bool
	Primary uint32   // what it seals under; 0: it has not said
	Keys    []uint32 // what it can open
}

// nodeKeysets asks for the master keys of all nodes that may be writing: the live ones, this one included. Where nobody
// shares the store there is this one.
func (s *Store) nodeKeysets(ctx context.Context) ([]NodeMasterKeys, error) {
	r := s.seal.ring.Load()
	if s.shared == nil {
		return []NodeMasterKeys{{Self: true, Primary: r.primary, Keys: keyIDs(r.handle)}}, nil
	}
	rows, err := s.shared.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the nodes of the fleet: %w", err)
	}
	var nodes []NodeMasterKeys
	for _, row := range rows {
		n := NodeMasterKeys{Node: row.ID, Self: row.ID == s.node.id}
		switch {
		case n.Self:
			n.Primary, n.Keys = r.primary, keyIDs(r.handle)
		case row.Unseen > max(liveTime, row.MaxStaleness):
			continue // it accepts no keys any more
		default:
			told, err := s.backend.Kept(ctx, keysetNodePrefix+row.ID)
			if err != nil {
				return nil, fmt.Errorf("asking for the master keys of %s: %w", row.ID, err)
			}
			if told != nil && s.now().Before(told.Expires) {
				n.Primary, n.Keys = decodeKeyset(told.Data)
			}
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b NodeMasterKeys) int { return strings.Compare(a.Node, b.Node) })
	return nodes, nil
}

func decodeKeyset(data []byte) (primary uint32, keys []uint32) {
	if len(data) < 8 || len(data)%4 != 0 {
		return 0, nil // it has said nothing that this version understands
	}
	for rest := data[4:]; len(rest) > 0; rest = rest[4:] {
		keys = append(keys, binary.BigEndian.Uint32(rest))
	}
	return binary.BigEndian.Uint32(data), keys
}

// without lists the names of the nodes for which has is false.
func without(nodes []NodeMasterKeys, has func(*NodeMasterKeys) bool) string {
	var names []string
	for i := range nodes {
		if !has(&nodes[i]) {
			names = append(names, nodes[i].Node)
		}
	}
	return strings.Join(names, ", ")
}

// swapCheck puts the check value of a ring in the place of one that is stored.
func (s *Store) swapCheck(ctx context.Context, stored []byte, r *ring) ([]byte, error) {
	value, err := r.check()
	if err != nil {
		return nil, fmt.Errorf("sealing the check value: %w", err)
	}
	swapped, err := s.backend.SwapMeta(ctx, metaKeyset, stored, value)
	switch {
	case err != nil:
		// It may have happened: a second look says so.
		if now, readErr := s.backend.Meta(ctx, metaKeyset); readErr != nil || !bytes.Equal(now, value) {
			return nil, fmt.Errorf("noting which master key seals: %w", err)
		}
	case !swapped:
		return nil, conflict("", "another node is changing the master key: try again")
	}
	if s.shared != nil {
		s.rememberMeta(metaKeyset, value)
	}
	return value, nil
}
