//go:build !race

package requestlog

import (
	"testing"
	"time"
)

// The request path may cost one allocation (a record, when the pool is empty), the writer none. The race detector allocates
// by itself, so that these are asserted without it.
func TestAllocations(t *testing.T) {
	l := openLog(t, Options{Store: &nullStore{}, QueueSize: 1 << 16})
	defer l.Close()
	now := time.Now()
	id := NewID(now)
	if n := testing.AllocsPerRun(5000, func() {
		r := l.NewRecord()
		typicalRecord(r, now)
		r.ID = id
		l.Append(r)
	}); n > 1 {
		t.Errorf("NewRecord and Append: got %v allocations, want at most 1", n)
	}
	if n := testing.AllocsPerRun(5000, func() {
		r := l.NewRecord()
		typicalRecord(r, now)
		r.ID = id
		l.AppendForAnyone(r)
	}); n > 1 {
		t.Errorf("NewRecord and AppendForAnyone: got %v allocations, want at most 1", n)
	}
	if n := testing.AllocsPerRun(1000, func() { NewID(now) }); n > 1 {
		t.Errorf("NewID: got %v allocations, want at most 1", n)
	}
	var r Record
	typicalRecord(&r, now)
	r.ID = id
	if n := testing.AllocsPerRun(1000, func() { clean(&r, "node", now) }); n > 0 {
		t.Errorf("clean: got %v allocations, want 0", n)
	}
	e := newEncoder()
	if n := testing.AllocsPerRun(1000, func() {
		line, err := e.encode(&r)
		if err != nil {
			t.Fatal(err)
		}
		line.Free()
	}); n > 0 {
		t.Errorf("encode: got %v allocations, want 0", n)
	}
	line, err := r.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() {
		var got Record
		if err := decodeLine(line, &got); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("decodeLine: got %v allocations, want at most 2", n)
	}
}
