package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/keystile/keystile/keystore"
)

var bucketKept = []byte("kept")

// lateBuckets came after the first release of the format. A file without them is whole: they are made when it is opened.
func lateBuckets() [][]byte {
	return [][]byte{
		bucketTables[keystore.TableAdminToken], bucketTables[keystore.TableWebhook],
		bucketTables[keystore.TableMember], bucketTables[keystore.TableSession], bucketKept,
	}
}

// addLateBuckets brings an older file up to this version. It writes nothing if nothing is missing.
func (s *Store) addLateBuckets() error {
	missing := false
	err := s.view(func(tx *bolt.Tx) error {
		for _, name := range lateBuckets() {
			missing = missing || tx.Bucket(name) == nil
		}
		return nil
	})
	if err != nil || !missing {
		return err
	}
	return s.named(guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			for _, name := range lateBuckets() {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return nil
		})
	}))
}

// Keep stores and removes values that have an end.
func (s *Store) Keep(ctx context.Context, put []keystore.KeptRow, remove []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketKept)
		for _, id := range remove {
			if err := bucket.Delete([]byte(id)); err != nil {
				return err
			}
		}
		for _, r := range put {
			value := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(r.Data)), uint64(r.Expires.UnixMilli()))
			if err := bucket.Put([]byte(r.ID), append(value, r.Data...)); err != nil {
				return err
			}
		}
		return nil
	})
}

// SwapKept gives kept values other Data, if they are what they were.
func (s *Store) SwapKept(ctx context.Context, swaps []keystore.KeptSwap) ([]bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	done := make([]bool, len(swaps))
	err := s.update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketKept)
		for i, swap := range swaps {
			id := []byte(swap.ID)
			value := bucket.Get(id)
			if value == nil {
				continue
			}
			r, err := decodeKept(id, value)
			if err != nil {
				return err
			}
			if !bytes.Equal(r.Data, swap.Old) {
				continue
			}
			next := append(make([]byte, 0, 8+len(swap.Data)), value[:8]...) // its end stays
			if err := bucket.Put(id, append(next, swap.Data...)); err != nil {
				return err
			}
			done[i] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// Kept is one kept value, nil if there is none.
func (s *Store) Kept(_ context.Context, id string) (row *keystore.KeptRow, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		value := tx.Bucket(bucketKept).Get([]byte(id))
		if value == nil {
			return nil
		}
		r, err := decodeKept([]byte(id), bytes.Clone(value))
		row = &r
		return err
	})
	return row, err
}

// LoadKept calls row for every kept value.
func (s *Store) LoadKept(ctx context.Context, row func(keystore.KeptRow) error) error {
	return s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketKept).ForEach(func(id, value []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			r, err := decodeKept(id, value)
			if err != nil {
				return err
			}
			return row(r)
		})
	})
}

func decodeKept(id, value []byte) (keystore.KeptRow, error) {
	if len(value) < 8 {
		return keystore.KeptRow{}, fmt.Errorf("the kept value %s: %w", id, errors.New("the entry is cut off"))
	}
	return keystore.KeptRow{
		ID: string(id), Expires: time.UnixMilli(int64(binary.BigEndian.Uint64(value))).UTC(), Data: value[8:],
	}, nil
}
