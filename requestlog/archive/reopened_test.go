package archive

import (
	"context"
	"sync"

	"github.com/keystile/keystile/requestlog"
)

// reopenedStore makes reopened safe beside readers: they wait while it is closed.
type reopenedStore struct {
	mu sync.RWMutex
	r  *reopened
}

func (s *reopenedStore) Write(records []*requestlog.Record) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Write(records)
}

func (s *reopenedStore) List(ctx context.Context, q requestlog.Query) (requestlog.Page, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.r.List(ctx, q)
}

func (s *reopenedStore) Get(ctx context.Context, id string) (*requestlog.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.r.Get(ctx, id)
}

func (s *reopenedStore) Histogram(ctx context.Context, q requestlog.HistogramQuery) (*requestlog.Histogram, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.r.Histogram(ctx, q)
}

func (s *reopenedStore) KeySummary(ctx context.Context, key string) (*requestlog.KeySummary, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.r.KeySummary(ctx, key)
}

func (s *reopenedStore) Stats() requestlog.StoreStats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.r.Stats()
}

func (s *reopenedStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Close()
}
