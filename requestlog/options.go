package requestlog

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Options of [Open]. Only Dir (or Store) must be given.
type Options struct {
	// Dir is where the journal lives. It is made (0700) if it does not exist, and belongs to one process at a time.
	Dir string
	// Store is used instead of a journal in Dir: the archive, in the gateway. The log closes it.
	Store Store
	// Node is written into records that name no node.
	Node string

	// QueueSize is how many records may wait for the writer, rounded up to a power of two. One waiting record takes about
	// 1 kB, and never more than 10 kB whatever clients send. Default 8192.
	QueueSize int
	// FlushInterval is how long a record may wait before it is written. Default 100 ms, at most 200 ms.
	FlushInterval time.Duration

	// CaptureBudget is how many captured bytes (headers and bodies, see Capture) may be on their way to the store at once.
	// Default 32 MiB.
	CaptureBudget int64
	// CaptureBurst is how many captured bytes are redacted in a tenth of a second, whatever time that takes. What comes
	// beyond is given up if redacting has taken half of that time, so that it never holds records up. Default 1 MiB.
	CaptureBurst int64

	// Retention and MaxSize bound the journal in Dir: whole files are deleted, the oldest first, when all their records
	// are older than Retention, or while all files together are larger than MaxSize bytes. Default 30 days and 10 GiB.
	Retention time.Duration
	MaxSize   int64

	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Logger hears of failures and recoveries, at a bounded rate. Default: nobody does.
	Logger *zap.Logger
	// FS is the file system of the journal. Default: the real one.
	FS FS
}

// MaxFlushInterval is the longest allowed flush interval: what a killed process may lose.
const MaxFlushInterval = 200 * time.Millisecond

// What is kept if nothing else is asked for.
const (
	defaultRetention = 30 * 24 * time.Hour
	defaultMaxSize   = 10 << 30
)

func (o *Options) setDefaults() error {
	if o.Dir == "" && o.Store == nil {
		return errors.New("a directory or a store must be given")
	}
	if o.QueueSize == 0 {
		o.QueueSize = 8192
	}
	if o.QueueSize < 0 || o.QueueSize > 1<<22 {
		return fmt.Errorf("queue size %d must be between 1 and %d", o.QueueSize, 1<<22)
	}
	if o.FlushInterval == 0 {
		o.FlushInterval = 100 * time.Millisecond
	}
	if o.FlushInterval < 0 || o.FlushInterval > MaxFlushInterval {
		return fmt.Errorf("flush interval %v must be at most %v", o.FlushInterval, MaxFlushInterval)
	}
	if o.CaptureBudget == 0 {
		o.CaptureBudget = defaultCaptureBudget
	}
	if o.CaptureBurst == 0 {
		o.CaptureBurst = defaultCaptureBurst
	}
	if o.CaptureBudget < 0 || o.CaptureBurst < 0 {
		return fmt.Errorf("capture budget %d and burst %d must not be negative", o.CaptureBudget, o.CaptureBurst)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return nil
}
