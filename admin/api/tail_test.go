package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// tailReader is one event stream as a browser reads it: it remembers the id of the last event that had one.
type tailReader struct {
	t     *testing.T
	body  *bufio.Reader
	close func()
	last  string
}

func (f *fixture) tail(server *httptest.Server, query, last string) *tailReader {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/request_logs/tail"+query, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := server.Client().Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	if res.StatusCode != 200 {
		f.t.Fatalf("the tail answered %s", res.Status)
	}
	t := &tailReader{t: f.t, body: bufio.NewReader(res.Body), last: last, close: func() { cancel(); res.Body.Close() }}
	if line, err := t.body.ReadString('\n'); err != nil || line != ": tailing\n" {
		f.t.Fatalf("the tail begins with %q, %v", line, err)
	}
	return t
}

// next reads one record.
func (t *tailReader) next() *requestlog.Record {
	t.t.Helper()
	id := ""
	for {
		line, err := t.body.ReadString('\n')
		if err != nil {
			t.t.Fatalf("reading the tail: %v", err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			id = value
		case "data":
			r := new(requestlog.Record)
			if err := json.Unmarshal([]byte(value), r); err != nil {
				t.t.Fatalf("%q: %v", value, err)
			}
			if r.IsGap() != (id == "") || !r.IsGap() && r.ID != id {
				t.t.Errorf("the event of %s has the id %q", r.ID, id)
			}
			if id != "" {
				t.last = id
			}
			return r
		}
	}
}

// TestTailGoesOnBehindTheLastEvent: what came while the reader was away comes first, in the order in which requests ended,
// also a long one that began before the last event; nothing twice, and only what the filter selects.
func TestTailGoesOnBehindTheLastEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := httptest.NewServer(f.handler)
	defer server.Close()
	long := f.log.NewRecord() // it begins first and ends last
	long.ID, long.Time, long.Key, long.Decision = requestlog.NewID(f.clock()), f.clock(), "key_a", "allowed"
	var want []string
	keyA := func() { want = append(want, f.record(func(r *requestlog.Record) { r.Key = "key_a" })) }
	f.advance(time.Second)
	tail := f.tail(server, "?key=key_a", "")
	keyA()
	if r := tail.next(); r.ID != want[0] {
		t.Fatalf("the first record is %s, want %s", r.ID, want[0])
	}
	tail.close()
	for range 3 {
		keyA()
		f.record(func(r *requestlog.Record) { r.Key = "key_b" })
	}
	want = append(want, long.ID)
	f.log.Append(long)
	if err := f.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tail = f.tail(server, "?key=key_a", tail.last)
	defer tail.close()
	keyA()
	got := []string{want[0]}
	for range len(want) - 1 {
		got = append(got, tail.next().ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	f.do("GET", "/v1/request_logs/tail", nil, "Last-Event-ID", "junk").fails(400, "parameter_invalid", "Last-Event-ID")
}

// TestTailGoesOnInAnotherProcess: the log does not remember the order of what an earlier process stored, and finds what was
// missed by the records themselves. More than it gives are counted.
func TestTailGoesOnInAnotherProcess(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dir := t.TempDir()
	open := func() {
		var err error
		if f.log, err = requestlog.Open(requestlog.Options{Dir: dir, Node: "node-1", Now: f.clock, FlushInterval: time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	reopen := func() *httptest.Server {
		if err := f.log.Close(); err != nil {
			t.Fatal(err)
		}
		open()
		return httptest.NewServer(f.mount(f.log))
	}
	_ = f.log.Close()
	open()
	before := f.record(func(*requestlog.Record) {})
	long := f.log.NewRecord()
	long.ID, long.Time, long.Duration, long.Decision = requestlog.NewID(f.clock()), f.clock(), 5500*time.Millisecond, "allowed"
	f.advance(time.Second)
	seen := f.record(func(*requestlog.Record) {})
	var want []string
	for range 4 {
		f.advance(time.Second)
		want = append(want, f.record(func(*requestlog.Record) {}))
	}
	want = append(want, long.ID)
	f.log.Append(long)

	server := reopen()
	defer server.Close()
	tail := f.tail(server, "", seen)
	defer tail.close()
	f.advance(time.Second)
	want = append(want, f.record(func(*requestlog.Record) {}))
	var got []string
	for range want {
		got = append(got, tail.next().ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v; %s was before", got, want, before)
	}

	// More than are given, and a last event that is not kept any more.
	for range 1200 {
		f.advance(time.Millisecond)
		r := f.log.NewRecord()
		r.ID, r.Time, r.Decision = requestlog.NewID(f.clock()), f.clock(), "allowed"
		f.log.Append(r)
	}
	for _, last := range []string{got[len(got)-1], got[len(got)-1][:len(seen)-4] + "zzzz"} {
		server = reopen()
		tail = f.tail(server, "", last)
		if gap := tail.next(); gap.Lost != 200 || gap.LostFrom.IsZero() || !gap.LostFrom.Before(gap.LostTo) {
			t.Errorf("behind %s: the first event is %+v, want a gap of 200", last, gap)
		}
		for i := range 1000 {
			if r := tail.next(); r.IsGap() {
				t.Fatalf("event %d is a gap, too", i)
			}
		}
		tail.close()
		server.Close()
	}
	_ = f.log.Close()
}

// TestSlowTailReader: a reader that stops reading slows nobody. Once it reads again it is told how many records it lost, and
// what it got and what it lost are all that there were.
func TestSlowTailReader(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := httptest.NewServer(f.handler)
	defer server.Close()
	tail := f.tail(server, "", "")
	defer tail.close()
	const total = 24_000
	fillLog(t, f, total) // fails if the log refuses one record
	if s := f.log.Stats(); s.Dropped != 0 || s.Stored != total {
		t.Fatalf("the reader held the log up: %+v", s)
	}
	var got, lost int64
	for got+lost < total {
		if r := tail.next(); r.IsGap() {
			lost += r.Lost
		} else {
			got++
		}
	}
	if lost == 0 {
		t.Errorf("got all %d records: the reader was never slow, and the test shows nothing", got)
	}
	f.record(func(r *requestlog.Record) { r.Key = "key_last" })
	if r := tail.next(); r.Key != "key_last" {
		t.Errorf("behind the gap comes %s", fmt.Sprint(r.ID))
	}
}
