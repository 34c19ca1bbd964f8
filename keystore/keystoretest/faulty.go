package keystoretest

import (
	"context"
	"errors"
	"sync"

	"github.com/keystile/keystile/keystore"
)

// ErrFault is what a faulty backend answers.
var ErrFault = errors.New("fault asked for by the test")

// Fault is how a backend fails.
type Fault int

// The faults.
const (
	FaultNone      Fault = iota
	FaultLost            // Commit fails, and nothing is durable
	FaultPersisted       // Commit fails, but it is durable all the same
	FaultBlindLost       // as FaultLost, and Head fails too: nobody can tell
	FaultBlindPersisted
)

// Faulty is a backend that fails on demand.
type Faulty struct {
	keystore.Backend

	mu    sync.Mutex
	fault Fault
}

// Break makes it fail from now on, until FaultNone is set.
func (f *Faulty) Break(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *Faulty) now() Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// Commit fails if it was told to.
func (f *Faulty) Commit(ctx context.Context, c *keystore.Commit) error {
	switch f.now() {
	case FaultLost, FaultBlindLost:
		return ErrFault
	case FaultPersisted, FaultBlindPersisted:
		return errors.Join(ErrFault, f.Backend.Commit(ctx, c))
	}
	return f.Backend.Commit(ctx, c)
}

// Head fails if it was told to.
func (f *Faulty) Head(ctx context.Context) (keystore.Head, error) {
	if fault := f.now(); fault == FaultBlindLost || fault == FaultBlindPersisted {
		return keystore.Head{}, ErrFault
	}
	return f.Backend.Head(ctx)
}
