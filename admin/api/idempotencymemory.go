package api

import (
	"container/list"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"sync"
	"time"
)

// Bounds of [MemoryIdempotency].
const (
	memoryIdempotencyEntries = 100_000
	memoryIdempotencyBytes   = 64 << 20
)

// MemoryIdempotency keeps answers in this process, sealed under a key that it makes for itself and never shows: a core
// dump has no token that a log line or a heap profile of the answers would give away without the key beside it. Answers
// are lost when the process ends. It is bounded, and full it refuses new keys rather than forgetting kept ones.
type MemoryIdempotency struct {
	now  func() time.Time
	aead cipher.AEAD

	maxEntries, maxBytes int
	rooms                callerRooms

	mu      sync.Mutex // guards all below
	entries map[memoryKey]*memoryEntry
	order   *list.List // of *memoryEntry that are finished, oldest first: they expire in this order
	bytes   int        // of all sealed answers
}

// memoryKey is structured, not concatenated: caller and key cannot run into each other.
type memoryKey struct{ caller, key string }

type memoryEntry struct {
	key     IdempotencyKey
	sealed  []byte    // nil: still running
	expires time.Time // zero: still running
}

// NewMemoryIdempotency makes an empty store with the given clock.
func NewMemoryIdempotency(now func() time.Time) *MemoryIdempotency {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return &MemoryIdempotency{
		now: now, aead: aead, maxEntries: memoryIdempotencyEntries, maxBytes: memoryIdempotencyBytes,
		entries: map[memoryKey]*memoryEntry{}, order: list.New(),
	}
}

// Begin implements [IdempotencyStore].
func (m *MemoryIdempotency) Begin(_ context.Context, k IdempotencyKey) (IdempotencyState, []byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expireLocked()
	e := m.entries[memoryKey{k.Caller, k.Key}]
	switch {
	case e == nil && (len(m.entries) >= m.maxEntries || m.bytes >= m.maxBytes):
		return IdempotencyFull, nil, nil
	case e == nil && !m.rooms.enter(&k, m.now()):
		return IdempotencyFull, nil, nil
	case e == nil:
		m.entries[memoryKey{k.Caller, k.Key}] = &memoryEntry{key: k}
		return IdempotencyClaimed, nil, nil
	case e.key.Fingerprint != k.Fingerprint:
		return IdempotencyReused, nil, nil
	case e.sealed == nil:
		return IdempotencyRunning, nil, nil
	}
	saved, err := m.aead.Open(nil, nil, e.sealed, additional(k))
	if err != nil {
		return 0, nil, errors.New("a saved answer cannot be opened")
	}
	return IdempotencySaved, saved, nil
}

// Finish implements [IdempotencyStore].
func (m *MemoryIdempotency) Finish(_ context.Context, k IdempotencyKey, saved []byte) error {
	sealed := m.aead.Seal(nil, nil, saved, additional(k))
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[memoryKey{k.Caller, k.Key}]
	if e == nil || e.sealed != nil {
		return errors.New("the idempotency key is not claimed")
	}
	e.sealed, e.expires = sealed, m.now().Add(IdempotencyLifetime)
	m.bytes += len(sealed)
	m.rooms.keep(&k, e.expires, len(sealed))
	m.order.PushBack(e)
	return nil
}

// Abandon implements [IdempotencyStore].
func (m *MemoryIdempotency) Abandon(_ context.Context, k IdempotencyKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[memoryKey{k.Caller, k.Key}]; e != nil && e.sealed == nil {
		delete(m.entries, memoryKey{k.Caller, k.Key})
		m.rooms.leave(&k)
	}
}

// expireLocked destroys the answers whose time is over.
func (m *MemoryIdempotency) expireLocked() {
	now := m.now()
	for first := m.order.Front(); first != nil; first = m.order.Front() {
		e, _ := first.Value.(*memoryEntry)
		if now.Before(e.expires) {
			return
		}
		m.order.Remove(first)
		m.bytes -= len(e.sealed)
		clear(e.sealed)
		delete(m.entries, memoryKey{e.key.Caller, e.key.Key})
	}
}

// additional binds a sealed answer to its key.
func additional(k IdempotencyKey) []byte {
	return append([]byte(k.Caller+"\x00"+k.Key+"\x00"), k.Fingerprint[:]...)
}
