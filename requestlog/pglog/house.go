package pglog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/requestlog"
)

const (
	houseInterval = time.Minute
	houseTime     = 30 * time.Second // bounds one round
	// batchesKept is how long the newest batches are kept for those who follow, and keptRecords how many records at least.
	batchesKept = 10 * time.Minute
	keptRecords = 16384
	// clocksApart is how far the database's clock may be behind a node's before the operator hears of it.
	clocksApart = time.Hour
)

// bounds are what is kept: by age, and by size in bytes.
type bounds struct {
	age  time.Duration
	size int64
}

// dbSize is what the partitions take, as it was last asked.
type dbSize struct {
	days  int
	bytes int64
}

// SetRetention changes what is kept, see [requestlog.RetentionSetter].
func (s *Store) SetRetention(age time.Duration, size int64) {
	s.bounds.Store(&bounds{orDefault(age, defaultRetention), orDefault(size, defaultMaxSize)})
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

var _ requestlog.RetentionSetter = (*Store)(nil)

// keepHouse makes the day to come and drops old ones. Each node does it; they take turns, and the second finds nothing to do.
func (s *Store) keepHouse(ctx context.Context) {
	defer close(s.house)
	tick := time.NewTicker(houseInterval)
	defer tick.Stop()
	for {
		if err := s.keep(ctx); err != nil && ctx.Err() == nil && !s.away.Load() {
			s.errors.Add(1)
			if s.houses.allow(s.o.Now()) {
				s.logger.Error("request log: keeping the database", zap.Error(s.named(err)))
			}
		}
		s.dropAside()
		s.aged.Keep()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.kick:
		}
	}
}

// keep does once what there is to do.
func (s *Store) keep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, houseTime)
	defer cancel()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	today := dayOf(requestPrefix + boundAt(s.o.Now()))
	made := s.makeDays(ctx, []int{today, today + 1})
	dropped := s.compareClocks(ctx)
	if dropped == nil {
		dropped = s.retain(ctx)
	}
	_, err := s.pool.Exec(ctx, `DELETE FROM keystile_log_batches WHERE made < clock_timestamp() - make_interval(secs => $1) AND records < (SELECT records FROM keystile_log_head) - $2`,
		batchesKept.Seconds(), int64(keptRecords))
	if postgres.State(dropped) == postgres.LockNotAvailable {
		dropped = nil // somebody reads or writes just now; the next time is soon
	}
	return errors.Join(made, dropped, err)
}

// compareClocks asks what time it is in the database. A fleet has one log: a node whose clock is ahead must not drop the days of all.
func (s *Store) compareClocks(ctx context.Context) error {
	ask := s.o.serverNow
	if ask == nil {
		ask = func(ctx context.Context) (now time.Time, err error) {
			err = s.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
			return now, err
		}
	}
	now, err := ask(ctx)
	if err != nil {
		return err
	}
	s.there.Store(&serverTime{now, s.o.Elapsed()})
	behind := s.o.Now().Sub(now)
	if apart := behind > clocksApart; s.apart.CompareAndSwap(!apart, apart) {
		if apart {
			s.logger.Warn("request log: the database's clock is behind this node's; until one of them is put right, records are deleted by the earlier of the two, so that they are kept for longer",
				zap.Duration("behind", behind))
		} else {
			s.logger.Info("request log: the clocks of the database and of this node agree again")
		}
	}
	return nil
}

// serverTime is what the database's clock said, and when.
type serverTime struct {
	now     time.Time
	elapsed time.Duration
}

// earlierNow is the time by this node's clock or by the database's, whichever is behind.
func (s *Store) earlierNow() time.Time {
	now := s.o.Now()
	if t := s.there.Load(); t != nil {
		if there := t.now.Add(s.o.Elapsed() - t.elapsed); there.Before(now) {
			return there
		}
	}
	return now
}

// retain drops whole days: those too old, and then the oldest until the rest is not too large. The newest stays.
func (s *Store) retain(ctx context.Context) error {
	rows, err := s.pool.Query(ctx, selectDays)
	if err != nil {
		return err
	}
	days, err := scanDays(rows)
	if err != nil {
		return err
	}
	b, now := s.bounds.Load(), s.aged.Now()
	var total int64
	var old []int
	kept := 0
	filled := false // a day with records was met: days made ahead have none
	full := false   // no older day fits: a smaller one behind it would leave a hole
	for _, d := range days {
		// The clock of a node may have been far ahead: then such a day would stay for years.
		end := dayBegin(d.day + 1)
		if made := d.made.Add(dayLength); made.Before(end) {
			end = made
		}
		size, err := s.sizeOf(ctx, d.day)
		if err != nil {
			return err
		}
		full = full || filled && total+size > b.size
		if full || end.Add(b.age).Before(now) {
			old = append(old, d.day)
			continue
		}
		filled = filled || d.records > 0
		total += size
		kept++
	}
	for i := len(old) - 1; i >= 0; i-- { // the oldest first
		if err := s.dropDay(ctx, old[i]); err != nil {
			return fmt.Errorf("dropping the partition of %s: %w", dayBegin(old[i]).Format(time.DateOnly), err)
		}
	}
	s.mu.Lock()
	s.size = dbSize{kept, total}
	s.mu.Unlock()
	return nil
}

// sizeOf is what a day takes on the server's disk, 0 if the server does not tell.
func (s *Store) sizeOf(ctx context.Context, day int) (size int64, err error) {
	var n *int64
	err = s.pool.QueryRow(ctx, `SELECT pg_total_relation_size(to_regclass($1))`, partition(day)).Scan(&n)
	if n != nil {
		size = *n
	}
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, err
	}
	return size, nil
}

// dropAside deletes damaged files of the journal when they are as old as what is kept.
func (s *Store) dropAside() {
	entries, err := s.o.FS.ReadDir(s.o.Dir)
	if err != nil {
		return
	}
	oldest := s.aged.Now().Add(-s.bounds.Load().age)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), requestlog.JournalSuffix+damagedSuffix) || info.ModTime().After(oldest) {
			continue
		}
		if err := s.o.FS.Remove(filepath.Join(s.o.Dir, e.Name())); err != nil {
			s.errors.Add(1)
		}
	}
}

// Stats answers the store's own counts. Files and Bytes are those of the journal and the partitions together.
func (s *Store) Stats() requestlog.StoreStats {
	st := s.journal.Stats()
	total, shipped := s.places()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Files += s.size.days
	st.Sealed = s.size.days
	st.Bytes += s.size.bytes
	st.Skipped += s.skipped.Load()
	st.SetAside = s.aside.Load()
	st.Errors += s.errors.Load()
	b := &requestlog.Backlog{
		Records: s.marks.records(), Bytes: max(0, total-shipped), Batches: s.batches.Load(), Expired: s.expired.Load(), Away: s.away.Load(),
	}
	if at := s.marks.oldest(); !at.IsZero() {
		b.Age = max(0, s.o.Now().Sub(at))
	}
	st.Backlog = b
	return st
}
