package otlp

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	otellog "go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.uber.org/zap"

	"github.com/keystile/keystile/requestlog"
)

const (
	defaultQueue = 4096
	maxBatch     = 512     // records of one request to the collector
	maxText      = 2 << 20 // bytes of text in them, and of what goes around it; collectors refuse messages of more than 4 MiB
	queuedText   = 8 << 20 // bytes of captured text in the queue
	batchWait    = time.Second
	logInterval  = 10 * time.Second
)

// Counts are of one exporter, or of several in succession. Every record that was observed is exported, dropped, failed, or
// still in the queue.
type Counts struct {
	Exported atomic.Uint64 // taken by the collector
	Dropped  atomic.Uint64 // no room in the queue, or none left at the end
	Failed   atomic.Uint64 // not taken by the collector, or not all of the batch
	Queued   atomic.Int64
}

// Exporter sends records to a collector.
type Exporter struct {
	client sdklog.Exporter
	logger otellog.Logger
	counts *Counts
	log    *zap.Logger

	mu     sync.Mutex // guards closed, so that nothing is queued behind the worker's last look
	closed bool
	queue  chan *requestlog.Record
	text   atomic.Int64 // captured bytes in the queue

	ctx    context.Context // of exports
	cancel context.CancelFunc
	quit   chan struct{}
	done   chan struct{}

	// The worker's own.
	batch   []sdklog.Record
	inBatch int       // bytes of text in batch
	nextLog time.Time // of a lasting failure
}

// New makes an exporter and starts it. It does not wait for the collector, which may come later.
func New(o Options) (*Exporter, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.QueueSize == 0 {
		o.QueueSize = defaultQueue
	}
	if o.Counts == nil {
		o.Counts = new(Counts)
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	ctx, cancel := context.WithCancel(context.Background())
	client, err := o.client(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("preparing the exporter: %w", err)
	}
	e := &Exporter{
		client: client, counts: o.Counts, log: o.Logger,
		queue: make(chan *requestlog.Record, o.QueueSize),
		ctx:   ctx, cancel: cancel, quit: make(chan struct{}), done: make(chan struct{}),
	}
	// The provider completes records with resource and scope, and hands them back by way of collector.
	provider := sdklog.NewLoggerProvider(sdklog.WithResource(describe(o)), sdklog.WithProcessor((*collector)(e)))
	e.logger = provider.Logger(scopeName, otellog.WithInstrumentationVersion(o.Version))
	go e.run()
	return e, nil
}

// Observe queues a copy of the record, for [requestlog.Log.Observe]. It never waits.
func (e *Exporter) Observe(r *requestlog.Record) {
	c := *r
	c.Capture = nil
	text := int64(c.CapturedBytes())
	if text > 0 && e.text.Load()+text > queuedText {
		c.DropCaptured()
		text = int64(c.CapturedBytes())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		e.counts.Dropped.Add(1)
		return
	}
	select {
	case e.queue <- &c:
		e.counts.Queued.Add(1)
		e.text.Add(text)
	default:
		e.counts.Dropped.Add(1)
	}
}

// Close sends what is queued, until ctx ends, counts the rest as dropped, and lets go of the collector.
func (e *Exporter) Close(ctx context.Context) error {
	e.mu.Lock()
	again := e.closed
	e.closed = true
	e.mu.Unlock()
	if !again {
		close(e.quit)
	}
	select {
	case <-e.done:
	case <-ctx.Done():
		e.cancel()
		<-e.done
	}
	e.cancel()
	if again {
		return nil
	}
	return e.client.Shutdown(context.WithoutCancel(ctx))
}

func (e *Exporter) run() {
	defer close(e.done)
	for {
		select {
		case r := <-e.queue:
			e.add(r)
		case <-e.quit:
			e.finish()
			return
		}
		// Something waits: gather what comes soon.
		wait := time.NewTimer(batchWait)
		for gathering := true; gathering && !e.full(); {
			select {
			case r := <-e.queue:
				e.add(r)
			case <-wait.C:
				gathering = false
			case <-e.quit:
				gathering = false
			}
		}
		wait.Stop()
		e.send()
	}
}

// finish sends what is queued when the exporter is closed.
func (e *Exporter) finish() {
	for {
		select {
		case r := <-e.queue:
			e.add(r)
			if e.full() {
				e.send()
			}
		default:
			e.send()
			return
		}
	}
}

func (e *Exporter) full() bool { return len(e.batch) >= maxBatch || e.inBatch >= maxText }

// add makes a log record of the record and puts it into the batch. One that makes it panic is given up: what clients send
// must never end the process.
func (e *Exporter) add(r *requestlog.Record) {
	before := len(e.batch)
	defer func() {
		if p := recover(); p != nil {
			e.batch = e.batch[:before]
			e.settle(1, &e.counts.Failed)
			e.complain(fmt.Errorf("recovered from a panic: %v", p))
		}
	}()
	e.text.Add(-int64(r.CapturedBytes()))
	e.inBatch += sizeOf(r)
	e.logger.Emit(e.ctx, logRecord(r, time.Now()))
}

// send exports the batch. Whatever becomes of it, it is counted.
func (e *Exporter) send() {
	n := len(e.batch)
	if n == 0 {
		return
	}
	err := e.ctx.Err()
	outcome := &e.counts.Dropped // the time is over
	if err == nil {
		err = e.export()
		outcome = &e.counts.Exported
		if err != nil {
			outcome = &e.counts.Failed
		}
	}
	e.settle(n, outcome)
	clear(e.batch)
	e.batch, e.inBatch = e.batch[:0], 0
	if err != nil {
		e.complain(err)
	}
}

func (e *Exporter) export() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("recovered from a panic: %v", p)
		}
	}()
	return e.client.Export(e.ctx, e.batch)
}

func (e *Exporter) settle(n int, outcome *atomic.Uint64) {
	e.counts.Queued.Add(-int64(n))
	outcome.Add(uint64(n))
}

// complain says that records could not be exported, at a bounded rate.
func (e *Exporter) complain(err error) {
	now := time.Now()
	if now.Before(e.nextLog) {
		return
	}
	e.nextLog = now.Add(logInterval)
	e.log.Error("cannot export request records", zap.Error(err),
		zap.Uint64("failed", e.counts.Failed.Load()), zap.Uint64("dropped", e.counts.Dropped.Load()))
}

// collector takes the completed records from the provider.
type collector Exporter

// OnEmit puts the record into the batch. It is called by the worker alone.
func (c *collector) OnEmit(_ context.Context, r *sdklog.Record) error {
	c.batch = append(c.batch, r.Clone())
	return nil
}

// Enabled says yes to everything.
func (*collector) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

// Shutdown does nothing: the exporter has its own end.
func (*collector) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing.
func (*collector) ForceFlush(context.Context) error { return nil }

var _ sdklog.Processor = (*collector)(nil)
