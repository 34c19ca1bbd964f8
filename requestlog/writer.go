package requestlog

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
)

const (
	maxBatch     = 1024                   // records of one Store.Write
	minBackoff   = 100 * time.Millisecond // before a refused batch is given again
	maxBackoff   = time.Second
	gapInterval  = time.Second      // at most one gap record in this time while records keep being dropped
	closeGrace   = 3 * time.Second  // how long Close tries to store what the store refuses
	logInterval  = 10 * time.Second // between log lines of a lasting failure
	panicMessage = "request log: recovered from a panic"
)

// writer is the one goroutine that stores records. All its fields are its own.
type writer struct {
	log      *Log
	interval time.Duration

	batch    []*Record // clean; taken from the queue, not yet stored
	awake    bool      // gathering: something waits in the queue
	backoff  time.Duration
	failures uint64 // writes refused since the last success
	waiting  []flushWait
	captures captureLoad
	cleaner  *cleaner

	lastGap     time.Time
	errorLog    logLimit
	observerLog logLimit
}

// flushWait is a caller of Flush: done is closed once everything before target is stored.
type flushWait struct {
	target uint64
	done   chan struct{}
}

func (w *writer) run() {
	l := w.log
	defer close(l.done)
	for {
		wake, urgent := l.wake, l.urgent
		var timer *time.Timer
		var elapsed <-chan time.Time
		switch {
		case w.backoff > 0: // the store refuses records: only time, a flush or the end may start the next try
			wake, urgent = nil, nil
			timer = time.NewTimer(w.backoff)
		case w.awake:
			wake = nil
			timer = time.NewTimer(w.interval)
		}
		if timer != nil {
			elapsed = timer.C
		}
		select {
		case <-wake:
			w.awake = true
			continue
		case <-urgent:
		case <-elapsed:
		case flushed := <-l.flushes:
			w.waiting = append(w.waiting, flushWait{l.queue.claimed(), flushed})
		case <-l.closing:
			w.shutdown()
			return
		}
		if timer != nil {
			timer.Stop()
		}
		w.awake = false
		l.armed.Store(0) // before the queue is read: who comes later wakes the writer again
		w.drain()
		w.answerFlushes()
	}
}

// drain stores what is in the queue. false: the store refused.
func (w *writer) drain() bool {
	for {
		w.fill(w.log.queue.pop)
		if len(w.batch) == 0 {
			return true
		}
		if !w.write() {
			return false
		}
	}
}

// fill takes records from the queue into the batch, and adds a gap record where one is due: when the queue has drained, or
// every gapInterval while it does not.
func (w *writer) fill(pop func() *Record) {
	l := w.log
	if len(w.batch) > 0 {
		return // refused before: it is given again as it is
	}
	now := l.now()
	for len(w.batch) < maxBatch {
		r := pop()
		if r == nil {
			break
		}
		r.Lost = 0 // gap records are made here only: another one would be taken off the count of what was dropped
		if w.clean(r, now) {
			w.batch = append(w.batch, r)
		}
	}
	if l.drops.unreported() > 0 && (len(w.batch) < maxBatch || now.Sub(w.lastGap) >= gapInterval) {
		gap := l.NewRecord()
		l.drops.fillGap(gap, now)
		clean(gap, l.node, now)
		w.batch = append(w.batch, gap)
		w.lastGap = now
	}
}

// clean is clean, made safe: what clients send must never end the process. A record that makes it panic is given up.
func (w *writer) clean(r *Record, now time.Time) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			w.log.logger.Error(panicMessage, zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			w.log.errors.Add(1)
			if r != nil && r.Capture != nil {
				r.Capture.release()
			}
			w.log.drops.giveUp(1, now)
		}
	}()
	if r != nil && r.Capture != nil {
		defer w.captures.admit(r.Capture, w.log.captureBurst, w.log.now)()
	}
	w.cleaner.clean(r, w.log.node, now)
	return true
}

// write gives the batch to the store. false: the store refused at least a part, which stays in the batch.
func (w *writer) write() bool {
	l := w.log
	stored, err := w.guardedWrite()
	for _, r := range w.batch[:stored] {
		if r.IsGap() {
			l.drops.reportedGap(r)
			l.gaps.Add(1)
		} else {
			l.stored.Add(1)
		}
		w.publish(r)
		l.release(r)
	}
	left := copy(w.batch, w.batch[stored:])
	clear(w.batch[left:])
	w.batch = w.batch[:left]
	if left == 0 {
		if w.failures > 0 {
			l.logger.Info("request log: records are stored again", zap.Uint64("failed_writes", w.failures), zap.Uint64("not_recorded", l.drops.unreported()))
		}
		w.failures, w.backoff = 0, 0
		w.errorLog = logLimit{}
		return true
	}
	l.errors.Add(1)
	w.failures++
	w.backoff = min(max(2*w.backoff, minBackoff), maxBackoff)
	if w.errorLog.allow(l.now()) {
		l.logger.Error("request log: cannot store records; they wait in memory, and are dropped when the queue is full",
			zap.Error(err), zap.Int("waiting", left+l.queue.len()), zap.Uint64("not_recorded", l.drops.unreported()))
	}
	return false
}

// guardedWrite is Store.Write, made safe against a store that panics or answers nonsense. A batch that makes the store panic
// would do so for ever: it is given up and counted.
func (w *writer) guardedWrite() (stored int, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		w.log.logger.Error(panicMessage, zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		w.log.errors.Add(1)
		w.giveUp()
		stored, err = 0, nil
	}()
	stored, err = w.log.store.Write(w.batch)
	if stored < len(w.batch) && err == nil {
		err = errors.New("the store kept a part of the records without an error")
	}
	return min(max(stored, 0), len(w.batch)), err
}

// giveUp drops the batch and counts it. A gap record among it stays unreported and is made anew.
func (w *writer) giveUp() {
	var n uint64
	for _, r := range w.batch {
		if !r.IsGap() {
			n++
		}
		w.log.release(r)
	}
	clear(w.batch)
	w.batch = w.batch[:0]
	w.log.drops.giveUp(n, w.log.now())
}

// giveUpRest drops the batch and the closed queue, and answers how many records that were.
func (w *writer) giveUpRest() uint64 {
	l := w.log
	before := l.drops.given.Load()
	w.giveUp()
	var n uint64
	for r := l.queue.popClaimed(); r != nil; r = l.queue.popClaimed() {
		n++
		l.release(r)
	}
	l.drops.giveUp(n, l.now())
	return l.drops.given.Load() - before
}

// publish shows a stored record to the observers and the tails.
func (w *writer) publish(r *Record) {
	if list := w.log.observers.Load(); list != nil {
		for _, f := range *list {
			w.observe(f, r)
		}
	}
	if w.log.feed == nil {
		w.log.announce(r)
	}
}

func (w *writer) observe(f func(*Record), r *Record) {
	defer func() {
		if p := recover(); p != nil && w.observerLog.allow(w.log.now()) {
			w.log.logger.Error(panicMessage, zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		}
	}()
	f(r)
}

func (w *writer) answerFlushes() {
	if len(w.waiting) == 0 || len(w.batch) > 0 {
		return
	}
	head := w.log.queue.head.Load()
	left := w.waiting[:0]
	for _, f := range w.waiting {
		if head < f.target {
			left = append(left, f)
			continue
		}
		close(f.done)
	}
	w.waiting = left
}

// shutdown stores the rest, for closeGrace at most, and closes the store.
func (w *writer) shutdown() {
	l := w.log
	var lost error
	giveUp := time.NewTimer(closeGrace)
	defer giveUp.Stop()
	for lost == nil {
		w.fill(l.queue.popClaimed)
		if len(w.batch) == 0 {
			break
		}
		if w.write() {
			continue
		}
		select {
		case <-time.After(w.backoff):
		case <-giveUp.C:
			lost = fmt.Errorf("%d records could not be stored within %v", w.giveUpRest(), closeGrace)
		}
	}
	w.answerFlushes()
	if err := errors.Join(lost, l.store.Close()); err != nil {
		l.closeErr = fmt.Errorf("closing the request log: %w", err)
	}
}
