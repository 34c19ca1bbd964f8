package archive

import (
	"slices"
	"strings"
	"sync"
)

// view is what a query sees: the archived files, and which files of the journal they were made of. A view never changes; the
// housekeeper publishes a new one. It waits for the readers of the old one before it deletes what only that one shows: no
// query meets the moment between two forms of the same records.
type view struct {
	files   []*file
	sources map[string]bool // paths of the journal's files whose records are in files
	readers sync.WaitGroup
}

// pin answers the view of this moment. The caller says readers.Done when it has read.
func (a *Archive) pin() *view {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.view.readers.Add(1)
	return a.view
}

// publish makes a new view of the present one, together with a change of the usage, and waits until nobody reads the old one.
// The caller holds house.
func (a *Archive) publish(change func(*view), used func(*usage)) {
	next := &view{files: slices.Clone(a.view.files), sources: make(map[string]bool)}
	for _, s := range a.journal.Sealed() {
		if a.view.sources[s.Path] {
			next.sources[s.Path] = true
		}
	}
	change(next)
	slices.SortFunc(next.files, func(a, b *file) int { return strings.Compare(a.path, b.path) })
	a.mu.Lock()
	old := a.view
	a.view = next
	if used != nil {
		used(a.usage)
	}
	a.mu.Unlock()
	old.readers.Wait()
}
