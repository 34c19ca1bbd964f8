package keystoretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
)

// RunBackend is the suite that every backend passes. place makes one empty place to store things in, and gives a function
// that opens a backend there; it is called again after Close, as after a restart.
func RunBackend(t *testing.T, place func(t *testing.T) (open func() (keystore.Backend, error))) {
	cases := []struct {
		name string
		run  func(t *testing.T, b *opened)
	}{
		{"Empty", testEmpty},
		{"CommitAndLoad", testCommitAndLoad},
		{"StaleCommitChangesNothing", testStaleCommit},
		{"FailedLoadIsReported", testFailedLoad},
		{"EventRanges", testEventRanges},
		{"Usage", testUsage},
		{"Meta", testMeta},
		{"BigCommit", testBigCommit},
		{"EndedContext", testEndedContext},
		{"NobodyKeepsTheCallersBytes", testOwnBytes},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.run(t, openAt(t, place(t)))
		})
	}
	t.Run("Kept", func(t *testing.T) {
		t.Parallel()
		runKept(t, place)
	})
	t.Run("Faults", func(t *testing.T) {
		t.Parallel()
		runFaults(t, place)
	})
}

// opened is a backend that can be restarted.
type opened struct {
	keystore.Backend
	open func() (keystore.Backend, error)
}

func openAt(t *testing.T, open func() (keystore.Backend, error)) *opened {
	t.Helper()
	b := &opened{open: open}
	b.start(t)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the backend: %v", err)
		}
	})
	return b
}

func (b *opened) start(t *testing.T) {
	t.Helper()
	var err error
	if b.Backend, err = b.open(); err != nil {
		t.Fatalf("opening the backend: %v", err)
	}
}

func (b *opened) restart(t *testing.T) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatalf("closing the backend: %v", err)
	}
	b.start(t)
}

// rows reads everything, as "table id data".
func (b *opened) rows(t *testing.T) ([]string, keystore.Head) {
	t.Helper()
	var rows []string
	head, err := b.Load(t.Context(), func(r keystore.Row) error {
		rows = append(rows, fmt.Sprintf("%d %s %s", r.Table, r.ID, r.Data))
		return nil
	})
	if err != nil {
		t.Fatalf("loading: %v", err)
	}
	slices.Sort(rows)
	return rows, head
}

// commitAfter is a commit on a head with rows and as many events.
func commitAfter(head keystore.Head, events int, rows ...keystore.Row) *keystore.Commit {
	c := &keystore.Commit{Previous: head, Next: head, Rows: rows}
	c.Next.Revision++
	for range events {
		c.Next.Events++
		body := fmt.Appendf(nil, "event %d", c.Next.Events)
		c.Events = append(c.Events, keystore.EventRow{Seq: c.Next.Events, Body: body})
		c.Next.Hash = sha256.Sum256(body)
	}
	return c
}

func (b *opened) commit(t *testing.T, c *keystore.Commit) {
	t.Helper()
	if err := b.Commit(t.Context(), c); err != nil {
		t.Fatalf("committing: %v", err)
	}
}

func testEmpty(t *testing.T, b *opened) {
	rows, head := b.rows(t)
	if len(rows) != 0 || head != (keystore.Head{}) {
		t.Errorf("an empty backend has rows %q and head %+v", rows, head)
	}
	if head, err := b.Head(t.Context()); err != nil || head != (keystore.Head{}) {
		t.Errorf("Head = %+v, %v", head, err)
	}
	if err := b.Events(t.Context(), 1, 1<<62, true, func(keystore.EventRow) error { return errors.New("an event") }); err != nil {
		t.Errorf("Events: %v", err)
	}
}

func testCommitAndLoad(t *testing.T, b *opened) {
	first := commitAfter(keystore.Head{}, 1,
		keystore.Row{Table: keystore.TableKey, ID: "key_1", Data: []byte("one")},
		keystore.Row{Table: keystore.TableAccount, ID: "acct_1", Data: []byte("account")},
		keystore.Row{Table: keystore.TableSandbox, ID: "sbx_1", Data: []byte("sandbox")},
		keystore.Row{Table: keystore.TableOrganization, ID: "org_1", Data: []byte("organization")})
	b.commit(t, first)
	second := commitAfter(first.Next, 2,
		keystore.Row{Table: keystore.TableKey, ID: "key_1", Data: []byte("two")},
		keystore.Row{Table: keystore.TableSandbox, ID: "sbx_1"}, // removes it
		keystore.Row{Table: keystore.TableKey, ID: "key_2", Data: []byte{0, 255, 0}})
	b.commit(t, second)

	want := []string{"1 org_1 organization", "2 acct_1 account", "4 key_1 two", "4 key_2 \x00\xff\x00"}
	for _, when := range []string{"at once", "after a restart"} {
		rows, head := b.rows(t)
		if !slices.Equal(rows, want) {
			t.Errorf("%s: rows = %q, want %q", when, rows, want)
		}
		if head != second.Next {
			t.Errorf("%s: head = %+v, want %+v", when, head, second.Next)
		}
		if head, err := b.Head(t.Context()); err != nil || head != second.Next {
			t.Errorf("%s: Head = %+v, %v", when, head, err)
		}
		b.restart(t)
	}
}

func testStaleCommit(t *testing.T, b *opened) {
	first := commitAfter(keystore.Head{}, 1, keystore.Row{Table: keystore.TableKey, ID: "key_1", Data: []byte("one")})
	b.commit(t, first)
	other := first.Next
	other.Hash[0]++ // same numbers, another history
	for name, previous := range map[string]keystore.Head{
		"older":           {},
		"newer":           {Revision: 2, Events: 2},
		"another history": other,
	} {
		late := commitAfter(previous, 1, keystore.Row{Table: keystore.TableKey, ID: "key_1", Data: []byte("late")})
		if err := b.Commit(t.Context(), late); !errors.Is(err, keystore.ErrStale) {
			t.Errorf("%s: Commit = %v, want ErrStale", name, err)
		}
	}
	rows, head := b.rows(t)
	if want := []string{"4 key_1 one"}; !slices.Equal(rows, want) || head != first.Next {
		t.Errorf("rows = %q, head = %+v; want %q, %+v", rows, head, want, first.Next)
	}
	seen := 0
	if err := b.Events(t.Context(), 1, 100, false, func(keystore.EventRow) error { seen++; return nil }); err != nil || seen != 1 {
		t.Errorf("%d events, %v; want 1", seen, err)
	}
}

func testFailedLoad(t *testing.T, b *opened) {
	b.commit(t, commitAfter(keystore.Head{}, 1, keystore.Row{Table: keystore.TableKey, ID: "key_1", Data: []byte("one")}))
	wrong := errors.New("wrong")
	if _, err := b.Load(t.Context(), func(keystore.Row) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("Load = %v, want the row's error", err)
	}
}

func testEventRanges(t *testing.T, b *opened) {
	const all = 1203 // more than any batch that a backend reads at once
	c := commitAfter(keystore.Head{}, all, keystore.Row{Table: keystore.TableKey, ID: "key_1", Data: []byte("x")})
	b.commit(t, c)
	b.restart(t)
	for _, tc := range []struct{ first, last, from, to uint64 }{
		{1, all, 1, all},
		{1, 1, 1, 1},
		{600, 601, 600, 601},
		{0, 3, 1, 3},
		{1200, 1 << 62, 1200, all},
		{5, 4, 1, 0},
		{all + 1, all + 9, 1, 0},
	} {
		for _, backwards := range []bool{false, true} {
			var want, got []uint64
			for seq := tc.from; seq <= tc.to; seq++ {
				want = append(want, seq)
			}
			if backwards {
				slices.Reverse(want)
			}
			err := b.Events(t.Context(), tc.first, tc.last, backwards, func(e keystore.EventRow) error {
				got = append(got, e.Seq)
				if string(e.Body) != fmt.Sprintf("event %d", e.Seq) {
					return fmt.Errorf("event %d is %q", e.Seq, e.Body)
				}
				return nil
			})
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("Events(%d, %d, %v) gave %d events, %v; want %d", tc.first, tc.last, backwards, len(got), err, len(want))
			}
		}
	}
	stop := errors.New("stop")
	if err := b.Events(t.Context(), 1, all, false, func(keystore.EventRow) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Events = %v, want the callback's error", err)
	}
}

func testUsage(t *testing.T, b *opened) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	want := map[string]keystore.Usage{
		"key_1": {At: at, Address: netip.MustParseAddr("203.0.113.5")},
		"key_2": {At: at.Add(time.Second), Address: netip.MustParseAddr("2001:db8::1")},
		"key_3": {At: at},
	}
	head, _ := b.Head(t.Context())
	save := func(id string, u keystore.Usage) {
		t.Helper()
		if err := b.SaveUsage(t.Context(), []keystore.UsageRow{{KeyID: id, Usage: u}}); err != nil {
			t.Fatalf("SaveUsage: %v", err)
		}
	}
	save("key_1", keystore.Usage{At: at.Add(-time.Hour)})
	for id, u := range want {
		save(id, u)
	}
	b.restart(t)
	got := make(map[string]keystore.Usage)
	if err := b.LoadUsage(t.Context(), time.Time{}, func(r keystore.UsageRow) error { got[r.KeyID] = r.Usage; return nil }); err != nil {
		t.Fatalf("LoadUsage: %v", err)
	}
	if len(got) != len(want) {
		t.Errorf("%d uses, want %d", len(got), len(want))
	}
	for id, u := range want {
		if got[id] != u {
			t.Errorf("%s was used %+v, want %+v", id, got[id], u)
		}
	}
	since := 0
	err := b.LoadUsage(t.Context(), at.Add(time.Millisecond), func(keystore.UsageRow) error { since++; return nil })
	if err != nil || since != 1 {
		t.Errorf("%d uses since just after two of three, %v; want 1", since, err)
	}
	if after, _ := b.Head(t.Context()); after != head {
		t.Errorf("saving usage moved the head from %+v to %+v", head, after)
	}
}

func testMeta(t *testing.T, b *opened) {
	ctx := t.Context()
	swap := func(old, value string, want bool) {
		t.Helper()
		var was []byte
		if old != "" {
			was = []byte(old)
		}
		if got, err := b.SwapMeta(ctx, "keyset", was, []byte(value)); err != nil || got != want {
			t.Errorf("SwapMeta(%q, %q) = %v, %v; want %v", old, value, got, err, want)
		}
	}
	if v, err := b.Meta(ctx, "keyset"); err != nil || v != nil {
		t.Errorf("Meta = %q, %v; want nothing", v, err)
	}
	swap("other", "one", false)
	swap("", "one", true)
	swap("", "two", false)
	swap("one", "two", true)
	swap("one", "three", false)
	b.restart(t)
	if v, err := b.Meta(ctx, "keyset"); err != nil || !bytes.Equal(v, []byte("two")) {
		t.Errorf("Meta = %q, %v; want %q", v, err, "two")
	}
	if v, err := b.Meta(ctx, "format"); err != nil || v != nil {
		t.Errorf("a name of the backend's own shows: Meta(format) = %q, %v", v, err)
	}
}

func testBigCommit(t *testing.T, b *opened) {
	var rows []keystore.Row
	for i := range 3000 {
		rows = append(rows, keystore.Row{Table: keystore.TableKey, ID: fmt.Sprintf("key_%06d", i), Data: bytes.Repeat([]byte{byte(i)}, 400)})
	}
	c := commitAfter(keystore.Head{}, len(rows), rows...)
	b.commit(t, c)
	b.restart(t)
	if got, head := b.rows(t); len(got) != len(rows) || head != c.Next {
		t.Errorf("%d rows, head %+v; want %d, %+v", len(got), head, len(rows), c.Next)
	}
}

func testEndedContext(t *testing.T, b *opened) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Commit(ctx, commitAfter(keystore.Head{}, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v, want canceled", err)
	}
	if head, err := b.Head(t.Context()); err != nil || head != (keystore.Head{}) {
		t.Errorf("Head = %+v, %v; want the empty one", head, err)
	}
}

func testOwnBytes(t *testing.T, b *opened) {
	data := []byte("mine")
	c := commitAfter(keystore.Head{}, 1, keystore.Row{Table: keystore.TableKey, ID: "key_1", Data: data})
	b.commit(t, c)
	copy(data, "XXXX")
	copy(c.Events[0].Body, "XXXXX")
	if rows, _ := b.rows(t); !slices.Equal(rows, []string{"4 key_1 mine"}) {
		t.Errorf("rows = %q", rows)
	}
	err := b.Events(t.Context(), 1, 1, false, func(e keystore.EventRow) error {
		if string(e.Body) != "event 1" {
			t.Errorf("event = %q", e.Body)
		}
		return nil
	})
	if err != nil {
		t.Errorf("Events: %v", err)
	}
}
