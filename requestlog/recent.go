package requestlog

import "sync"

// recentIDs is how many stored records the log remembers by id, in the order of storing: so far back a tail that broke can be
// taken up without a doubt. An id takes 40 bytes.
const recentIDs = 4096

// recent remembers which records were stored last. Lists are in the order in which requests began, tails in the order in which
// they ended: only this order says what a tail has missed.
type recent struct {
	mu  sync.Mutex
	ids []string // a ring once it is full
	n   int      // of all that were added
}

// addLocked notes a record that was stored.
func (m *recent) addLocked(id string) {
	if len(m.ids) < recentIDs {
		m.ids = append(m.ids, id)
	} else {
		m.ids[m.n%recentIDs] = id
	}
	m.n++
}

// afterLocked lists the ids that were stored behind one, in order; false if that is not remembered.
func (m *recent) afterLocked(id string) ([]string, bool) {
	for k := 1; k <= len(m.ids); k++ {
		if m.ids[(m.n-k)%recentIDs] != id {
			continue
		}
		out := make([]string, 0, k-1)
		for i := m.n - k + 1; i < m.n; i++ {
			out = append(out, m.ids[i%recentIDs])
		}
		return out, true
	}
	return nil, false
}

// FollowAfter is Follow for a reader who had read a tail up to the record of this id and was away. missed are the ids of the
// records that were stored behind it and before this tail: each stored record is either among them or comes out of Next, and
// none is both. The filter is not asked of them. known is false if the log does not remember the id: it was stored long ago,
// or by another process.
func (l *Log) FollowAfter(f Filter, id string) (t *Follower, missed []string, known bool, err error) {
	if err := l.prepareTail(); err != nil {
		return nil, nil, false, err
	}
	l.recent.mu.Lock()
	defer l.recent.mu.Unlock()
	if t, err = l.follow(f); err != nil {
		return nil, nil, false, err
	}
	missed, known = l.recent.afterLocked(id)
	return t, missed, known, nil
}

// announce shows a stored record to the tails, and remembers it.
func (l *Log) announce(r *Record) {
	// In one step, so that who begins a tail meanwhile either finds the record remembered or is offered it: see FollowAfter.
	l.recent.mu.Lock()
	l.recent.addLocked(r.ID)
	list := l.tails.Load()
	l.recent.mu.Unlock()
	if list != nil {
		for _, t := range *list {
			t.offer(r)
		}
	}
}
