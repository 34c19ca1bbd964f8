package requestlog

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// MaxCapturedBody is the most that is kept of one body.
const MaxCapturedBody = 64 << 10

const (
	// maxCapturedHeaders bounds the headers of one direction, in bytes.
	maxCapturedHeaders = 16 << 10
	// defaultCaptureBudget is how many captured bytes may be on their way at once, see Options.CaptureBudget.
	defaultCaptureBudget = 32 << 20
	// defaultCaptureBurst is explained at Options.CaptureBurst; captureWindow and captureShare are the times that it speaks of.
	defaultCaptureBurst = 1 << 20
	captureWindow       = 100 * time.Millisecond
	captureShare        = captureWindow / 2
	// firstBuffer is what a body of unknown length takes at first.
	firstBuffer = 1 << 10
	// A presented credential is looked for if it has from minSecret to maxSecret bytes.
	minSecret = 6
	maxSecret = 1 << 10
)

// Capture is what is to be kept of one request's headers and bodies, as it came. It is filled while the request is under
// way, given to the log with its record (Record.Capture), and turned into text there: redacted, off the request path. Nothing
// of it can be printed or marshalled.
//
// What is captured and not yet stored is bounded over all requests, by Options.CaptureBudget. A capture that finds no room is
// given up as a whole and marked as such; its record is not touched.
//
// All methods may be called on nil, and at any time by any goroutine: bodies are read and written by several.
type Capture struct {
	log   *Log
	rules *CaptureRules

	mu       sync.Mutex
	held     int64 // bytes taken from the budget
	gone     bool  // no room
	closed   bool  // no more is taken
	secret   string
	request  capturedMessage
	response capturedMessage
}

// capturedMessage is one direction.
type capturedMessage struct {
	asked   bool // for headers
	headers []capturedHeader
	more    int // headers that found no place
	body    capturedBody
}

type capturedHeader struct{ name, value string }

type capturedBody struct {
	asked  bool
	media  string // Content-Type
	coding string // Content-Encoding
	form   bodyForm
	limit  int
	length int64 // announced, -1 if unknown
	text   []byte
	size   int64 // of all that came
	cut    bool  // it did not come whole, or not whole into text
}

// NewCapture begins the capture of one request.
func (l *Log) NewCapture(rules *CaptureRules) *Capture { return &Capture{log: l, rules: rules} }

// String keeps the content out of whatever is printed.
func (c *Capture) String() string { return "[capture]" }

// GoString is String for %#v.
func (c *Capture) GoString() string { return "[capture]" }

// Presented tells the credential that the request presents: it is masked wherever it stands, also if it has a spelling of
// its own. One that is too long to be a key is not remembered.
func (c *Capture) Presented(token string) {
	if c == nil || len(token) < minSecret || len(token) > maxSecret {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secret = strings.Clone(token) // not the whole header that it is a part of
}

// RequestHeaders takes the headers of the request that are asked for; nil asks for all. Names are in canonical form. Values
// that are never kept are not even taken.
func (c *Capture) RequestHeaders(header map[string][]string, names []string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takeHeaders(&c.request, header, names)
}

// ResponseHeaders is RequestHeaders for the answer.
func (c *Capture) ResponseHeaders(header map[string][]string, names []string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takeHeaders(&c.response, header, names)
}

func (c *Capture) takeHeaders(m *capturedMessage, header map[string][]string, names []string) {
	if c.closed || m.asked {
		return
	}
	m.asked = true
	room := maxCapturedHeaders
	take := func(name string, values []string) {
		if len(values) == 0 {
			return
		}
		value := redactedValue
		if !c.rules.SensitiveHeader(name) {
			value = strings.Join(values, ", ")
		}
		if size := len(name) + len(value); size > room || !c.reserve(int64(size)) {
			m.more++
			return
		}
		room -= len(name) + len(value)
		m.headers = append(m.headers, capturedHeader{strings.Clone(name), strings.Clone(value)})
	}
	if names == nil {
		for name, values := range header {
			take(name, values)
		}
		return
	}
	for _, name := range names {
		take(name, header[name])
	}
}

// RequestBody says what the request's body is, and that at most limit bytes of it are asked for. length is its announced
// length, -1 if none is. The answer says whether a body of this type can be kept.
func (c *Capture) RequestBody(media, coding string, length int64, limit int) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.request.body.begin(media, coding, length, limit)
}

// ResponseBody is RequestBody for the answer.
func (c *Capture) ResponseBody(media, coding string, length int64, limit int) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.response.body.begin(media, coding, length, limit)
}

func (b *capturedBody) begin(media, coding string, length int64, limit int) bool {
	if b.asked {
		return b.form != formOther
	}
	b.asked, b.length, b.limit = true, length, min(limit, MaxCapturedBody)
	b.media, b.coding = strings.Clone(cutText(media, 255)), strings.Clone(cutText(coding, 64))
	b.form = formOf(media)
	return b.form != formOther
}

// ReadRequest takes a piece of the request's body.
func (c *Capture) ReadRequest(p []byte) {
	if c == nil || len(p) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takeBody(&c.request.body, p)
}

// WroteResponse takes a piece of the answer's body.
func (c *Capture) WroteResponse(p []byte) {
	if c == nil || len(p) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takeBody(&c.response.body, p)
}

func (c *Capture) takeBody(b *capturedBody, p []byte) {
	if c.closed || c.gone || !b.asked || b.form == formOther {
		return
	}
	room := b.limit - len(b.text)
	if len(p) > room {
		b.cut = true
		p = p[:room]
	}
	if need := len(b.text) + len(p); need > cap(b.text) {
		size := max(firstBuffer, 2*cap(b.text), need)
		if b.length > 0 {
			size = max(int(min(b.length, int64(b.limit))), need)
		}
		size = min(size, b.limit)
		if !c.reserve(int64(size - cap(b.text))) {
			return
		}
		grown := make([]byte, len(b.text), size)
		copy(grown, b.text)
		b.text = grown
	}
	b.text = append(b.text, p...)
}

// End says that nothing more comes, how many bytes of each body came, and whether that was the whole of it.
func (c *Capture) End(in, out int64, inWhole, outWhole bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.request.body.size, c.response.body.size = in, out
	c.request.body.cut = c.request.body.cut || !inWhole
	c.response.body.cut = c.response.body.cut || !outWhole
}

// Discard gives everything up: the request is not one of those that are asked for.
func (c *Capture) Discard() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.letGo()
}

// reserve takes so many bytes from the budget. If there is no room, the whole capture is given up.
func (c *Capture) reserve(n int64) bool {
	if c.gone {
		return false
	}
	if !c.log.captures.take(n) {
		c.log.captures.dropped.Add(1)
		c.log.captures.droppedBytes.Add(uint64(c.held + n))
		c.letGo()
		c.gone = true
		return false
	}
	c.held += n
	return true
}

// giveUp gives the capture up because redacting it would hold records up.
func (c *Capture) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	c.log.captures.dropped.Add(1)
	c.log.captures.droppedBytes.Add(uint64(c.held))
	c.letGo()
	c.gone = true
}

// size is how much there is to redact.
func (c *Capture) size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// captureLoad is how much of its time the writer spends on captures.
type captureLoad struct {
	since time.Time // when the window began
	bytes int64
	took  time.Duration
}

// admit gives a capture up if the window has had its share. It answers what to call when the capture is redacted.
func (l *captureLoad) admit(c *Capture, burst int64, now func() time.Time) (done func()) {
	began := now()
	if age := began.Sub(l.since); age >= captureWindow || age < 0 {
		*l = captureLoad{since: began}
	}
	if l.bytes >= burst && l.took >= captureShare {
		c.giveUp()
	}
	l.bytes += c.size()
	return func() { l.took += now().Sub(began) }
}

// letGo forgets the content and gives its bytes back.
func (c *Capture) letGo() {
	c.secret = ""
	for _, m := range []*capturedMessage{&c.request, &c.response} {
		m.headers, m.body.text = nil, nil
	}
	c.log.captures.give(c.held)
	c.held = 0
}

// captureBudget bounds what is captured and not yet stored.
type captureBudget struct {
	room         atomic.Int64
	size         int64
	dropped      atomic.Uint64 // captures that found no room
	droppedBytes atomic.Uint64
}

func (b *captureBudget) take(n int64) bool {
	if b.room.Add(-n) >= 0 {
		return true
	}
	b.room.Add(n)
	return false
}

func (b *captureBudget) give(n int64) { b.room.Add(n) }

// used is how many bytes are on their way.
func (b *captureBudget) used() int64 { return min(max(b.size-b.room.Load(), 0), b.size) }

// Notes that stand where something was asked for and is not kept.
const (
	noteNoRoom  = "[not kept: too much was captured at once]"
	notePanic   = "[not kept: it could not be redacted]"
	noteNotRead = "[not kept: the reader is too slow]"
)

func noteSize(size int64, why string) string {
	return "[not kept: " + strconv.FormatInt(size, 10) + " bytes " + why + "]"
}

// capturedTexts are the columns that a capture fills.
func (r *Record) capturedTexts() [4]*string {
	return [4]*string{&r.RequestHeaders, &r.ResponseHeaders, &r.RequestBody, &r.ResponseBody}
}

// CapturedBytes is how much the captured texts take.
func (r *Record) CapturedBytes() (n int) {
	for _, s := range r.capturedTexts() {
		n += len(*s)
	}
	return n
}

// DropCaptured replaces the captured texts by a note, for a reader that cannot keep up with them.
func (r *Record) DropCaptured() {
	for _, s := range r.capturedTexts() {
		if *s != "" {
			*s = noteNotRead
		}
	}
}
