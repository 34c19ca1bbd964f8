package keystoretest

import (
	"bytes"
	"context"

	"github.com/keystile/keystile/keystore"
)

// Keep stores and removes values that have an end.
func (m *Memory) Keep(ctx context.Context, put []keystore.KeptRow, remove []string) error {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for _, id := range remove {
		delete(c.kept, id)
	}
	for _, r := range put {
		r.Data = bytes.Clone(r.Data)
		c.kept[r.ID] = r
	}
	return nil
}

// SwapKept gives kept values other Data, if they are what they were.
func (m *Memory) SwapKept(ctx context.Context, swaps []keystore.KeptSwap) ([]bool, error) {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	done := make([]bool, len(swaps))
	for i, swap := range swaps {
		r, ok := c.kept[swap.ID]
		if done[i] = ok && bytes.Equal(r.Data, swap.Old); done[i] {
			r.Data = bytes.Clone(swap.Data)
			c.kept[swap.ID] = r
		}
	}
	return done, nil
}

// Kept is one kept value.
func (m *Memory) Kept(ctx context.Context, id string) (*keystore.KeptRow, error) {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	r, ok := c.kept[id]
	if !ok {
		return nil, nil //nolint:nilnil // none is an answer
	}
	r.Data = bytes.Clone(r.Data)
	return &r, nil
}

// LoadKept calls row for every kept value.
func (m *Memory) LoadKept(ctx context.Context, row func(keystore.KeptRow) error) error {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for _, r := range c.kept {
		if err := row(r); err != nil {
			return err
		}
	}
	return nil
}
