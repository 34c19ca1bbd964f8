package requestlog

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTailGetsWhatTheFilterSelects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, Options{Store: &fakeStore{}})
		f, err := l.Follow(Filter{Key: "key_1"})
		if err != nil {
			t.Fatalf("Follow: %v", err)
		}
		defer f.Close()
		for i := range 10 {
			r := l.NewRecord()
			r.Key, r.BytesIn = []string{"key_1", "key_2"}[i%2], int64(i)
			l.Append(r)
		}
		var records []*Record
		for len(records) < 5 { // the first may be there before the last is stored
			more, err := f.Next(t.Context())
			if err != nil {
				t.Errorf("Next: %v with %d records, want 5", err, len(records))
				break
			}
			records = append(records, more...)
		}
		for i, r := range records {
			if r.BytesIn != int64(2*i) {
				t.Errorf("record %d: got number %d, want %d", i, r.BytesIn, 2*i)
			}
		}
		appendN(l, 0, 1) // selected by none
		r := l.NewRecord()
		r.Key = "key_1"
		l.Append(r)
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if records, err := f.Next(t.Context()); err != nil || len(records) != 1 {
			t.Errorf("Next behind Close: got %d records, %v, want the last one", len(records), err)
		}
		if _, err := f.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Next at the end: got %v, want ErrClosed", err)
		}
	})
}

func TestSlowTailIsToldWhatItLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, Options{Store: &fakeStore{}})
		defer l.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var got int
		var gaps []int64
		done := make(chan error)
		go func() {
			done <- l.Tail(ctx, Filter{}, func(r *Record) error {
				if r.IsGap() {
					gaps = append(gaps, r.Lost)
					return nil
				}
				if got++; got == 1 {
					time.Sleep(time.Hour)
				}
				return nil
			})
		}()
		synctest.Wait()
		appendN(l, 0, 1)
		time.Sleep(time.Second)
		for range 5 {
			if n := appendN(l, 0, 1000); n != 1000 {
				t.Errorf("Append beside a slow tail: got %d accepted, want 1000", n)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if want := 1 + tailBuffer; got != want || len(gaps) != 1 || gaps[0] != 5000-tailBuffer {
			t.Errorf("slow tail: got %d records and gaps %v, want %d and one of %d", got, gaps, want, 5000-tailBuffer)
		}
		appendN(l, 0, 3)
		time.Sleep(time.Second)
		synctest.Wait()
		if want := 1 + tailBuffer + 3; got != want {
			t.Errorf("behind the gap: got %d records, want %d", got, want)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Tail: got %v, want context.Canceled", err)
		}
	})
}

func TestTailEndsWithTheReadersError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, Options{Store: &fakeStore{}})
		defer l.Close()
		broken := errors.New("connection reset")
		done := make(chan error)
		go func() { done <- l.Tail(t.Context(), Filter{}, func(*Record) error { return broken }) }()
		synctest.Wait()
		appendN(l, 0, 1)
		if err := <-done; !errors.Is(err, broken) {
			t.Errorf("Tail: got %v, want %v", err, broken)
		}
		if n := len(*l.tails.Load()); n != 0 {
			t.Errorf("got %d tails left, want 0", n)
		}
	})
}

func TestTailsAreBounded(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Store: &fakeStore{}})
	defer l.Close()
	for range maxTails {
		if _, err := l.Follow(Filter{}); err != nil {
			t.Fatalf("Follow: %v", err)
		}
	}
	if _, err := l.Follow(Filter{}); !errors.Is(err, ErrTooManyTails) {
		t.Errorf("one more: got %v, want ErrTooManyTails", err)
	}
}

// TestTailTextIsBounded: what waits for a slow reader is bounded in text, not only in records: clients choose how long a path is.
// One record always has room.
func TestTailTextIsBounded(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Store: &fakeStore{}})
	defer l.Close()
	f, err := l.Follow(Filter{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	offer := func(n int) {
		r := l.NewRecord()
		r.Path, r.RequestBody = strings.Repeat("x", n), strings.Repeat("y", 100)
		f.offer(r)
	}
	for range 100 {
		offer(100_000)
	}
	records := f.take()
	if n := len(records); n != tailText/100_000+1 || records[n-1].Lost != int64(100-(n-1)) {
		t.Errorf("%d records wait, the last with %d lost", n, records[n-1].Lost)
	}
	offer(tailText + 1)
	offer(1)
	if records := f.take(); len(records) != 2 || records[0].IsGap() || records[1].Lost != 1 {
		t.Errorf("one record larger than the bound: %d records", len(records))
	}
}
