package gatetest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
)

// output collects what a process wrote. It is safe for concurrent use.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write keeps p.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String returns everything written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// faults are the words of a process that is broken, whatever it answers.
var faults = []string{
	"WARNING: DATA RACE",
	"panic: ",
	"panic serving",
	"panic: runtime error",
	"fatal error: ",
}

// faultsBesidePanics are those of a process whose handlers panic on purpose.
var faultsBesidePanics = []string{"WARNING: DATA RACE", "fatal error: "}

// fault returns an error if the output holds one of the words, a data race report or a panic, with its surroundings.
func (o *output) fault(words []string) error {
	text := o.String()
	for _, word := range words {
		if at := strings.Index(text, word); at >= 0 {
			return fmt.Errorf("the process reported %q:\n%s", word, text[max(0, at-200):min(len(text), at+6000)])
		}
	}
	return nil
}

// tail returns the last n bytes of the output, for error texts, without what Caddy logs for each admin call.
func (o *output) tail(n int) string {
	var b strings.Builder
	for line := range strings.Lines(o.String()) {
		if !strings.Contains(line, `"msg":"received request"`) {
			b.WriteString(line)
		}
	}
	text := b.String()
	if len(text) > n {
		return "…" + text[len(text)-n:]
	}
	return text
}
