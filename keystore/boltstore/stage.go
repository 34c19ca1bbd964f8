package boltstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/keystile/keystile/keystore"
)

// A stage's rows stand where they will stay, in their table; what hides them is an entry here that names their range of
// ids. So the commit that shows them removes one entry, however many they are. The bucket is made on first use.
var bucketStages = []byte("stages")

// unstageBatch is how many rows of a given-up stage one transaction removes.
const unstageBatch = 10_000

// stages are those that no commit has named.
type stages []keystore.Stage

func loadStages(tx *bolt.Tx) (found stages, err error) {
	bucket := tx.Bucket(bucketStages)
	if bucket == nil {
		return nil, nil
	}
	return found, bucket.ForEach(func(id, value []byte) error {
		var s keystore.Stage
		if err := json.Unmarshal(value, &s); err != nil || s.ID != string(id) || s.First == "" || s.Last < s.First {
			return fmt.Errorf("the file is damaged: it has a stage that cannot be read") // fail closed: its rows must not show
		}
		found = append(found, s)
		return nil
	})
}

// hold says whether a row is of one of the stages.
func (s stages) hold(table keystore.Table, id []byte) bool {
	for i := range s {
		if s[i].Table == table && string(id) >= s[i].First && string(id) <= s[i].Last {
			return true
		}
	}
	return false
}

// Stage stores rows that nobody sees yet.
func (s *Store) Stage(ctx context.Context, stage keystore.Stage, rows []keystore.Row) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.update(func(tx *bolt.Tx) error {
		marks, err := tx.CreateBucketIfNotExists(bucketStages)
		if err != nil {
			return err
		}
		mark, err := json.Marshal(stage)
		if err != nil {
			return err
		}
		if err := marks.Put([]byte(stage.ID), mark); err != nil {
			return err
		}
		bucket := tx.Bucket(bucketTables[stage.Table])
		if bucket == nil {
			return fmt.Errorf("unknown table %d", stage.Table)
		}
		bucket.FillPercent = fillPercent
		for _, r := range rows {
			if r.Table != stage.Table || r.ID < stage.First || r.ID > stage.Last {
				return fmt.Errorf("the row %s is not within its stage", r.ID)
			}
			if err := bucket.Put([]byte(r.ID), r.Data); err != nil {
				return err
			}
		}
		return nil
	})
}

// commitStage makes the rows of a stage visible.
func commitStage(tx *bolt.Tx, id string) error {
	if id == "" {
		return nil
	}
	marks := tx.Bucket(bucketStages)
	if marks == nil || marks.Get([]byte(id)) == nil {
		return fmt.Errorf("there is no stage %s", id)
	}
	return marks.Delete([]byte(id))
}

// Unstage removes the rows of stages that no commit has named, a batch in each transaction.
func (s *Store) Unstage(ctx context.Context, id string) error {
	var found stages
	err := s.view(func(tx *bolt.Tx) (err error) {
		found, err = loadStages(tx)
		return err
	})
	if err != nil {
		return err
	}
	for i := range found {
		for more := id == "" || id == found[i].ID; more; {
			if err := ctx.Err(); err != nil {
				return err
			}
			if more, err = s.unstage(&found[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// unstage removes one batch, and with the last one the stage. It says whether there is more to do.
func (s *Store) unstage(stage *keystore.Stage) (more bool, err error) {
	err = s.update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketTables[stage.Table])
		if bucket == nil {
			return fmt.Errorf("unknown table %d", stage.Table)
		}
		var ids [][]byte
		cursor := bucket.Cursor()
		for id, _ := cursor.Seek([]byte(stage.First)); id != nil && string(id) <= stage.Last; id, _ = cursor.Next() {
			if len(ids) == unstageBatch {
				break
			}
			ids = append(ids, bytes.Clone(id))
		}
		for _, id := range ids {
			if err := bucket.Delete(id); err != nil {
				return err
			}
		}
		if more = len(ids) == unstageBatch; more {
			return nil
		}
		return tx.Bucket(bucketStages).Delete([]byte(stage.ID))
	})
	return more && err == nil, err
}
