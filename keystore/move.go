package keystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Moved is what [Move] has copied.
type Moved struct {
	Head              Head
	Rows, Events      int
	Usage, Kept, Meta int
}

const (
	moveRows   = 2000 // of a commit
	moveEvents = 5000
	moveKept   = 500
)

// Move copies all of a store to an empty backend of another kind, and compares then what arrived with what is there. Nobody
// may be using either of them. progress is called now and then.
//
// Until the last step the copy has a head that no event stands behind: a store that is only half there does not start.
func Move(ctx context.Context, from, to Backend, progress func(format string, args ...any)) (*Moved, error) {
	m := &mover{ctx: ctx, from: from, to: to, progress: progress}
	steps := []func() error{m.checkTarget, m.checkSource, m.moveEvents, m.moveRows, m.moveMeta, m.moveUsage, m.moveKept, m.finish, m.compare}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &m.moved, nil
}

type mover struct {
	ctx      context.Context
	from, to Backend
	progress func(string, ...any)
	source   Head // of the whole
	head     Head // of the copy, so far
	moved    Moved
}

// checkTarget refuses to write over anything.
func (m *mover) checkTarget() error {
	occupied := errors.New("the target holds a store already, or the rest of a copy that was not finished: empty it, or give another one; nothing was changed")
	head, err := m.to.Load(m.ctx, func(Row) error { return occupied })
	if err != nil {
		return err
	}
	keyset, err := m.to.Meta(m.ctx, metaKeyset)
	if err == nil && (head != (Head{}) || keyset != nil) {
		err = occupied
	}
	return err
}

// checkSource walks the whole chain: what is broken is not carried on.
func (m *mover) checkSource() error {
	if shared, ok := m.from.(Shared); ok {
		nodes, err := shared.Nodes(m.ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if n.Unseen <= 2*liveTime {
				return fmt.Errorf("node %s uses the source: stop all gateways first; nothing was changed", n.ID)
			}
		}
	}
	report, err := verifyChain(m.ctx, m.from, ChainPlace{})
	switch {
	case err != nil:
		return err
	case report.Fault != nil:
		return fmt.Errorf("the source is damaged: event %d: %s; nothing was changed", report.Fault.Seq, report.Fault.Reason)
	case !report.Complete:
		return m.ctx.Err()
	case report.Head.Events == 0:
		return errors.New("the source is empty; nothing was changed")
	}
	m.source = report.Head
	return nil
}

// commit adds a part to the copy. Its head goes on, and names an event that is none.
func (m *mover) commit(c Commit) error {
	c.Previous, c.Next = m.head, m.head
	c.Next.Revision++
	c.Next.Events += uint64(len(c.Events))
	c.Next.Hash = [sha256.Size]byte{}
	for i := range c.Next.Hash {
		c.Next.Hash[i] = 0xff
	}
	if err := m.to.Commit(m.ctx, &c); err != nil {
		return fmt.Errorf("writing to the target: %w", err)
	}
	m.head = c.Next
	return nil
}

func (m *mover) moveEvents() error {
	var batch []EventRow
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		m.moved.Events += len(batch)
		m.progress("%d of %d events", m.moved.Events, m.source.Events)
		err := m.commit(Commit{Events: batch})
		batch = nil
		return err
	}
	err := m.from.Events(m.ctx, 1, m.source.Events, false, func(e EventRow) error {
		batch = append(batch, EventRow{Seq: e.Seq, Body: bytes.Clone(e.Body)})
		if len(batch) < moveEvents {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

func (m *mover) moveRows() error {
	var batch []Row
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		m.moved.Rows += len(batch)
		m.progress("%d objects", m.moved.Rows)
		err := m.commit(Commit{Rows: batch})
		batch = nil
		return err
	}
	head, err := m.from.Load(m.ctx, func(r Row) error {
		batch = append(batch, Row{Table: r.Table, ID: r.ID, Data: bytes.Clone(r.Data)})
		if len(batch) < moveRows {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err == nil && head != m.source {
		err = errors.New("the source was changed while it was being copied: stop all gateways, empty the target, and repeat")
	}
	return err
}

// moveMeta copies the small values. Leases are left: whoever had one is gone.
func (m *mover) moveMeta() error {
	for _, name := range copiedMeta {
		value, err := m.from.Meta(m.ctx, name)
		if err != nil || value == nil {
			if err != nil {
				return err
			}
			continue
		}
		if swapped, err := m.to.SwapMeta(m.ctx, name, nil, value); err != nil || !swapped {
			return errors.Join(err, fmt.Errorf("the target has a value %q already", name))
		}
		m.moved.Meta++
	}
	return nil
}

func (m *mover) moveUsage() error {
	var rows []UsageRow
	err := m.from.LoadUsage(m.ctx, time.Time{}, func(r UsageRow) error {
		rows = append(rows, r)
		return nil
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	m.moved.Usage = len(rows)
	return m.to.SaveUsage(m.ctx, rows)
}

func (m *mover) moveKept() error {
	rows, err := keptRows(m.ctx, m.from)
	if err != nil {
		return err
	}
	m.moved.Kept = len(rows)
	for part := range slices.Chunk(rows, moveKept) {
		if err := m.to.Keep(m.ctx, part, nil); err != nil {
			return err
		}
	}
	return nil
}

// keptRows are the kept values that are worth moving: what says that a call is under way is not.
func keptRows(ctx context.Context, b Backend) (rows []KeptRow, err error) {
	err = b.LoadKept(ctx, func(r KeptRow) error {
		if !strings.HasPrefix(r.ID, claimPrefix) {
			r.Data = bytes.Clone(r.Data)
			rows = append(rows, r)
		}
		return nil
	})
	return rows, err
}

// finish gives the copy the head of the source. From here on it is a store.
func (m *mover) finish() error {
	if m.head.Events != m.source.Events {
		return fmt.Errorf("%d of %d events were copied", m.head.Events, m.source.Events)
	}
	if err := m.to.Commit(m.ctx, &Commit{Previous: m.head, Next: m.source}); err != nil {
		return fmt.Errorf("writing to the target: %w", err)
	}
	m.moved.Head = m.source
	return nil
}

// compare reads both through once more.
func (m *mover) compare() error {
	m.progress("comparing")
	want, err := digestOf(m.ctx, m.from)
	if err != nil {
		return err
	}
	got, err := digestOf(m.ctx, m.to)
	if err != nil {
		return err
	}
	if *want != *got {
		return errors.New("the copy is not what was copied: do not use it")
	}
	report, err := verifyChain(m.ctx, m.to, ChainPlace{})
	if err == nil && (report.Fault != nil || !report.Complete || report.Head != m.source) {
		err = errors.New("the copy's chain of events is not whole: do not use it")
	}
	return err
}

// contentDigest is what a backend holds, whatever the order it gives it in: sums of hashes.
type contentDigest struct {
	head                    Head
	rows, meta, usage, kept [sha256.Size]byte
	count                   int
}

func digestOf(ctx context.Context, b Backend) (d *contentDigest, err error) {
	d = new(contentDigest)
	add := func(sum *[sha256.Size]byte, parts ...[]byte) {
		h := sha256.New()
		for _, part := range parts {
			h.Write(appendString(nil, string(part)))
		}
		for i, c := range h.Sum(nil) {
			sum[i] ^= c
		}
		d.count++
	}
	if d.head, err = b.Load(ctx, func(r Row) error { add(&d.rows, []byte{byte(r.Table)}, []byte(r.ID), r.Data); return nil }); err != nil {
		return nil, err
	}
	for _, name := range copiedMeta {
		value, err := b.Meta(ctx, name)
		if err != nil {
			return nil, err
		}
		add(&d.meta, []byte(name), value)
	}
	err = b.LoadUsage(ctx, time.Time{}, func(r UsageRow) error {
		add(&d.usage, []byte(r.KeyID), []byte(r.Usage.At.UTC().String()), []byte(r.Usage.Address.String()))
		return nil
	})
	if err != nil {
		return nil, err
	}
	kept, err := keptRows(ctx, b)
	for _, r := range kept {
		add(&d.kept, []byte(r.ID), []byte(r.Expires.UTC().String()), r.Data)
	}
	return d, err
}
