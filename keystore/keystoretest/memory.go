package keystoretest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keystile/keystile/keystore"
)

// Memory is a backend in memory. Its content outlives Close: Reopen gives it back, as a file would.
type Memory struct {
	mu      sync.Mutex
	closed  bool
	content *content
}

type content struct {
	head   keystore.Head
	rows   map[rowKey][]byte
	events []keystore.EventRow
	usage  map[string]keystore.Usage
	meta   map[string][]byte
	stages map[string]staged
	kept   map[string]keystore.KeptRow
}

type rowKey struct {
	table keystore.Table
	id    string
}

var _ keystore.Backend = (*Memory)(nil)

// NewMemory is an empty backend in memory.
func NewMemory() *Memory {
	return &Memory{content: &content{
		rows:  make(map[rowKey][]byte),
		usage: make(map[string]keystore.Usage),
		meta:  make(map[string][]byte),
		kept:  make(map[string]keystore.KeptRow),
	}}
}

// Reopen is the backend as another process would find it after this one is closed.
func (m *Memory) Reopen() *Memory { return &Memory{content: m.content} }

var errClosed = errors.New("the backend is closed")

// enter locks the backend for one call.
func (m *Memory) enter(ctx context.Context) (*content, func(), error) {
	m.mu.Lock()
	err := ctx.Err()
	if m.closed {
		err = errClosed
	}
	if err != nil {
		m.mu.Unlock()
		return nil, nil, err
	}
	return m.content, m.mu.Unlock, nil
}

// Load is documented at keystore.Backend, as all that follows.
func (m *Memory) Load(ctx context.Context, row func(keystore.Row) error) (keystore.Head, error) {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return keystore.Head{}, err
	}
	defer leave()
	keys := slices.SortedFunc(maps.Keys(c.rows), func(a, b rowKey) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.id, b.id))
	})
	for _, k := range keys {
		data := bytes.Clone(c.rows[k])
		err := row(keystore.Row{Table: k.table, ID: k.id, Data: data})
		clear(data) // whoever keeps it is found out
		if err != nil {
			return keystore.Head{}, err
		}
	}
	return c.head, nil
}

// Commit applies a commit.
func (m *Memory) Commit(ctx context.Context, commit *keystore.Commit) error {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if c.head != commit.Previous {
		return keystore.ErrStale
	}
	if err := c.commitStage(commit.Stage); err != nil {
		return err
	}
	for _, r := range commit.Rows {
		k := rowKey{r.Table, r.ID}
		if r.Data == nil {
			delete(c.rows, k)
			continue
		}
		c.rows[k] = bytes.Clone(r.Data)
	}
	for _, e := range commit.Events {
		c.events = append(c.events, keystore.EventRow{Seq: e.Seq, Body: bytes.Clone(e.Body)})
	}
	c.head = commit.Next
	return nil
}

// Head is the newest head.
func (m *Memory) Head(ctx context.Context) (keystore.Head, error) {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return keystore.Head{}, err
	}
	defer leave()
	return c.head, nil
}

// Events calls event for a range of events.
func (m *Memory) Events(
	ctx context.Context, first, last uint64, backwards bool, event func(keystore.EventRow) error,
) error {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	var found []keystore.EventRow
	for _, e := range c.events {
		if e.Seq >= first && e.Seq <= last {
			found = append(found, e)
		}
	}
	leave()
	if backwards {
		slices.Reverse(found)
	}
	for _, e := range found {
		if err := event(e); err != nil {
			return err
		}
	}
	return nil
}

// SaveUsage keeps the last use of keys.
func (m *Memory) SaveUsage(ctx context.Context, rows []keystore.UsageRow) error {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for _, r := range rows {
		c.usage[r.KeyID] = r.Usage
	}
	return nil
}

// LoadUsage calls row for every saved use since a time.
func (m *Memory) LoadUsage(ctx context.Context, since time.Time, row func(keystore.UsageRow) error) error {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for id, usage := range c.usage {
		if usage.At.Before(since) {
			continue
		}
		if err := row(keystore.UsageRow{KeyID: id, Usage: usage}); err != nil {
			return err
		}
	}
	return nil
}

// Meta is a small value.
func (m *Memory) Meta(ctx context.Context, name string) ([]byte, error) {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return bytes.Clone(c.meta[name]), nil
}

// SwapMeta sets a small value if it is still old.
func (m *Memory) SwapMeta(ctx context.Context, name string, old, value []byte) (bool, error) {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	is, ok := c.meta[name]
	if ok != (old != nil) || !bytes.Equal(is, old) {
		return false, nil
	}
	c.meta[name] = bytes.Clone(value)
	return true, nil
}

// Close ends the use of this backend.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
