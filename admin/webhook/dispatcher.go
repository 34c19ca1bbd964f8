package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/keystore"
)

// Options is what a dispatcher is made of.
type Options struct {
	Store  *keystore.Store  // required; it must outlast the dispatcher
	Node   string           // names this process to others that share the store's backend
	Now    func() time.Time // nil: [time.Now]
	Logger *zap.Logger      // nil: logs nothing
}

// Dispatcher makes the deliveries of one store.
type Dispatcher struct {
	store  *keystore.Store
	now    func() time.Time
	logger *zap.Logger
	lease  *keystore.WebhookLease
	sender *sender
	// post is sender.send, but in tests
	post func(ctx context.Context, url string, header http.Header, body []byte) (int, error)

	taking sync.Mutex // one asks for the lease at a time
	cancel context.CancelFunc
	done   chan struct{} // closed when everything has ended
}

const (
	// recheck is the longest that an endpoint's goroutine sleeps, whatever is due next: clocks are set, and other nodes may
	// write to the store.
	recheck = time.Minute
	// leaseRetry is how soon the lease is asked for again that another node has.
	leaseRetry = time.Second
	// saveTime bounds the saving of a state. It is not given up when the dispatcher ends: what was delivered is noted.
	saveTime = 10 * time.Second
)

// Start starts a dispatcher. It refuses private addresses until SetPrivate says otherwise.
func Start(o Options) (*Dispatcher, error) {
	d, err := newDispatcher(o)
	if err != nil {
		return nil, err
	}
	d.start()
	return d, nil
}

func newDispatcher(o Options) (*Dispatcher, error) {
	if o.Store == nil {
		return nil, errors.New("starting webhook deliveries: Store is missing")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	lease, err := o.Store.NewWebhookLease(o.Node)
	if err != nil {
		return nil, fmt.Errorf("starting webhook deliveries: %w", err)
	}
	d := &Dispatcher{store: o.Store, now: o.Now, logger: o.Logger, lease: lease, sender: newSender(), done: make(chan struct{})}
	d.post = d.sender.send
	return d, nil
}

func (d *Dispatcher) start() {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go d.run(ctx)
}

// SetPrivate says whether deliveries may go to any address, and by plain HTTP. It holds for every connection that is made
// from now on.
func (d *Dispatcher) SetPrivate(allowed bool) { d.sender.private.Store(allowed) }

// Close ends all deliveries and waits for that. A request under way is given up, and made again by the next dispatcher.
// Close it before the store.
func (d *Dispatcher) Close() {
	d.cancel()
	<-d.done
}

// run keeps one goroutine for each endpoint until ctx ends.
func (d *Dispatcher) run(ctx context.Context) {
	defer close(d.done)
	var workers sync.WaitGroup
	running := make(map[string]context.CancelFunc)
	for ctx.Err() == nil {
		changed := d.store.Changed()
		found := make(map[string]bool)
		for _, w := range d.store.Snapshot().AllWebhookEndpoints() {
			found[w.ID] = true
			if running[w.ID] != nil {
				continue
			}
			mine, cancel := context.WithCancel(ctx)
			running[w.ID] = cancel
			workers.Go(func() { (&worker{Dispatcher: d, endpoint: w}).run(mine) })
		}
		for id, cancel := range running {
			if !found[id] {
				cancel()
				delete(running, id)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	for _, cancel := range running {
		cancel()
	}
	workers.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	if err := d.lease.Release(ctx); err != nil {
		d.logger.Warn("giving the lease of webhook deliveries back", zap.Error(err))
	}
}

func (d *Dispatcher) takeLease(ctx context.Context) error {
	d.taking.Lock()
	defer d.taking.Unlock()
	return d.lease.Take(ctx)
}
