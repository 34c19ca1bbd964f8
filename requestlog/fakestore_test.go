package requestlog

import (
	"context"
	"errors"
	"slices"
	"sync"
)

var errRefused = errors.New("no space left on device")

// fakeStore keeps records in memory and does what a test tells it: refuse, keep a part only, block, panic.
type fakeStore struct {
	mu      sync.Mutex
	kept    []*Record
	writes  int
	refuse  bool
	partial int // keep only this many of each batch, once
	panics  int // so many times
	block   chan struct{}
	closed  bool
}

func (s *fakeStore) Write(records []*Record) (int, error) {
	s.mu.Lock()
	block := s.block
	s.mu.Unlock()
	if block != nil {
		<-block
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	n := len(records)
	switch {
	case s.panics > 0:
		s.panics--
		panic("a record that the store cannot bear")
	case s.refuse:
		return 0, errRefused
	case s.partial > 0 && s.partial < n:
		n, s.partial = s.partial, 0
	}
	for _, r := range records[:n] {
		s.kept = append(s.kept, r.clone())
	}
	if n < len(records) {
		return n, errRefused
	}
	return n, nil
}

func (s *fakeStore) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// count answers how often Write was called.
func (s *fakeStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// split answers the requests that were kept, and how many records the gap records count.
func (s *fakeStore) split() (requests []*Record, gaps []*Record, lost uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.kept {
		if r.IsGap() {
			gaps, lost = append(gaps, r), lost+uint64(r.Lost)
			continue
		}
		requests = append(requests, r)
	}
	return requests, gaps, lost
}

func (s *fakeStore) List(context.Context, Query) (Page, error) { return Page{}, nil }
func (s *fakeStore) Histogram(context.Context, HistogramQuery) (*Histogram, error) {
	return nil, errRefused
}
func (s *fakeStore) KeySummary(context.Context, string) (*KeySummary, error) { return nil, errRefused }
func (s *fakeStore) Stats() StoreStats                                       { return StoreStats{} }

func (s *fakeStore) Get(_ context.Context, id string) (*Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.kept, func(r *Record) bool { return r.ID == id }); i >= 0 {
		return s.kept[i], nil
	}
	return nil, ErrNotFound
}

func (s *fakeStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
