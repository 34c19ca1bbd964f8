package keystoretest

import (
	"bytes"
	"context"
	"fmt"

	"github.com/keystile/keystile/keystore"
)

// staged are the rows of one stage.
type staged map[rowKey][]byte

// Stage stores rows that nobody sees yet.
func (m *Memory) Stage(ctx context.Context, stage keystore.Stage, rows []keystore.Row) error {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if c.stages == nil {
		c.stages = make(map[string]staged)
	}
	if c.stages[stage.ID] == nil {
		c.stages[stage.ID] = make(staged)
	}
	for _, r := range rows {
		if r.Table != stage.Table || r.ID < stage.First || r.ID > stage.Last {
			return fmt.Errorf("the row %s is not within its stage", r.ID)
		}
		c.stages[stage.ID][rowKey{r.Table, r.ID}] = bytes.Clone(r.Data)
	}
	return nil
}

// Unstage forgets a stage, or all for "".
func (m *Memory) Unstage(ctx context.Context, id string) error {
	c, leave, err := m.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if id == "" {
		clear(c.stages)
	}
	delete(c.stages, id)
	return nil
}

func (c *content) commitStage(id string) error {
	if id == "" {
		return nil
	}
	rows, ok := c.stages[id]
	if !ok {
		return fmt.Errorf("there is no stage %s", id)
	}
	for key, data := range rows {
		c.rows[key] = data
	}
	delete(c.stages, id)
	return nil
}
