package requestlog

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func TestCountsComeBack(t *testing.T) {
	t.Parallel()
	c := NewCounts()
	for i, minute := range []int{0, 0, 1, 5, 3, 0, 5, 100000} { // some come late
		r := &Record{Time: journalBegin.Add(time.Duration(minute) * time.Minute), Status: 200 + 100*(i%3), Resource: "charges", Decision: "allowed"}
		c.Add(r)
	}
	c.Add(&Record{Time: journalBegin, Lost: 3, Decision: DecisionGap})
	b, err := c.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	got := new(Counts)
	if err := got.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, want %+v", got, c)
	}
	if list := got.by[1]["charges"]; len(list) != 5 || list[0].n != 3 || list[2].minute-list[0].minute != 3 {
		t.Errorf("charges: got %v, want 3 records in the first of 5 minutes, in order", list)
	}
	for i := range b {
		if err := new(Counts).UnmarshalBinary(b[:i]); err == nil {
			t.Errorf("the first %d bytes: got no error", i)
		}
	}
	if err := new(Counts).UnmarshalBinary(append(b, 0)); err == nil {
		t.Error("a byte too many: got no error")
	}
}

func TestCountsGiveUpAGroupingOfTooMany(t *testing.T) {
	t.Parallel()
	c := NewCounts()
	for i := range maxCountGroups + 1 {
		c.Add(&Record{Time: journalBegin, Status: 200, Decision: "allowed", Resource: fmt.Sprint("r", i)})
	}
	for by, want := range map[string]bool{ByStatusClass: true, ByDecision: true, ByResource: false, ByKey: false} {
		if got := c.Knows(by); got != want {
			t.Errorf("Knows(%s): got %v, want %v", by, got, want)
		}
	}
	b, _ := c.MarshalBinary()
	got := new(Counts)
	if err := got.UnmarshalBinary(b); err != nil || got.Knows(ByResource) || !got.Knows(ByStatusClass) {
		t.Errorf("read again: %v, knows resource %v", err, got.Knows(ByResource))
	}
}

func FuzzCounts(f *testing.F) {
	c := NewCounts()
	r := fullRecord()
	r.Lost = 0
	c.Add(r)
	c.Add(&Record{Time: journalBegin, Status: 200})
	b, _ := c.MarshalBinary()
	f.Add(b)
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = new(Counts).UnmarshalBinary(b)
	})
}
