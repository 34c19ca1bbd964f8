package requestlog

import (
	"context"
	"sync"
	"time"
)

const (
	feedInterval = 200 * time.Millisecond // between two looks at what other processes have stored
	feedRetry    = time.Second            // after a failure
	feedStart    = 10 * time.Second       // bounds the first look
	feedLinger   = time.Minute            // how long the feed goes on for readers who come again
)

// feeding gives the tails what the store says that was stored, while there are tails.
type feeding struct {
	log   *Log
	store Feeder
	life  context.Context // of all feeds; over when the log closes, also for one that is about to begin
	stop  context.CancelFunc

	mu       sync.Mutex    // guards what follows; held while the feed begins
	done     chan struct{} // closed when the feed has ended; nil: there is none
	listened time.Time     // when somebody did, or was about to
	failed   time.Time     // when the last one could not begin
	failure  error
}

func newFeeding(l *Log, store Feeder) *feeding {
	f := &feeding{log: l, store: store}
	f.life, f.stop = context.WithCancel(context.Background())
	return f
}

// prepareTail sees to it that tails are fed.
func (l *Log) prepareTail() error {
	if l.feed == nil {
		return nil
	}
	return l.feed.begin()
}

// begin starts the feed, unless it runs. The records that were stored last are remembered before any tail begins.
func (f *feeding) begin() error {
	asked := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life.Err() != nil {
		return ErrClosed
	}
	f.listened = time.Now()
	if f.done != nil {
		return nil
	}
	if f.failed.After(asked) {
		return f.failure // who has waited behind others does not wait as long again
	}
	first, cancel := context.WithTimeout(f.life, feedStart)
	defer cancel()
	feed, ids, err := f.store.Feed(first, recentIDs)
	if f.life.Err() != nil {
		return ErrClosed
	}
	if err != nil {
		f.failed, f.failure = time.Now(), err
		return err
	}
	l := f.log
	l.recent.mu.Lock()
	l.recent.ids, l.recent.n = l.recent.ids[:0], 0
	for _, id := range ids {
		l.recent.addLocked(id)
	}
	l.recent.mu.Unlock()
	f.done = make(chan struct{})
	go f.run(f.life, feed, f.done)
	return nil
}

// run asks again and again, until nobody has listened for a while.
func (f *feeding) run(ctx context.Context, feed Feed, done chan struct{}) {
	defer close(done)
	for !f.rest() {
		wait := feedInterval
		records, lost, err := feed.Next(ctx)
		switch {
		case err != nil:
			wait = feedRetry
		case len(records) > 0 || lost > 0:
			wait = 0 // there may be more
		}
		if lost > 0 {
			f.lose(lost)
		}
		for _, r := range records {
			f.log.announce(r)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// rest ends the feed if nobody has listened for a while. Who begins a tail behind this starts it anew.
func (f *feeding) rest() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tails() > 0 {
		f.listened = time.Now()
	}
	if time.Since(f.listened) < feedLinger {
		return false
	}
	f.done = nil
	return true
}

func (f *feeding) tails() int {
	if list := f.log.tails.Load(); list != nil {
		return len(*list)
	}
	return 0
}

// lose tells all tails of records that nobody can give them.
func (f *feeding) lose(n int64) {
	now := cleanTime(f.log.now())
	if list := f.log.tails.Load(); list != nil {
		for _, t := range *list {
			t.mu.Lock()
			t.loseLocked(n, now)
			signal(t.ready)
			t.mu.Unlock()
		}
	}
}

// end ends the feed for good, and does not wait for a store that does not answer.
func (f *feeding) end() {
	f.stop()
	f.mu.Lock()
	done := f.done
	f.mu.Unlock()
	if done != nil {
		<-done
	}
}
