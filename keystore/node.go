package keystore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// beatInterval is how often a node says that it lives.
	beatInterval = time.Second
	// liveTime is how long a node that was not heard of counts as alive. It is waited for no longer.
	liveTime = 5 * time.Second
	// listedMargin is how much longer than its max_staleness a silent node stays in the list of those that may still accept
	// keys.
	listedMargin = 10 * time.Second
	// DefaultFleetWait is how long a change is waited for.
	DefaultFleetWait = 5 * time.Second
)

// node is this process among those that share the backend.
type node struct {
	id, version string
	started     time.Time

	known atomic.Pointer[knownNodes] // as the backend last told
	stop  context.CancelFunc
	wait  sync.WaitGroup // what follows the backend, and what tells it of this node
}

type knownNodes struct {
	rows []NodeRow
	at   time.Time
}

// Node is a node of the fleet.
type Node struct {
	ID       string
	Version  string // of the program
	Self     bool
	Live     bool      // it was heard of lately
	Revision uint64    // in force there
	Started  time.Time // UTC, whole milliseconds
	LastSeen time.Time // UTC; by the clock of this process
}

// Applied is whether a change is in force at a node.
type Applied struct {
	Node    string
	Applied bool
}

// share notes that other processes write to the backend, if they do.
func (s *Store) share(o *Options) {
	shared, ok := o.Backend.(Shared)
	if !ok {
		return
	}
	s.shared, s.applied = shared, make(chan struct{}, 1)
	s.node = &node{id: o.Node, version: o.Version, started: milliseconds(time.Now())}
	s.SetMaxStaleness(o.MaxStaleness)
	if o.CopyFile != "" {
		s.copy = &copyKeeper{path: o.CopyFile, wanted: true}
	}
}

// join makes this node known, and then catches up once more: who has listed the nodes before has committed before, and
// that is applied here before the first request is.
func (s *Store) join(ctx context.Context) error {
	if s.copy != nil { // the others will be told of what the copy of the run before does not hold
		if err := disbelieveCopy(s.copy.path); err != nil {
			s.logger.Warn("taking the time from the copy of the key store", zap.Error(err))
		}
	}
	s.moved()
	if err := s.beatOnce(ctx); err != nil {
		return fmt.Errorf("making this node known to the others: %w", err) // fail closed: they would not wait for it
	}
	at, err := s.shared.Look(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.catchUpLocked(ctx); err != nil {
		return err
	}
	if s.head.Revision >= at.Head.Revision {
		s.confirm(at.At)
	}
	return nil
}

// startNode makes this process known to the others and begins to follow them.
func (s *Store) startNode() {
	n := s.node
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	n.wait.Go(func() { s.follow(ctx) })
	n.wait.Go(func() { s.beat(ctx) })
	if s.copy != nil {
		n.wait.Go(func() { s.keepCopy(ctx) })
	}
}

func (s *Store) stopFollowing() {
	if s.node != nil {
		s.node.stop()
		s.node.wait.Wait()
	}
}

// leave takes this node off the list: nobody waits for it any more.
func (s *Store) leave(ctx context.Context) {
	if s.node == nil {
		return
	}
	if s.copy != nil && s.copy.current != nil {
		_ = s.copy.current.close()
	}
	ctx, cancel := context.WithTimeout(ctx, liveTime)
	defer cancel()
	if err := s.shared.Leave(ctx, s.node.id); err != nil {
		s.logger.Warn("leaving the fleet; the others will find out", zap.Error(err))
	}
}

// beat tells the others of this node: every second, and as soon as it has applied something.
func (s *Store) beat(ctx context.Context) {
	timer := time.NewTimer(beatInterval)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.applied:
		case <-timer.C:
		}
		err := s.beatOnce(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			s.logger.Warn("telling the other nodes of this one", zap.Error(err))
		}
		failing = err != nil
		timer.Reset(beatInterval)
	}
}

func (s *Store) beatOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, liveTime)
	defer cancel()
	at := time.Now()
	rows, err := s.shared.Beat(ctx, s.nodeRow())
	if err == nil {
		s.node.known.Store(&knownNodes{rows: rows, at: at})
	}
	return err
}

func (s *Store) nodeRow() *NodeRow {
	return &NodeRow{
		ID: s.node.id, Version: s.node.version, Started: s.node.started, Revision: s.snap.Load().Revision(),
		MaxStaleness: time.Duration(s.fresh.maxStaleness.Load()),
	}
}

// LiveNodes is how many nodes share the traffic, at least 1. It costs an atomic load.
func (s *Store) LiveNodes() int {
	if s.node == nil {
		return 1
	}
	known := s.node.known.Load()
	if known == nil {
		return 1
	}
	count := 0
	for i := range known.rows {
		if known.rows[i].Unseen <= liveTime || known.rows[i].ID == s.node.id {
			count++
		}
	}
	return max(1, count)
}

// Nodes lists the nodes of the fleet by id. While the backend is away it is what was last heard of it. A store that nobody
// shares has no nodes.
func (s *Store) Nodes(ctx context.Context) []Node {
	if s.node == nil {
		return nil
	}
	known := s.node.known.Load()
	ctx, cancel := context.WithTimeout(ctx, liveTime)
	defer cancel()
	at := time.Now()
	if rows, err := s.shared.Nodes(ctx); err == nil {
		known = &knownNodes{rows: rows, at: at}
	}
	now, nodes, self := time.Now(), []Node(nil), false
	if known != nil {
		for i := range known.rows {
			r := &known.rows[i]
			n := Node{ID: r.ID, Version: r.Version, Revision: r.Revision, Started: r.Started, LastSeen: milliseconds(known.at.Add(-r.Unseen))}
			if n.ID == s.node.id {
				self, n.Self, n.Revision = true, true, s.snap.Load().Revision()
			}
			n.Live = n.Self || now.Sub(known.at)+r.Unseen <= liveTime
			nodes = append(nodes, n)
		}
	}
	if !self {
		nodes = append(nodes, Node{
			ID: s.node.id, Version: s.node.version, Self: true, Live: true, Started: s.node.started,
			Revision: s.snap.Load().Revision(), LastSeen: milliseconds(now),
		})
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}

// WaitApplied waits until the commit of a revision is in force on every node that lives, at most for a time, and says of
// every node that may be accepting keys whether it is: no request that starts on one that has applied it sees the state
// before. A node that was silent for longer than its max_staleness has stopped by itself, and is not in the answer.
func (s *Store) WaitApplied(ctx context.Context, revision uint64, most time.Duration) []Applied {
	if s.node == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var rows []NodeRow
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if now, err := s.shared.Nodes(ctx); err == nil {
			rows = now
		}
		if rows != nil && !s.waitsFor(rows, revision) {
			break
		}
		select {
		case <-ctx.Done():
			if rows == nil { // the backend was away all the time: what was known before
				if known := s.node.known.Load(); known != nil {
					rows = known.rows
				}
			}
			return s.appliedBy(rows, revision)
		case <-time.After(pause):
		}
	}
	return s.appliedBy(rows, revision)
}

// waitsFor says whether a node that lives, this one included, has not applied a revision.
func (s *Store) waitsFor(rows []NodeRow, revision uint64) bool {
	if s.snap.Load().Revision() < revision {
		return true
	}
	return slices.ContainsFunc(rows, func(r NodeRow) bool {
		return r.ID != s.node.id && r.Revision < revision && r.Unseen <= liveTime
	})
}

func (s *Store) appliedBy(rows []NodeRow, revision uint64) []Applied {
	out := []Applied{{Node: s.node.id, Applied: s.snap.Load().Revision() >= revision}}
	for _, r := range rows {
		if r.ID != s.node.id && r.Unseen <= r.MaxStaleness+listedMargin {
			out = append(out, Applied{Node: r.ID, Applied: r.Revision >= revision})
		}
	}
	slices.SortFunc(out, func(a, b Applied) int { return cmp.Compare(a.Node, b.Node) })
	return out
}
