package requestlog

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestDetach: a detached record says what it said, cut as Append cuts it, and holds nothing but that.
func TestDetach(t *testing.T) {
	var r, want Record
	typicalRecord(&r, time.Now())
	typicalRecord(&want, r.Time)
	r.TokenMasked, r.ErrorMessage = "", "not found"
	want.TokenMasked, want.ErrorMessage = "", "not found"
	r.Detach()
	if r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
	if n := testing.AllocsPerRun(100, r.Detach); n > 1 {
		t.Errorf("%v allocations, want one piece", n)
	}
	r.Path, r.UserAgent = strings.Repeat("p", 1<<20), strings.Repeat("u", 1<<20)
	r.Detach()
	boundOutside(&r) // changes nothing
	if len(r.Path) != 2048+boundSlack || len(r.UserAgent) != 512+boundSlack || r.Method != want.Method || r.ErrorMessage != want.ErrorMessage {
		t.Errorf("long texts are %d and %d bytes, and the rest is %+v", len(r.Path), len(r.UserAgent), r)
	}
	var empty Record
	if empty.Detach(); empty != (Record{}) {
		t.Errorf("an empty record became %+v", empty)
	}
}

// TestDetachedRecordsHoldNoRequestLine is what queue, tails and exporters rely on: 200 records whose texts were cut out of
// lines of a megabyte, all waiting, hold their own bytes only.
func TestDetachedRecordsHoldNoRequestLine(t *testing.T) {
	store := &fakeStore{refuse: true}
	l := openLog(t, Options{Store: store})
	defer l.Close()
	tail, err := l.Follow(Filter{})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	before := liveHeap()
	const n = 200
	for i := range n {
		line := fmt.Sprintf("GET /v1/charges/%d?a=%s HTTP/1.1", i, strings.Repeat("a", 1<<20))
		r := l.NewRecord()
		r.Time, r.Client = time.Now(), netip.MustParseAddr("203.0.113.7")
		r.Method, r.Path, r.Protocol = line[:3], line[4:15], line[len(line)-8:]
		r.Detach()
		l.Append(r)
	}
	if got := liveHeap(); got > before+8<<20 {
		t.Errorf("%d records in the queue hold %d bytes", n, got-before)
	}
	store.set(func() { store.refuse = false })
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := liveHeap(); got > before+8<<20 {
		t.Errorf("%d records in a tail that nobody reads hold %d bytes", n, got-before)
	}
	records, err := tail.Next(t.Context())
	if err != nil || len(records) != n || records[0].Method != "GET" || records[0].Path != "/v1/charges" {
		t.Errorf("%d records came out of the tail, %v", len(records), err)
	}
}

func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
