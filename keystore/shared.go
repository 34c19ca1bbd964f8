package keystore

import (
	"context"
	"errors"
	"time"
)

// Shared is a backend that several processes write to at the same time: the nodes of a fleet. Each holds everything in
// memory, and follows what the others commit.
//
// Commit decides between them: of two that stand on one head exactly one succeeds, and the other gets [ErrStale].
type Shared interface {
	Backend

	// Watch calls seen with the backend's head: at once, when it was told that the head has moved, and otherwise every
	// quarter of a second, until ctx ends. What it is told is a hint that may be lost; that it looks regularly is the
	// guarantee. An error means that the backend could not be asked this time; it goes on asking.
	Watch(ctx context.Context, seen func(Sighting, error)) error
	// Look is one look at the head.
	Look(ctx context.Context) (Sighting, error)

	// Changes calls rows, several times if there are many, for every row that a commit after the revision has written, as
	// it is now: a row that was written twice comes once, and one that was removed without Data. It gives the head that
	// the rows lead to. All is of one moment, but that rows which later commits have written meanwhile may come among
	// those of an import, and before an older form of the same key; they come again. Data may be kept.
	Changes(ctx context.Context, after uint64, rows func([]Row) error) (Head, error)

	// Turn waits until nobody else has the turn, in the order of asking. Commits of others wait until done is called, or until
	// a time is over. It is for fairness, and nothing rests on it.
	Turn(ctx context.Context) (done func(), err error)

	// Claim keeps a value for a while if there is none with its id, or one whose time is over, and says whether it did: of many
	// who ask at once one gets it. It all goes by the backend's clock.
	Claim(ctx context.Context, id string, data []byte, hold time.Duration) (bool, error)
	// DropKept removes the kept values whose time was over before a moment, and is by the backend's clock: one node with a wrong
	// clock must not destroy what is everybody's.
	DropKept(ctx context.Context, before time.Time) error

	// Beat says that a node lives and what it has applied, and answers all nodes, this one included. On a server that takes
	// no writes the node is in no list: nobody waits for it, and it is told so by its absence.
	Beat(ctx context.Context, n *NodeRow) ([]NodeRow, error)
	// Nodes are all nodes that were seen lately, in no order.
	Nodes(ctx context.Context) ([]NodeRow, error)
	// Leave takes a node off the list.
	Leave(ctx context.Context, id string) error
}

// Sighting is the backend's head as it was at some moment.
type Sighting struct {
	Head Head
	At   time.Time // the head was this one at that moment or later, by the clock of this process
}

// NodeRow is what a node says of itself.
type NodeRow struct {
	ID           string
	Version      string        // of the program
	Started      time.Time     // UTC, whole milliseconds
	Revision     uint64        // in force there
	MaxStaleness time.Duration // after so long without the backend it accepts no keys
	Unseen       time.Duration // how long ago it was heard of, by the backend's clock
}

// ErrAway is in the chain of every error that means that the backend cannot be reached now, and may be later.
var ErrAway = errors.New("the key store's database cannot be reached")

// ErrUnchanged is in the chain of an error of Commit that says for sure that nothing has happened.
var ErrUnchanged = errors.New("nothing was changed")
