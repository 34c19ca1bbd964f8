package keystoretest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
)

// runKept checks what a backend promises of values that have an end. place is as for RunBackend.
func runKept(t *testing.T, place func(t *testing.T) (open func() (keystore.Backend, error))) {
	ctx := t.Context()
	b := openAt(t, place(t))
	at := time.Date(2026, 3, 1, 12, 0, 0, int(7*time.Millisecond), time.UTC)
	data := []byte{0, 255, 1}
	put := []keystore.KeptRow{{ID: "one", Expires: at, Data: data}, {ID: "two", Expires: at.Add(time.Hour), Data: []byte("2")}}
	if err := b.Keep(ctx, put, nil); err != nil {
		t.Fatalf("Keep: %v", err)
	}
	data[0] = 9 // the caller's own again
	if err := b.Keep(ctx, []keystore.KeptRow{{ID: "three", Expires: at, Data: []byte("3")}, {ID: "two", Expires: at, Data: []byte("again")}},
		[]string{"nothing", "two"}); err != nil {
		t.Fatalf("Keep: %v", err)
	}
	check := func(when string) {
		t.Helper()
		for id, want := range map[string]string{"one": "\x00\xff\x01", "two": "again", "three": "3"} {
			r, err := b.Kept(ctx, id)
			if err != nil || r == nil || string(r.Data) != want || !r.Expires.Equal(at) || r.ID != id {
				t.Errorf("%s: Kept(%s) = %+v, %v; want %q until %v", when, id, r, err, want, at)
			}
		}
		if r, err := b.Kept(ctx, "nothing"); r != nil || err != nil {
			t.Errorf("%s: a value that is not there: %+v, %v", when, r, err)
		}
		seen := map[string][]byte{}
		err := b.LoadKept(ctx, func(r keystore.KeptRow) error {
			seen[r.ID] = bytes.Clone(r.Data)
			return nil
		})
		if err != nil || len(seen) != 3 || string(seen["two"]) != "again" {
			t.Errorf("%s: LoadKept saw %q, %v", when, seen, err)
		}
	}
	check("at once")
	b.restart(t)
	check("after a restart")
	swapped, err := b.SwapKept(ctx, []keystore.KeptSwap{
		{ID: "one", Old: []byte("no more"), Data: []byte("lost")}, {ID: "nothing", Data: []byte("lost")}, {ID: "two", Old: []byte("again"), Data: []byte("swapped")},
		{ID: "two", Old: []byte("again"), Data: []byte("lost")}, {ID: "three", Data: []byte("lost")},
	})
	if err != nil || !slices.Equal(swapped, []bool{false, false, true, false, false}) {
		t.Errorf("SwapKept: %v, %v; want only the third, whose old value is right", swapped, err)
	}
	if r, err := b.Kept(ctx, "two"); err != nil || r == nil || string(r.Data) != "swapped" || !r.Expires.Equal(at) {
		t.Errorf("a swapped value is %+v, %v; want %q until %v", r, err, "swapped", at)
	}
	b.restart(t)
	if swapped, err = b.SwapKept(ctx, []keystore.KeptSwap{{ID: "two", Old: []byte("swapped"), Data: []byte("again")}}); err != nil || !slices.Equal(swapped, []bool{true}) {
		t.Errorf("SwapKept: %v, %v", swapped, err)
	}
	check("swapped to and fro")
	none := []keystore.KeptRow{{ID: "none", Expires: at}, {ID: "empty", Expires: at, Data: []byte{}}, {ID: "some", Expires: at, Data: []byte("x")}}
	if err := b.Keep(ctx, none, nil); err != nil {
		t.Fatalf("Keep: %v", err)
	}
	swapped, err = b.SwapKept(ctx, []keystore.KeptSwap{ // no data and empty data are the same
		{ID: "none", Old: []byte{}, Data: []byte("1")}, {ID: "empty", Data: []byte("2")}, {ID: "some", Old: []byte("x")}, {ID: "some", Data: []byte{}}, {ID: "nothing"},
	})
	if err != nil || !slices.Equal(swapped, []bool{true, true, true, true, false}) {
		t.Errorf("SwapKept of empty values: %v, %v; want all but the one that is not there", swapped, err)
	}
	for id, want := range map[string]string{"none": "1", "empty": "2", "some": ""} {
		if r, err := b.Kept(ctx, id); err != nil || r == nil || string(r.Data) != want {
			t.Errorf("Kept(%s) = %+v, %v; want %q", id, r, err, want)
		}
	}
	if err := b.Keep(ctx, nil, []string{"none", "empty", "some"}); err != nil {
		t.Fatalf("removing: %v", err)
	}
	if err := b.Keep(ctx, nil, []string{"one", "two", "three"}); err != nil {
		t.Fatalf("removing: %v", err)
	}
	b.restart(t)
	if r, err := b.Kept(ctx, "one"); r != nil || err != nil {
		t.Errorf("a removed value: %+v, %v", r, err)
	}
	if head, err := b.Head(ctx); err != nil || head != (keystore.Head{}) {
		t.Errorf("keeping moved the head: %+v, %v", head, err)
	}
}
