package pglog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/requestlog"
)

const (
	// A batch is read until it has so many records or bytes.
	batchRecords = 4000
	batchBytes   = 4 << 20
	// aheadBytes is how much may wait until the next batch is not put off to the next interval.
	aheadBytes = 1 << 20

	minBackoff = 200 * time.Millisecond
	maxBackoff = 2 * time.Second
	// lastTime is how long Close goes on shipping.
	lastTime = 3 * time.Second

	// A query waits until what was written before it can be seen, so long at most, and not at all if so much is on its way.
	settleTime  = 2 * time.Second
	settleBytes = 16 << 20

	// lineBytes is what a record takes in the journal, about.
	lineBytes = 700

	damagedSuffix = ".damaged"
)

// errFull says that the journal has taken what it may.
var errFull = errors.New("the journal has reached max_size: records are not brought to the database fast enough, or not at all")

// Write appends the records to the journal.
func (s *Store) Write(records []*requestlog.Record) (stored int, err error) {
	if s.closed.Load() {
		return 0, requestlog.ErrClosed
	}
	if total, shipped := s.places(); total-shipped >= s.bounds.Load().size {
		return 0, errFull
	}
	stored, err = s.journal.Write(records)
	if stored > 0 {
		total, _ := s.places()
		s.mu.Lock()
		s.marks.add(total, int64(stored), s.o.Now())
		s.mu.Unlock()
	}
	return stored, err
}

// places are the ends of what was written and of what was shipped, in bytes since the process began to count.
func (s *Store) places() (total, shipped int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shipped = s.gone
	for _, offset := range s.offsets {
		shipped += offset
	}
	return s.gone + s.journal.Stats().Bytes, shipped
}

// markEarlier notes what an earlier process has left.
func (s *Store) markEarlier() {
	var total int64
	for _, f := range s.journal.JournalFiles() {
		total += f.Size
		s.marks.add(total, max(1, f.Size/lineBytes), time.UnixMilli(f.First))
	}
	if total > 0 {
		s.logger.Info("request log: records of an earlier process are to be brought to the database", zap.Int64("bytes", total))
	}
}

// shipper is the one goroutine that brings records to the database. Its fields are its own.
type shipper struct {
	*Store
	earlier map[requestlog.JournalFile]bool // files of an earlier process: nobody knows how much of them was shipped
	damaged map[requestlog.JournalFile]bool
	doubt   bool // nobody knows what became of the last batch
	refused int  // records that the database did not take, one after the other
	backoff time.Duration
}

func (s *Store) ship(ctx context.Context) {
	defer close(s.finished)
	w := &shipper{Store: s, earlier: make(map[requestlog.JournalFile]bool), damaged: make(map[requestlog.JournalFile]bool)}
	for _, f := range s.journal.JournalFiles() {
		w.earlier[f.JournalFile] = true
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			w.last()
			return
		case <-timer.C:
		case <-s.urgent:
		}
		timer.Reset(w.round(ctx))
	}
}

// last ships what is left, for a moment, so that a node which is stopped leaves nothing behind.
func (w *shipper) last() {
	ctx, cancel := context.WithTimeout(context.Background(), lastTime)
	defer cancel()
	w.journal.Roll()
	if err := w.all(ctx); err != nil {
		total, shipped := w.places()
		w.logger.Warn("request log: records stay in the journal until the next start", zap.Int64("bytes", total-shipped), zap.Error(w.named(err)))
	}
}

// round ships what there is and answers when to look again.
func (w *shipper) round(ctx context.Context) time.Duration {
	for {
		if err := w.all(ctx); err != nil {
			if ctx.Err() != nil {
				return 0
			}
			w.errors.Add(1)
			w.isAway(err)
			w.backoff = min(max(2*w.backoff, minBackoff), maxBackoff)
			return w.backoff
		}
		w.isBack()
		w.backoff = 0
		if total, shipped := w.places(); total-shipped < aheadBytes {
			return w.o.ShipInterval
		}
	}
}

// isAway notes that records cannot be brought to the database, and tells it once, and again every few minutes.
func (s *Store) isAway(err error) {
	first := !s.away.Swap(true)
	if s.told.allow(s.o.Now()) || first {
		s.logger.Error("request log: records cannot be brought to the database; they wait in the journal", zap.Error(s.named(err)), s.waiting())
	}
}

func (s *Store) isBack() {
	if s.away.Swap(false) {
		s.logger.Info("request log: the database takes records again", s.waiting())
	}
}

func (s *Store) waiting() zap.Field {
	if s.journal == nil {
		return zap.Skip()
	}
	total, shipped := s.places()
	return zap.Int64("waiting_bytes", total-shipped)
}

// errReading says that a file of the journal cannot be read just now.
var errReading = errors.New("reading the journal")

// all ships every file as far as it is written, and deletes those that are done with. One that cannot be read is not in the way
// of the others.
func (w *shipper) all(ctx context.Context) error {
	var unread error
	for _, f := range w.files() {
		err := w.file(ctx, f)
		switch {
		case errors.Is(err, errReading):
			unread = err
		case err != nil:
			return err
		case f.Sealed:
			w.forget(f)
		}
	}
	return unread
}

// files lists the files of the journal. What was shipped of one that somebody has deleted does not count any more: Write and settle
// would take it for a part of the others.
func (w *shipper) files() []requestlog.FileState {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.journal.JournalFiles()
	for known := range w.offsets {
		if !slices.ContainsFunc(list, func(f requestlog.FileState) bool { return f.JournalFile == known }) {
			delete(w.offsets, known)
			delete(w.damaged, known)
			delete(w.earlier, known)
		}
	}
	return list
}

// file ships what a file has and was not shipped yet.
func (w *shipper) file(ctx context.Context, f requestlog.FileState) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.mu.Lock()
		offset := w.offsets[f.JournalFile]
		w.mu.Unlock()
		if offset >= f.Size {
			return nil
		}
		if err := w.part(ctx, f, offset); err != nil {
			return err
		}
	}
}

// part ships a batch of a file.
func (w *shipper) part(ctx context.Context, f requestlog.FileState, offset int64) error {
	records := make([]*requestlog.Record, 0, 256)
	expired := uint64(0)
	next, skipped, err := w.journal.ReadFrom(f.JournalFile, offset, batchBytes, func(r *requestlog.Record) bool {
		if w.tooOld(r) {
			expired++
			return true
		}
		c := *r
		records = append(records, &c)
		return len(records) < batchRecords
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.errors.Add(1)
		w.logger.Error("request log: a file of the journal was deleted before all of it was in the database", zap.String("file", f.Path))
		next = f.Size
	case err != nil && next == offset:
		return fmt.Errorf("%w: %w", errReading, err)
	}
	if len(records) > 0 {
		if err := w.bring(ctx, records, w.doubt || w.earlier[f.JournalFile]); err != nil {
			w.doubt = true
			return err
		}
		w.doubt = false
		w.batches.Add(1)
	}
	if skipped > 0 {
		w.skipped.Add(uint64(skipped))
		w.damaged[f.JournalFile] = true
	}
	w.expired.Add(expired)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offsets[f.JournalFile] = next
	shipped := w.gone
	for _, offset := range w.offsets {
		shipped += offset
	}
	w.marks.drop(shipped)
	close(w.progress)
	w.progress = make(chan struct{})
	return nil
}

// tooOld says whether retention would drop the record at once.
func (s *Store) tooOld(r *requestlog.Record) bool {
	return dayBegin(dayOf(r.ID) + 1).Before(s.aged.Now().Add(-s.bounds.Load().age))
}

// forget deletes a file that is in the database, or, if a part of it could not be read, gives it another name.
func (w *shipper) forget(f requestlog.FileState) {
	w.mu.Lock()
	w.journal.Drop(f.Path) // together with the counts, so that nobody finds the places moved back
	delete(w.offsets, f.JournalFile)
	w.gone += f.Size
	w.mu.Unlock()
	var err error
	if w.damaged[f.JournalFile] {
		w.aside.Add(1)
		w.logger.Error("request log: a file of the journal is damaged; what could be read is in the database", zap.String("file", f.Path+damagedSuffix))
		err = w.journal.SetAside(f.Path, filepath.Base(f.Path)+damagedSuffix)
	} else {
		err = w.journal.Forget(f.Path)
	}
	if err != nil {
		w.errors.Add(1) // if it is still there at the next start, its records are known by then
		w.logger.Error("request log: deleting a file of the journal", zap.Error(err))
	}
	delete(w.earlier, f.JournalFile)
	delete(w.damaged, f.JournalFile)
}

// settle waits until what was written before can be seen by a query, within bounds.
func (s *Store) settle(ctx context.Context) {
	target, shipped := s.places()
	if target-shipped > settleBytes {
		return
	}
	limit := time.NewTimer(settleTime)
	defer limit.Stop()
	for !s.away.Load() {
		s.mu.Lock()
		progress := s.progress
		s.mu.Unlock()
		if _, shipped := s.places(); shipped >= target {
			return
		}
		select {
		case s.urgent <- struct{}{}:
		default:
		}
		select {
		case <-progress:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		case <-s.finished:
			return
		}
	}
}

// quiet lets one log line through in quietInterval, so that a lasting failure does not fill the log of the process.
type quiet struct{ next time.Time }

const quietInterval = 5 * time.Minute

func (q *quiet) allow(now time.Time) bool {
	if now.Before(q.next) {
		return false
	}
	q.next = now.Add(quietInterval)
	return true
}
