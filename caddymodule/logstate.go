package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/otlp"
)

// exportGrace is how long the end of an exporter waits for its collector.
const exportGrace = 3 * time.Second

// sharedLog is a request log in the pool, opened on first use.
type sharedLog struct {
	place logPlace
	usage usageObserver

	// exporter sends records on; nil: nobody asked for it. Its counts outlive it.
	exporter atomic.Pointer[otlp.Exporter]
	exports  otlp.Counts

	mu     sync.Mutex // guards what follows; held while the log is opened
	log    *requestlog.Log
	err    error // why it could not be opened; final
	closed bool
	tuned  logTuning      // what is in force
	ending sync.WaitGroup // exporters that a reload has replaced
}

// takeLog takes the log of a place from the pool. A directory is that of one log: what waits in it for one database is not to
// be brought to another.
func takeLog(h *holdings, place logPlace) (*sharedLog, error) {
	l, err := take(h, poolKey{"request log", place.dir}, func() *sharedLog { return &sharedLog{place: place} })
	if err != nil {
		return nil, err
	}
	if l.place != place {
		return nil, fmt.Errorf("request_log: %s is in use for %s: another database, user or password needs a restart, or another journal", place.dir, l.place)
	}
	return l, nil
}

// open opens the log, or gives the one that is open.
func (l *sharedLog) open(t logTuning) (*requestlog.Log, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, errClosed
	case l.log != nil || l.err != nil:
		return l.log, l.err
	}
	if l.log, l.err = openLog(l.place, t); l.err == nil {
		l.tuned = logTuning{retention: t.retention, maxSize: t.maxSize}
		l.log.Observe(l.usage.observe)
		l.log.Observe(l.export)
	}
	return l.log, l.err
}

// openLog opens the log over the store of a place.
func openLog(place logPlace, t logTuning) (*requestlog.Log, error) {
	logger := processLogger("keystile.request_log")
	if err := checkLogFiles(place.dir, func(warning string) { logger.Warn(warning) }); err != nil {
		return nil, err
	}
	store, err := place.open(t, logger)
	if err != nil {
		return nil, err
	}
	log, err := requestlog.Open(requestlog.Options{Store: store, Logger: logger})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return log, nil
}

// tune brings what only one config at a time can say into force.
func (l *sharedLog) tune(t logTuning, node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.log == nil || l.closed {
		return
	}
	if t.retention != l.tuned.retention || t.maxSize != l.tuned.maxSize {
		l.log.SetRetention(t.retention, t.maxSize)
	}
	if !t.otlp.equal(l.tuned.otlp) {
		l.replaceExporter(t.otlp, node)
	}
	l.tuned = t
}

// replaceExporter puts another exporter, or none, in the place of the one that runs. What that has queued it still sends.
func (l *sharedLog) replaceExporter(t *exportTuning, node string) {
	var next *otlp.Exporter
	if t != nil {
		version, _ := caddy.Version()
		o := t.options
		o.Node, o.Version, o.Counts, o.Logger = node, version, &l.exports, processLogger("keystile.otlp")
		var err error
		if next, err = otlp.New(o); err != nil {
			// The options were checked when the config was loaded; records are kept in any case.
			o.Logger.Error("records are not exported", zap.Error(err))
		}
	}
	if old := l.exporter.Swap(next); old != nil {
		l.ending.Go(func() { endExporter(old) })
	}
}

func endExporter(e *otlp.Exporter) {
	ctx, cancel := context.WithTimeout(context.Background(), exportGrace)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		processLogger("keystile.otlp").Warn("closing the exporter", zap.Error(err))
	}
}

// export is called for each stored record.
func (l *sharedLog) export(r *requestlog.Record) {
	if e := l.exporter.Load(); e != nil {
		e.Observe(r)
	}
}

// Destruct stores what is queued and closes the log when the last config has let go of it. Then what is to be exported goes
// out, for a while.
func (l *sharedLog) Destruct() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.log == nil {
		return nil
	}
	err := l.log.Close()
	if e := l.exporter.Swap(nil); e != nil {
		l.ending.Go(func() { endExporter(e) })
	}
	l.ending.Wait()
	return err
}
