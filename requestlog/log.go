package requestlog

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Log takes records from the request path and keeps them in a store. All methods are safe for concurrent use.
type Log struct {
	store  Store
	node   string
	now    func() time.Time
	logger *zap.Logger

	queue *ring
	pool  sync.Pool // *Record, zeroed
	drops dropCount

	captures     captureBudget
	captureBurst int64

	// armed is 1 while the writer is awake or about to be: only the first record after a pause has to wake it.
	armed      atomic.Uint32
	wake       chan struct{} // capacity 1: records wait
	urgent     chan struct{} // capacity 1: the queue is half full, do not gather any longer
	urgentMask uint64        // positions at which a producer looks whether the queue is half full
	flushes    chan chan struct{}
	closing    chan struct{} // closed by Close
	done       chan struct{} // closed when the writer has ended
	closeOnce  sync.Once
	closeErr   error // valid after done

	stored atomic.Uint64
	gaps   atomic.Uint64
	errors atomic.Uint64

	mu        sync.Mutex // serialises changes of the two lists; readers load them without it
	observers atomic.Pointer[[]func(*Record)]
	tails     atomic.Pointer[[]*Follower]
	recent    recent
	feed      *feeding // nil: tails are fed by the writer
}

// Stats are counts since Open. Appended = Stored + Dropped + Queued, exactly, whenever they are read while nothing is in
// flight; Queued is 0 after Close.
type Stats struct {
	Queued   int      // accepted, not yet stored
	Capacity int      // of the queue
	Appended uint64   // given to Append, AppendForAnyone and AppendMinor, whatever became of them
	Stored   uint64   // records kept; gap records do not count
	Dropped  uint64   // refused by those three, or given up later
	Gaps     uint64   // gap records kept
	Errors   uint64   // failed writes, syncs and deletions
	Skipped  uint64   // unreadable lines met so far
	Files    int      // of the store
	Sealed   int      // those of them that were brought into their final form
	Bytes    int64    // of all files
	SetAside uint64   // damaged files taken out of the log so far
	Backlog  *Backlog // of a store that brings records to a place that processes share, else nil

	Captured        int64  // bytes of headers and bodies on their way to the store
	CapturesDropped uint64 // captures given up because too much was on its way
	CaptureDropped  uint64 // bytes of those
}

// Open opens the log and starts its writer.
func Open(o Options) (*Log, error) {
	if err := o.setDefaults(); err != nil {
		return nil, fmt.Errorf("opening the request log: %w", err)
	}
	store := o.Store
	if store == nil {
		j, err := OpenJournal(JournalOptions{
			Dir: o.Dir, Retention: o.Retention, MaxSize: o.MaxSize, Now: o.Now, Logger: o.Logger, FS: o.FS,
		})
		if err != nil {
			return nil, fmt.Errorf("opening the request log: %w", err)
		}
		store = j
	}
	queue := newRing(o.QueueSize)
	l := &Log{
		store:      store,
		node:       o.Node,
		now:        o.Now,
		logger:     o.Logger,
		queue:      queue,
		wake:       make(chan struct{}, 1),
		urgent:     make(chan struct{}, 1),
		urgentMask: uint64(min(256, max(1, len(queue.places)/4)) - 1),
		flushes:    make(chan chan struct{}),
		closing:    make(chan struct{}),
		done:       make(chan struct{}),
	}
	l.captures.size, l.captureBurst = o.CaptureBudget, o.CaptureBurst
	l.captures.room.Store(o.CaptureBudget)
	l.pool.New = func() any { return new(Record) }
	if f, ok := store.(Feeder); ok {
		l.feed = newFeeding(l, f)
	}
	w := &writer{log: l, interval: o.FlushInterval, cleaner: newCleaner()}
	go w.run()
	return l, nil
}

// NewRecord hands out a zeroed record to fill and give to Append.
func (l *Log) NewRecord() *Record { return l.pool.Get().(*Record) }

func (l *Log) release(r *Record) {
	if r.Capture != nil {
		r.Capture.release()
	}
	*r = Record{}
	l.pool.Put(r)
}

// Append queues the record and never blocks. The record is the log's from then on, also when the answer is false: then the
// queue is full, or the log closed, and the record counts as dropped.
//
// A text that is a part of a much larger one keeps that alive while the record waits: see [Record.Detach].
func (l *Log) Append(r *Record) bool {
	return l.append(len(l.queue.places), r)
}

// AppendForAnyone is Append for the record of a request that anybody can make as often as they like, and that is worth more than
// a minor one: it was served, or shows that a key that has ended is still tried. Such records find room in five eighths of
// the queue, also if their requests began while it was empty and end all at once, so that they never make Ready false.
func (l *Log) AppendForAnyone(r *Record) bool { return l.append(l.part(anyoneEighths), r) }

// AppendMinor is AppendForAnyone for a record that tells of nobody in particular, as the refusal of a key that does not exist
// does. When the writer cannot keep up, such records are given up first: they find room in one half of the queue.
func (l *Log) AppendMinor(r *Record) bool { return l.append(l.part(minorEighths), r) }

// append queues the record if fewer than limit are in the queue.
func (l *Log) append(limit int, r *Record) bool {
	boundOutside(r)
	position, ok := l.queue.pushUpTo(limit, r)
	if !ok {
		l.drop(r)
		signal(l.urgent) // a queue that is filled to a bound may hide the position at which the writer would be told
		return false
	}
	l.arm()
	if position&l.urgentMask == l.urgentMask && l.queue.len() >= len(l.queue.places)/2 {
		signal(l.urgent)
	}
	return true
}

// drop gives the record up and counts it.
func (l *Log) drop(r *Record) {
	l.drops.add(1, l.now())
	l.release(r)
	l.arm()
}

// How far the queue may be filled, in eighths: by minor records; by those of other requests that anybody can make; and by all
// others that begin now. What is left is for those of them that are already on their way, and for the record of the refusal
// itself.
const (
	minorEighths  = 4
	anyoneEighths = 5
	readyEighths  = 6
)

// part is so many eighths of the queue.
func (l *Log) part(eighths int) int { return max(1, len(l.queue.places)*eighths/8) }

// arm wakes the writer if it sleeps.
func (l *Log) arm() {
	if l.armed.Load() == 0 && l.armed.CompareAndSwap(0, 1) {
		signal(l.wake)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Ready says whether the queue has room for the records of requests that begin now. It turns false when the queue is three
// quarters full.
func (l *Log) Ready() bool { return l.ready(readyEighths) }

// ReadyForAnyone is Ready for requests that anybody can make. It turns false earlier, where AppendForAnyone does, so that who
// makes many of them does not take the room of others.
func (l *Log) ReadyForAnyone() bool { return l.ready(anyoneEighths) }

func (l *Log) ready(eighths int) bool { return !l.queue.closed() && l.queue.len() < l.part(eighths) }

// Stats answers the counts.
func (l *Log) Stats() Stats {
	// The order makes Queued never negative: what is stored was appended before.
	s := Stats{Stored: l.stored.Load(), Gaps: l.gaps.Load(), Errors: l.errors.Load(), Capacity: len(l.queue.places)}
	given, refused := l.drops.counts()
	s.Dropped = given + refused
	accepted := l.queue.claimed()
	s.Appended = accepted + refused
	s.Queued = int(accepted - s.Stored - given)
	st := l.store.Stats()
	s.Errors += st.Errors
	s.Skipped, s.Files, s.Sealed, s.Bytes, s.SetAside = st.Skipped, st.Files, st.Sealed, st.Bytes, st.SetAside
	s.Backlog = st.Backlog
	s.Captured = l.captures.used()
	s.CapturesDropped, s.CaptureDropped = l.captures.dropped.Load(), l.captures.droppedBytes.Load()
	return s
}

// Observe registers f to be called by the writer for each stored record, gap records included, never on the request path.
// f must be quick (the writer waits for it), and neither keep nor change the record.
func (l *Log) Observe(f func(*Record)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []func(*Record)
	if old := l.observers.Load(); old != nil {
		list = append(list, *old...)
	}
	list = append(list, f)
	l.observers.Store(&list)
}

// SetRetention changes the age and the size, in bytes, that the store keeps, as in Options; 0 stands for the default. Records
// that are too old or too many then are deleted soon.
func (l *Log) SetRetention(age time.Duration, size int64) {
	if s, ok := l.store.(RetentionSetter); ok {
		s.SetRetention(age, size)
	}
}

// List answers one page of the records that the filter selects, newest first, behind the cursor: a record's id, the Next of
// a page, or "" for the newest. limit is taken as 1 to MaxLimit.
func (l *Log) List(ctx context.Context, f Filter, limit int, startingAfter string) (Page, error) {
	if startingAfter != "" && !ValidID(startingAfter) {
		return Page{}, &FilterError{"starting_after", quoted(startingAfter) + " is not a request id"}
	}
	return l.store.List(ctx, Query{Filter: f, Limit: min(max(limit, 1), MaxLimit), After: startingAfter})
}

// Get answers the record of the id, or ErrNotFound.
func (l *Log) Get(ctx context.Context, id string) (*Record, error) {
	if !ValidID(id) {
		return nil, ErrNotFound
	}
	return l.store.Get(ctx, id)
}

// Flush waits until everything that was appended before is stored, and so visible to List and Get. It fails when ctx ends
// first: the store may be refusing records for a long time.
func (l *Log) Flush(ctx context.Context) error {
	flushed := make(chan struct{})
	select {
	case l.flushes <- flushed:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return ErrClosed
	}
	select {
	case <-flushed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return ErrClosed
	}
}

// Close refuses further records, stores everything that was accepted, makes it durable and closes the store. If the store
// refuses records for longer than closeGrace, they are given up, counted as dropped, and named in the error.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.queue.close()
		close(l.closing)
		if l.feed != nil {
			l.feed.end()
		}
	})
	<-l.done
	return l.closeErr
}
