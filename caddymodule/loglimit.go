package caddymodule

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// logInterval is how often a lasting failure that requests meet is told in the log of the process.
const logInterval = 10 * time.Second

// logLimit lets one line of a kind through in logInterval, so that nobody can fill the log by asking again and again for what
// fails. It is safe for concurrent use.
type logLimit struct {
	mu     sync.Mutex
	last   time.Time
	passed uint64 // over, since the last line
}

// allow says whether to write a line now, and how many were not written since the one before.
func (l *logLimit) allow(now time.Time) (passed uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if gone := now.Sub(l.last); gone >= 0 && gone < logInterval { // a clock that was put back makes no silence
		l.passed++
		return 0, false
	}
	passed, l.passed, l.last = l.passed, 0, now
	return passed, true
}

// complain tells the operator of a failure that this request met, at a bounded rate. The records tell of each.
func (x *exchange) complain(limit *logLimit, what string, err error) {
	passed, ok := limit.allow(x.gate.now())
	if !ok {
		return
	}
	x.gate.logger.Error(what, zap.String("request_id", x.verdict.requestID), zap.Error(err), zap.Uint64("more_since_the_last_line", passed))
}
