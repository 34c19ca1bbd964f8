package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/keystile/keystile/keystore"
)

// Rows and events come with rising ids: pages are filled to the brim instead of being split in halves.
const fillPercent = 0.95

// usageBatch is how many uses one transaction saves, so that a commit never waits long behind them.
const usageBatch = 5000

// eventBatch is how many events one read transaction copies out: a transaction that stays open keeps the file from
// growing, and thereby commits from going on.
const eventBatch = 500

// update runs a transaction that stores something, view one that reads. Errors say which file they are about.
func (s *Store) update(do func(*bolt.Tx) error) error {
	err := s.named(guard(func() error { return s.db.Update(do) }))
	if err == nil {
		s.fresh.Store(false)
	}
	return err
}

func (s *Store) view(do func(*bolt.Tx) error) error {
	return s.named(guard(func() error { return s.db.View(do) }))
}

func (s *Store) named(err error) error {
	if err == nil || errors.Is(err, keystore.ErrStale) {
		return err
	}
	return fmt.Errorf("the key store %q: %w", s.path, err)
}

// Load calls row for every row, by table and id.
func (s *Store) Load(ctx context.Context, row func(keystore.Row) error) (head keystore.Head, err error) {
	err = s.view(func(tx *bolt.Tx) (err error) {
		if head, err = decodeHead(tx.Bucket(bucketMeta).Get(metaHead)); err != nil {
			return err
		}
		stages, err := loadStages(tx)
		if err != nil {
			return err
		}
		count := 0
		for _, table := range tableOrder {
			err := tx.Bucket(bucketTables[table]).ForEach(func(id, data []byte) error {
				if count++; count%1024 == 0 && ctx.Err() != nil {
					return ctx.Err()
				}
				if stages.hold(table, id) {
					return nil
				}
				return row(keystore.Row{Table: table, ID: string(id), Data: data})
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return head, err
}

// Commit writes rows, events and head in one transaction and syncs it.
func (s *Store) Commit(ctx context.Context, c *keystore.Commit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		head, err := decodeHead(meta.Get(metaHead))
		if err != nil {
			return err
		}
		if head != c.Previous {
			return keystore.ErrStale
		}
		for _, r := range c.Rows {
			name, ok := bucketTables[r.Table]
			if !ok {
				return fmt.Errorf("unknown table %d", r.Table)
			}
			bucket := tx.Bucket(name)
			bucket.FillPercent = fillPercent
			if r.Data == nil {
				err = bucket.Delete([]byte(r.ID))
			} else {
				err = bucket.Put([]byte(r.ID), r.Data)
			}
			if err != nil {
				return err
			}
		}
		if err := commitStage(tx, c.Stage); err != nil {
			return err
		}
		events := tx.Bucket(bucketEvents)
		events.FillPercent = fillPercent
		for _, e := range c.Events {
			if err := events.Put(seqKey(e.Seq), e.Body); err != nil {
				return err
			}
		}
		return meta.Put(metaHead, encodeHead(c.Next))
	})
}

// Head is the head in the file.
func (s *Store) Head(context.Context) (head keystore.Head, err error) {
	err = s.view(func(tx *bolt.Tx) (err error) {
		head, err = decodeHead(tx.Bucket(bucketMeta).Get(metaHead))
		return err
	})
	return head, err
}

// Events calls event for a range of events. Bodies stay valid.
func (s *Store) Events(
	ctx context.Context, first, last uint64, backwards bool, event func(keystore.EventRow) error,
) error {
	for first <= last {
		batch, err := s.eventBatch(first, last, backwards)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			return nil
		}
		for _, e := range batch {
			if err := event(e); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		edge := batch[len(batch)-1].Seq
		if !backwards {
			first = edge + 1
			continue
		}
		if edge == 0 {
			return nil
		}
		last = edge - 1
	}
	return nil
}

func (s *Store) eventBatch(first, last uint64, backwards bool) (batch []keystore.EventRow, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		cursor := tx.Bucket(bucketEvents).Cursor()
		key, body := cursor.Seek(seqKey(first))
		next := cursor.Next
		if backwards {
			if key, body = cursor.Seek(seqKey(last)); !bytes.Equal(key, seqKey(last)) {
				key, body = cursor.Prev()
			}
			next = cursor.Prev
		}
		for ; len(key) == 8 && len(batch) < eventBatch; key, body = next() {
			seq := binary.BigEndian.Uint64(key)
			if seq < first || seq > last {
				break
			}
			batch = append(batch, keystore.EventRow{Seq: seq, Body: bytes.Clone(body)})
		}
		return nil
	})
	return batch, err
}

// SaveUsage writes the last use of keys.
func (s *Store) SaveUsage(ctx context.Context, rows []keystore.UsageRow) error {
	for len(rows) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch := rows[:min(usageBatch, len(rows))]
		rows = rows[len(batch):]
		err := s.update(func(tx *bolt.Tx) error {
			bucket := tx.Bucket(bucketUsage)
			for _, r := range batch {
				if err := bucket.Put([]byte(r.KeyID), encodeUsage(r.Usage)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// LoadUsage calls row for every saved use since a time.
func (s *Store) LoadUsage(_ context.Context, since time.Time, row func(keystore.UsageRow) error) error {
	return s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketUsage).ForEach(func(id, value []byte) error {
			usage, err := decodeUsage(value)
			if err != nil {
				return fmt.Errorf("the last use of %s: %w", id, err)
			}
			if usage.At.Before(since) {
				return nil
			}
			return row(keystore.UsageRow{KeyID: string(id), Usage: usage})
		})
	})
}

// metaName keeps the store's names apart from ours.
func metaName(name string) []byte { return append([]byte("store/"), name...) }

// Meta is a small value, nil if there is none.
func (s *Store) Meta(_ context.Context, name string) (value []byte, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		value = bytes.Clone(tx.Bucket(bucketMeta).Get(metaName(name)))
		return nil
	})
	return value, err
}

// SwapMeta sets a small value if it is still old.
func (s *Store) SwapMeta(_ context.Context, name string, old, value []byte) (swapped bool, err error) {
	err = s.update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		is := meta.Get(metaName(name))
		if (is == nil) != (old == nil) || !bytes.Equal(is, old) {
			return nil
		}
		swapped = true
		return meta.Put(metaName(name), value)
	})
	return swapped && err == nil, err
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func encodeHead(h keystore.Head) []byte {
	b := binary.BigEndian.AppendUint64(nil, h.Revision)
	b = binary.BigEndian.AppendUint64(b, h.Events)
	return append(b, h.Hash[:]...)
}

func decodeHead(b []byte) (h keystore.Head, err error) {
	if len(b) != 16+len(h.Hash) {
		return h, errors.New("the file is damaged: it has no head")
	}
	h.Revision, h.Events = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	copy(h.Hash[:], b[16:])
	return h, nil
}

// A use is its milliseconds since 1970 and the bytes of its address: 4, 16 or none.
func encodeUsage(u keystore.Usage) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(u.At.UnixMilli()))
	return append(b, u.Address.AsSlice()...)
}

func decodeUsage(b []byte) (u keystore.Usage, err error) {
	if len(b) < 8 {
		return u, errors.New("the entry is cut off")
	}
	u.At = time.UnixMilli(int64(binary.BigEndian.Uint64(b))).UTC()
	if len(b) == 8 {
		return u, nil
	}
	address, ok := netip.AddrFromSlice(b[8:])
	if !ok {
		return u, errors.New("the entry holds no address")
	}
	u.Address = address
	return u, nil
}
