package requestlog

import "time"

// logLimit lets one log line through per logInterval, so that a lasting failure does not fill the log of the process.
type logLimit struct{ next time.Time }

func (l *logLimit) allow(now time.Time) bool {
	if now.Before(l.next) {
		return false
	}
	l.next = now.Add(logInterval)
	return true
}
