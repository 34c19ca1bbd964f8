package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/auth"
)

// TestStrangersLargeBodies: no more than so many large bodies of strangers are held at a time, and a small one, as every sign-in
// is, always comes in.
func TestStrangersLargeBodies(t *testing.T) {
	t.Parallel()
	read := func(size int) error {
		r := httptest.NewRequest("POST", "/v1/session", strings.NewReader(strings.Repeat("x", size)))
		a := Receive(httptest.NewRecorder(), r)
		defer a.Leave()
		_, err := io.ReadAll(r.Body)
		return err
	}
	if err := read(MaxStrangersBody); err != nil || len(strangers) != 0 {
		t.Fatalf("a large body alone: %v, and %d places are taken afterwards", err, len(strangers))
	}
	for range strangersLarge {
		strangers <- struct{}{}
	}
	defer func() {
		for range strangersLarge {
			<-strangers
		}
	}()
	var refusal *auth.Refusal
	if err := read(MaxStrangersBody); !errors.As(err, &refusal) || refusal.Status != http.StatusTooManyRequests || refusal.RetryAfter == 0 {
		t.Errorf("one more than there is room for: %v", err)
	}
	if err := read(strangersUnasked); err != nil {
		t.Errorf("a small body beside them: %v", err)
	}
}

// TestBodiesKeepAPace: what a known caller sends is waited for as long as it comes, and no longer.
func TestBodiesKeepAPace(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := Receive(w, r)
		a.Known()
		a.left = 200 * time.Millisecond // what comes adds seconds to it
		_, err := io.CopyN(io.Discard, a, 2*knownPace)
		if err == nil {
			if a.left < time.Second {
				err = fmt.Errorf("%v are left after %d bytes", a.left, a.read)
			}
			a.left = 200 * time.Millisecond
		}
		if err == nil {
			_, err = io.ReadAll(a)
		}
		ended <- err
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 3*knownPace, strings.Repeat("x", 2*knownPace))
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a body that stops coming ended with %v", err)
	}
}

// TestBodyWithoutDeadlines: behind a writer that knows no deadlines a stranger's body is not waited for, a known caller's is.
func TestBodyWithoutDeadlines(t *testing.T) {
	t.Parallel()
	read := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := Receive(struct{ http.ResponseWriter }{w}, r)
		if r.URL.Path == "/known" {
			a.Known()
		}
		_, err := io.ReadAll(a)
		read <- err
	}))
	defer server.Close()
	for path, known := range map[string]bool{"/known": true, "/stranger": false} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		var refusal *auth.Refusal
		if err := <-read; known != (err == nil) || !known && (!errors.As(err, &refusal) || refusal.Status != http.StatusServiceUnavailable) {
			t.Errorf("%s: %v", path, err)
		}
	}
	ctx := context.WithValue(t.Context(), http.ServerContextKey, server.Config)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/v1/session", strings.NewReader(`{}`)) // as the dashboard makes it
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(Receive(httptest.NewRecorder(), r)); err != nil {
		t.Errorf("a call within this process: %v", err)
	}
}

// TestStrangersSlowBodyOverHTTP2: a stream has the same end as a connection.
func TestStrangersSlowBodyOverHTTP2(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := Receive(w, r)
		a.left = 200 * time.Millisecond
		_, err := io.ReadAll(a)
		if r.ProtoMajor != 2 {
			err = errors.New("this is " + r.Proto)
		}
		ended <- err
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	body, send := io.Pipe()
	defer send.Close()
	go func() { _, _ = send.Write([]byte(`{"email"`)) }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := server.Client().Do(r)
	if err == nil {
		defer answer.Body.Close()
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a body that stops coming ended with %v", err)
	}
}

// TestBodyOfManyValues: a body of very many values is refused by their number. Half a million paths were made for the zeros in a
// list, before anybody had signed in; now an error's path is made when there is an error, and is the same.
func TestBodyOfManyValues(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct{ body, param, message string }{
		"zeros":        {`{"a":[` + strings.Repeat("0,", 500_000) + `0]}`, fmt.Sprintf("a[%d]", maxValues-2), "more than 100000 values"},
		"names":        {`{"a":{` + distinctNames(maxValues) + `}}`, fmt.Sprintf("a.n%d", maxValues-2), "more than 100000 values"},
		"lists":        {strings.Repeat(`{"a":[[`, 9), "a[0][0].a[0][0].a[0][0].a[0][0].a[0][0].a[0]", "deeper than 16 levels"},
		"twice, below": {`{"keys":[{},{"a":[0,{"b":1,"b":2}]}]}`, "keys[1].a[1].b", "stands twice"},
		"twice":        {`{"b":1,"b":2}`, "b", "stands twice"},
	} {
		_, err := parseJSON([]byte(test.body))
		var own *Error
		if !errors.As(err, &own) || own.Param != test.param || !strings.Contains(own.Message, test.message) || own.Status != http.StatusBadRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
	full := []byte(`{"a":[` + strings.Repeat("0,", maxValues-3) + `0]}`)
	if _, err := parseJSON(full); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
}

func distinctNames(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"n%d":0`, i)
	}
	return b.String()
}

// BenchmarkBodyOfZeros is what a stranger's largest body costs to read, and a known caller's.
func BenchmarkBodyOfZeros(b *testing.B) {
	for _, size := range []int{MaxStrangersBody, maxBody} {
		body := []byte(`{"a":[` + strings.Repeat("0,", size/2-5) + `0]}`)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = parseJSON(body)
			}
		})
	}
}
