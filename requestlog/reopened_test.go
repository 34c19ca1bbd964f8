package requestlog_test

import (
	"context"
	"errors"
	"sync"

	"github.com/keystile/keystile/requestlog"
)

// reopened is a journal that is closed behind every write, so that its readers always meet files of an earlier process.
type reopened struct {
	o      requestlog.JournalOptions
	mu     sync.Mutex
	closed bool
}

// with opens the journal for one call.
func (r *reopened) with(f func(*requestlog.Journal) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return requestlog.ErrClosed
	}
	j, err := requestlog.OpenJournal(r.o)
	if err != nil {
		return err
	}
	return errors.Join(f(j), j.Close())
}

func (r *reopened) Write(records []*requestlog.Record) (n int, err error) {
	err = r.with(func(j *requestlog.Journal) error {
		n, err = j.Write(records)
		return err
	})
	return n, err
}

func (r *reopened) List(ctx context.Context, q requestlog.Query) (page requestlog.Page, err error) {
	err = r.with(func(j *requestlog.Journal) error {
		page, err = j.List(ctx, q)
		return err
	})
	if wrong := (*requestlog.FilterError)(nil); errors.As(err, &wrong) {
		err = wrong
	}
	return page, err
}

func (r *reopened) Get(ctx context.Context, id string) (record *requestlog.Record, err error) {
	err = r.with(func(j *requestlog.Journal) error {
		record, err = j.Get(ctx, id)
		return err
	})
	return record, err
}

func (r *reopened) Histogram(ctx context.Context, q requestlog.HistogramQuery) (h *requestlog.Histogram, err error) {
	err = r.with(func(j *requestlog.Journal) error {
		h, err = j.Histogram(ctx, q)
		return err
	})
	return h, err
}

func (r *reopened) KeySummary(ctx context.Context, key string) (s *requestlog.KeySummary, err error) {
	err = r.with(func(j *requestlog.Journal) error {
		s, err = j.KeySummary(ctx, key)
		return err
	})
	return s, err
}

func (r *reopened) Stats() (s requestlog.StoreStats) {
	_ = r.with(func(j *requestlog.Journal) error {
		s = j.Stats()
		return nil
	})
	return s
}

func (r *reopened) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}
