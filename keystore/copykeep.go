package keystore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-memdb"
	"go.uber.org/zap"
)

const (
	// copyInterval is how often it is noted in the copy file that it is up to date.
	copyInterval = time.Second
	// copyGrowth is how much the changes at the end of a copy file may take before it is written anew, beside as much as the
	// rows in it.
	copyGrowth = 4 << 20
	// copyBatch is about how many bytes of rows stand in one frame.
	copyBatch = 256 << 10
)

// copyKeeper keeps the copy file of a node. What it guards is guarded by the store's lock, except path.
type copyKeeper struct {
	path    string
	current *copyWriter // nil: there is none yet, or it failed
	head    Head        // of what is in it
	base    int64       // its size when it was written
	wanted  bool        // it is to be written anew
	missed  []copyMissed
	meta    atomic.Bool // a small value in it is another by now; guarded by nothing
	writing bool        // a new one is being written: changes go to missed too
}

type copyMissed struct {
	head Head
	rows []Row
}

// copiedMeta are the small values that a start without the database needs.
var copiedMeta = []string{metaKeyset, metaSigning}

// noteCopy adds a change that memory has just taken to the copy. If that fails, the copy is no more: a restart must not
// find a state that is older than what the others were told.
func (s *Store) noteCopy(head Head, rows []Row, complete bool) {
	k := s.copy
	if k == nil {
		return
	}
	if k.writing {
		if complete {
			k.missed = append(k.missed, copyMissed{head, rows})
		} else {
			k.wanted = true
		}
	}
	if k.current == nil {
		return
	}
	var err error
	if complete {
		err = k.current.change(head, rows)
		k.head = head
	} else {
		// Too much for a frame: until the copy is written anew it says that it is old. Its time is taken from it.
		err = k.current.stamp(time.Time{})
	}
	if err != nil || !complete {
		s.dropCopy(err)
	}
	if k.current != nil && k.current.size > 2*k.base+copyGrowth {
		k.wanted = true
	}
}

// dropCopy gives the current file up: nobody is to believe it any more.
func (s *Store) dropCopy(err error) {
	k := s.copy
	if err != nil {
		s.logger.Error("keeping a copy of the key store for a start without the database", zap.Error(err))
	}
	if k.current != nil {
		if k.current.stamp(time.Time{}) != nil {
			_ = os.Remove(k.path) // a disk that cannot take this may yet take that; else the copy is believed until it is too old
		}
		_ = k.current.close()
		k.current = nil
	}
	k.wanted = true
}

// keepCopy writes the copy and keeps its time up to date, until the context ends.
func (s *Store) keepCopy(ctx context.Context) {
	ticker := time.NewTicker(copyInterval)
	defer ticker.Stop()
	retry, last := copyInterval, time.Time{}
	for {
		if time.Since(last) >= retry && s.copyWanted() {
			last = time.Now()
			if err := s.writeCopy(ctx); err != nil && ctx.Err() == nil {
				s.copy.meta.Store(true)
				s.logger.Warn("writing a copy of the key store for a start without the database", zap.Error(err))
				retry = min(2*retry, time.Minute)
			} else {
				// A big store is not written all the time.
				retry = max(copyInterval, 20*time.Since(last))
			}
		}
		s.stampCopy()
		select {
		case <-ctx.Done():
			s.stampCopy()
			return
		case <-ticker.C:
		}
	}
}

func (s *Store) copyWanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copy.meta.Swap(false) || s.copy.wanted
}

// stampCopy notes in the copy when it was last known to be the newest state.
func (s *Store) stampCopy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.Confirmed()
	if k := s.copy; k.current != nil && k.head == s.head && !at.IsZero() {
		if err := k.current.stamp(at.Round(0)); err != nil {
			s.dropCopy(err)
		}
	}
}

// writeCopy writes the whole state to a new file.
func (s *Store) writeCopy(ctx context.Context) error {
	meta := make(map[string][]byte)
	for _, name := range copiedMeta {
		value, err := s.meta(ctx, name)
		if err != nil {
			return err
		}
		if value != nil {
			meta[name] = value
		}
	}
	s.mu.Lock()
	if s.arrival != nil { // keys that are durable and not all in memory: it is tried again
		s.mu.Unlock()
		return nil
	}
	k, snap := s.copy, s.snap.Load()
	k.writing, k.wanted, k.missed = true, false, nil
	s.mu.Unlock()
	w, err := s.writeRows(ctx, snap, meta)

	s.mu.Lock()
	defer s.mu.Unlock()
	missed := k.missed
	k.writing, k.missed = false, nil
	if err == nil && k.wanted {
		err = errors.New("a change came in between that is too big to be added")
	}
	head := snap.head
	for _, m := range missed {
		if err == nil {
			err = w.change(m.head, m.rows)
			head = m.head
		}
	}
	if at := s.Confirmed(); err == nil && head == s.head && !at.IsZero() {
		if err = w.w.Flush(); err == nil {
			err = w.stamp(at.Round(0))
		}
	}
	if err == nil {
		err = w.publish(k.path)
	}
	if err != nil {
		k.wanted = true
		if w != nil {
			w.discard()
		}
		return err
	}
	if k.current != nil {
		_ = k.current.close()
	}
	k.current, k.head, k.base = w, head, w.size
	return nil
}

func (s *Store) writeRows(ctx context.Context, snap *Snapshot, meta map[string][]byte) (*copyWriter, error) {
	w, err := createCopy(s.copy.path)
	if err != nil {
		return w, err
	}
	start, err := json.Marshal(copyStart{Head: snap.head, Keys: snap.keys, Meta: meta})
	if err == nil {
		err = w.frame(frameStart, start)
	}
	var batch []byte
	if err == nil {
		err = snap.eachRow(func(r Row) error {
			if batch = appendRows(batch, []Row{r}); len(batch) < copyBatch {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			err := w.frame(frameRows, batch)
			batch = batch[:0]
			return err
		})
	}
	if err == nil {
		err = w.frame(frameRows, batch)
	}
	if err == nil {
		err = w.frame(frameReady, nil)
	}
	if err == nil {
		err = w.sync()
	}
	return w, err
}

// encoded is what all stored objects are.
type encoded interface{ encode() []byte }

// eachRow encodes every object of a snapshot as it is stored.
func (v *Snapshot) eachRow(row func(Row) error) error {
	for table := Table(1); table.memoryTable() != ""; table++ {
		if table == TableKey {
			if err := v.keyView().eachRow(row); err != nil {
				return fmt.Errorf("listing %s: %w", table, err)
			}
			continue
		}
		it, err := v.txn.LowerBound(table.memoryTable(), indexID, "")
		if err != nil {
			return fmt.Errorf("listing %s: %w", table, err)
		}
		for obj := it.Next(); obj != nil; obj = it.Next() {
			if err := row(Row{Table: table, ID: idOf(obj), Data: obj.(encoded).encode()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadCopy fills memory from the copy file, because the database is away.
func (s *Store) loadCopy(cause error) (*loaded, error) {
	c, err := readCopy(s.copy.path, time.Now())
	if err != nil {
		return nil, errors.Join(cause, err)
	}
	if s.db, err = memdb.NewMemDB(schema()); err != nil { // a load may have come some way
		return nil, err
	}
	found, err := s.loadRows(func(row func(Row) error) (Head, error) {
		for name, data := range c.rows {
			if err := row(Row{Table: name.table, ID: name.id, Data: data}); err != nil {
				return Head{}, err
			}
		}
		return c.head, nil
	})
	if err != nil {
		return nil, errors.Join(cause, fmt.Errorf("the copy %q: %w", s.copy.path, err))
	}
	s.copied.Store(&c.start.Meta)
	if !c.confirmed.IsZero() {
		s.confirm(c.confirmed)
		s.newest = c.confirmed
	}
	s.moved()
	s.logger.Error("the database is away: starting from the copy of the key store on this machine; changes are refused until it is back, and keys once the copy is older than max_staleness",
		zap.Error(cause), zap.Time("copy_of", c.confirmed), zap.Uint64("revision", c.head.Revision), zap.Bool("accepts_keys", !s.Stale(time.Now())))
	return found, nil
}

// meta is a small value, of the copy while the backend is away.
func (s *Store) meta(ctx context.Context, name string) ([]byte, error) {
	value, err := s.backend.Meta(ctx, name)
	if err == nil || !errors.Is(err, ErrAway) {
		if err == nil && s.shared != nil {
			s.rememberMeta(name, value)
		}
		return value, err
	}
	if known := s.copied.Load(); known != nil {
		if value, ok := (*known)[name]; ok {
			return value, nil
		}
	}
	return nil, err
}

// rememberMeta keeps a small value for when the backend is away.
func (s *Store) rememberMeta(name string, value []byte) {
	for {
		old := s.copied.Load()
		if old != nil && bytes.Equal((*old)[name], value) {
			return
		}
		next := map[string][]byte{name: value}
		if old != nil {
			for n, v := range *old {
				if n != name {
					next[n] = v
				}
			}
		}
		if value == nil {
			delete(next, name)
		}
		if s.copied.CompareAndSwap(old, &next) {
			if s.copy != nil {
				s.copy.meta.Store(true)
			}
			return
		}
	}
}

// meetLocked is the first look at the database after a start without it: it must have gone on from where the copy was.
func (s *Store) meetLocked(ctx context.Context) error {
	if s.met.Load() {
		return nil
	}
	if err := s.checkNewest(ctx, s.head); err != nil {
		return fmt.Errorf("the database has another history than the copy that this node started from: %w", err)
	}
	s.met.Store(true)
	return nil
}
