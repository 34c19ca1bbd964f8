package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
)

// What a body takes of this process while it comes, memory and a connection, is taken before anybody has shown who they are:
// a sign-in and a form of the sign-in page are read first and judged afterwards. So a stranger gets little of both.

const (
	// MaxStrangersBody bounds the body of a request by nobody who is known: 16 KiB. A sign-in has a few hundred bytes.
	MaxStrangersBody = 16 << 10

	// strangersTime is how long it is waited for in all.
	strangersTime = 10 * time.Second

	// Larger ones than strangersUnasked are waited for at most strangersLarge at a time, 4 MiB in all. No sign-in is as
	// large, so that nobody who fills these places keeps a member out.
	strangersUnasked = 4 << 10
	strangersLarge   = 256

	// knownTime is how long a piece of the body of a known caller may take to come, and knownPace how many bytes, on the whole,
	// are to come in a second after that. It is a pace that no connection is too slow for, and it ends: a mebibyte in five
	// minutes, a file of a gibibyte in three days.
	knownTime = 30 * time.Second
	knownPace = 4 << 10

	// unreadTime is how long the body is waited for of a request whose answer does not depend on it.
	unreadTime = 200 * time.Millisecond
)

// strangers are the places for large bodies of strangers. They are the process's: a reload has the connections of before.
var strangers = make(chan struct{}, strangersLarge)

// Arrival is the body of a request, and bounds how long it is waited for. It is a stranger's until Known says otherwise. It
// belongs to one goroutine.
type Arrival struct {
	body    io.ReadCloser
	control *http.ResponseController
	left    time.Duration // how long it is still waited for
	known   bool
	sent    bool // somebody sends it, over a connection
	read    int
	large   bool // it has one of the places of strangers
}

// Receive puts bounds on the body of a request; again, it answers the same Arrival. What reads the request's Body then reads
// that. It comes before the first answer: the server reads what is left of a body before it sends one, for as long as its read
// timeout allows, and sites have none.
func Receive(w http.ResponseWriter, r *http.Request) *Arrival {
	if a, ok := r.Body.(*Arrival); ok {
		return a
	}
	a := &Arrival{body: r.Body, control: http.NewResponseController(w), left: strangersTime}
	// A call that the dashboard makes to the API has its body in memory, and such a request can give it again.
	a.sent = r.Context().Value(http.ServerContextKey) != nil && r.GetBody == nil
	if a.body == nil {
		a.body = http.NoBody
	}
	r.Body = a
	switch {
	case a.body == http.NoBody || r.ContentLength == 0:
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		a.skip(w, r)
	default:
		_ = a.wait()
	}
	return a
}

// Known says that the body is of somebody who is known. Then it may be as large as the call takes, and is waited for as long as it
// keeps a pace.
func (a *Arrival) Known() {
	if a.known {
		return
	}
	a.known, a.left = true, knownTime
	a.Leave()
}

// Read hands out what comes. Only the time in which nothing came counts, and not what this machine takes for itself.
func (a *Arrival) Read(p []byte) (int, error) {
	if !a.known && a.read > strangersUnasked && !a.enter() {
		return 0, &auth.Refusal{
			Status: http.StatusTooManyRequests, Code: auth.CodeLocked, RetryAfter: strangersTime,
			Message: fmt.Sprintf("%d bodies of more than %d bytes are on their way by nobody who is known: wait a while, then try again", strangersLarge, strangersUnasked),
		}
	}
	if err := a.wait(); err != nil && a.sent && !a.known {
		// Something before the site has put a writer of its own in place that knows no deadlines.
		return 0, &auth.Refusal{
			Status: http.StatusServiceUnavailable, Code: string(keystore.CodeUnavailable),
			Message: "how long this body may take cannot be bounded here, so it is not read: a handler before this site does not pass deadlines on",
		}
	}
	began := time.Now()
	n, err := a.body.Read(p)
	a.left -= time.Since(began)
	a.read += n
	if a.known {
		a.left += time.Duration(n) * (time.Second / knownPace)
	}
	if errors.Is(err, io.EOF) {
		// From here on the server listens for the end of the connection, which a deadline would look like.
		_ = a.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// wait sets how long the next piece may take, in the place of what the server allows. A writer without deadlines cannot: that of a
// call that the dashboard makes to the API has no body that somebody is sending.
func (a *Arrival) wait() error {
	return a.control.SetReadDeadline(time.Now().Add(min(a.left, knownTime)))
}

// enter takes a place for a large body, if there is one.
func (a *Arrival) enter() bool {
	if a.large {
		return true
	}
	select {
	case strangers <- struct{}{}:
		a.large = true
		return true
	default:
		return false
	}
}

// Leave gives up what the body holds here, once nobody reads it any more.
func (a *Arrival) Leave() {
	if a.large {
		a.large = false
		<-strangers
	}
}

// Close is Leave. The server's own end of it is the server's to close.
func (a *Arrival) Close() error {
	a.Leave()
	return nil
}

// skip reads past a body that nothing will read, if it is there already; else the connection ends with the answer. Only
// HTTP/1 needs it: other protocols have streams of their own.
func (a *Arrival) skip(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 {
		return
	}
	a.left = unreadTime
	defer a.Leave()
	if r.ContentLength <= MaxStrangersBody && r.Header.Get("Expect") == "" {
		if _, err := io.CopyN(io.Discard, a, MaxStrangersBody+1); errors.Is(err, io.EOF) {
			return
		}
	}
	a.left = 0
	_ = a.wait()
	w.Header().Set("Connection", "close")
}
