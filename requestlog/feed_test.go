package requestlog

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sharedStore is a store whose tails are fed by it: with what a test says that all processes have stored.
type sharedStore struct {
	Store
	mu     sync.Mutex
	stored []*Record
	lost   int64
	fails  error
	begun  int
}

func (s *sharedStore) Write(records []*Record) (int, error) { return len(records), nil }
func (s *sharedStore) Close() error                         { return nil }

func (s *sharedStore) Feed(_ context.Context, remember int) (Feed, []string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return nil, nil, s.fails
	}
	s.begun++
	var ids []string
	for _, r := range s.stored {
		ids = append(ids, r.ID)
	}
	return &sharedFeed{s, len(s.stored)}, ids[max(0, len(ids)-remember):], nil
}

type sharedFeed struct {
	store *sharedStore
	at    int
}

func (f *sharedFeed) Next(context.Context) ([]*Record, int64, error) {
	s := f.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return nil, 0, s.fails
	}
	part := slices.Clone(s.stored[f.at:])
	f.at = len(s.stored)
	lost := s.lost
	s.lost = 0
	return part, lost, nil
}

func (s *sharedStore) add(n int) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		now := time.Now()
		r := &Record{ID: NewID(now), Time: now, Decision: "allowed"}
		s.stored = append(s.stored, r)
		ids = append(ids, r.ID)
	}
	return ids
}

// TestFedTails: tails show what the store feeds, and nothing of the writer's; a reader who comes back gets what it missed.
func TestFedTails(t *testing.T) {
	store := new(sharedStore)
	early := store.add(3)
	l, err := Open(Options{Store: store, FlushInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	f, missed, known, err := l.FollowAfter(Filter{}, early[0])
	if err != nil || !known || !slices.Equal(missed, early[1:]) {
		t.Fatalf("FollowAfter what was stored before the feed: %v, known %v, %v", missed, known, err)
	}
	if !l.Append(l.NewRecord()) {
		t.Fatal("Append refuses")
	}
	if err := l.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	later := store.add(5)
	var got []string
	for len(got) < len(later) {
		records, err := f.Next(ctx)
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		for _, r := range records {
			got = append(got, r.ID)
		}
	}
	if !slices.Equal(got, later) {
		t.Errorf("the tail shows %v, want %v", got, later)
	}
	f.Close()
	if f, missed, known, err = l.FollowAfter(Filter{}, later[2]); err != nil || !known || !slices.Equal(missed, later[3:]) {
		t.Errorf("FollowAfter: %v, known %v, %v; want %v", missed, known, err, later[3:])
	}
	store.mu.Lock()
	store.lost = 7
	begun := store.begun
	store.mu.Unlock()
	records, err := f.Next(ctx)
	if err != nil || len(records) != 1 || records[0].Lost != 7 {
		t.Errorf("Next of a feed that passes over records: %v, %v", records, err)
	}
	f.Close()
	if begun != 1 {
		t.Errorf("the feed was begun %d times, want once", begun)
	}
}

// TestFeedThatCannotBegin: there is no tail then, and there is one later.
func TestFeedThatCannotBegin(t *testing.T) {
	store := &sharedStore{fails: ErrUnavailable}
	l, err := Open(Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Follow(Filter{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Follow: %v, want ErrUnavailable", err)
	}
	store.mu.Lock()
	store.fails = nil
	store.mu.Unlock()
	f, err := l.Follow(Filter{})
	if err != nil {
		t.Fatalf("Follow: %v", err)
	}
	// A failure of the feed is passed over.
	store.mu.Lock()
	store.fails = ErrUnavailable
	store.mu.Unlock()
	time.AfterFunc(50*time.Millisecond, func() { store.mu.Lock(); store.fails = nil; store.mu.Unlock(); store.add(1) })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if records, err := f.Next(ctx); err != nil || len(records) != 1 {
		t.Errorf("Next: %v, %v", records, err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := f.Next(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("Next behind Close: %v, want ErrClosed", err)
	}
	if _, err := l.Follow(Filter{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Follow behind Close: %v, want ErrClosed", err)
	}
}

// slowStore is one whose database does not answer.
type slowStore struct {
	sharedStore
	asked atomic.Int32
}

func (s *slowStore) Feed(ctx context.Context, _ int) (Feed, []string, error) {
	s.asked.Add(1)
	<-ctx.Done()
	return nil, nil, ErrUnavailable
}

// TestFeedThatDoesNotAnswer: the log closes at once, whoever waits for a tail.
func TestFeedThatDoesNotAnswer(t *testing.T) {
	store := new(slowStore)
	l, err := Open(Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := l.Follow(Filter{}); !errors.Is(err, ErrClosed) {
				t.Errorf("Follow: %v, want ErrClosed", err)
			}
		})
	}
	for store.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
	if n := store.asked.Load(); n != 1 {
		t.Errorf("the store was asked %d times after %v, want once", n, time.Since(began))
	}
}
