package keystore

import "sync"

// signal wakes everybody who waits. The zero value is ready.
type signal struct {
	mu      sync.Mutex
	waiting chan struct{} // nil: nobody waits
}

// wait is closed by the next send.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = make(chan struct{})
	}
	return s.waiting
}

func (s *signal) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting != nil {
		close(s.waiting)
		s.waiting = nil
	}
}

// Changed is closed when the next change has become visible. Ask for it before looking at the store, or a change in
// between is missed.
func (s *Store) Changed() <-chan struct{} { return s.changed.wait() }
