package archive

import (
	"time"

	"github.com/keystile/keystile/requestlog"
)

const (
	defaultRetention = 30 * 24 * time.Hour
	defaultMaxSize   = 10 << 30
)

// bounds are what is kept: by age, and by size in bytes.
type bounds struct {
	age  time.Duration
	size int64
}

// SetRetention changes what is kept, see [requestlog.RetentionSetter]. The housekeeper deletes what is too much by then.
func (a *Archive) SetRetention(age time.Duration, size int64) {
	b := &bounds{orDefault(age, defaultRetention), orDefault(size, defaultMaxSize)}
	a.bounds.Store(b)
	a.journal.SetRetention(b.age, b.size)
	a.wake()
}

var _ requestlog.RetentionSetter = (*Archive)(nil)
