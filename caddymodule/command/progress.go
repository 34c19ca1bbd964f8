package command

import (
	"fmt"
	"time"
)

// progress is one line on standard error that says how far long work has come. It shows only on a terminal, and only if
// the work takes a while.
type progress struct {
	call  *call
	shown bool
	next  time.Time
}

const (
	progressAfter = 500 * time.Millisecond // quick work shows nothing
	progressEvery = 100 * time.Millisecond
)

func (c *call) progress() *progress {
	return &progress{call: c, next: c.now().Add(progressAfter)}
}

// updatef rewrites the line, at most ten times a second.
func (p *progress) updatef(format string, args ...any) {
	p.update(func() string { return fmt.Sprintf(format, args...) })
}

// update is updatef for a text that is made only if it is shown.
func (p *progress) update(text func() string) {
	if !p.call.note.terminal {
		return
	}
	now := p.call.now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(progressEvery)
	p.shown = true
	fmt.Fprintf(p.call.note.w, "\r\x1b[K%s", clean(text()))
}

// done removes the line.
func (p *progress) done() {
	if p.shown {
		fmt.Fprint(p.call.note.w, "\r\x1b[K")
		p.shown = false
	}
}
