package keystoretest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
)

// sharedLimit is how long a test waits for what must happen.
const sharedLimit = time.Minute

// RunShared is the suite that every backend passes that several processes write to, beside RunBackend. place makes one
// empty place, and gives a function that opens one more backend there.
func RunShared(t *testing.T, place func(t *testing.T) (open func() (keystore.Shared, error))) {
	cases := []struct {
		name string
		run  func(t *testing.T, open func() keystore.Shared)
	}{
		{"Changes", testChanges},
		{"NoGapUnderWriters", testNoGap},
		{"WatchSeesEveryHead", testWatch},
		{"StagesOfOthersStay", testOthersStages},
		{"ClaimsGoToOne", testClaims},
		{"Nodes", testNodes},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			open := place(t)
			tc.run(t, func() keystore.Shared {
				b, err := open()
				if err != nil {
					t.Fatalf("opening the backend: %v", err)
				}
				t.Cleanup(func() {
					if err := b.Close(); err != nil {
						t.Errorf("closing the backend: %v", err)
					}
				})
				return b
			})
		})
	}
}

// follower holds what a node would hold that applies the changes.
type follower struct {
	head keystore.Head
	rows map[string]string
}

func (f *follower) catchUp(ctx context.Context, b keystore.Shared) error {
	head, err := b.Changes(ctx, f.head.Revision, func(rows []keystore.Row) error {
		for _, r := range rows {
			id := fmt.Sprint(r.Table, " ", r.ID)
			if delete(f.rows, id); r.Data != nil {
				f.rows[id] = string(r.Data)
			}
		}
		return nil
	})
	if err == nil {
		f.head = head
	}
	return err
}

// check compares with what a node would load that starts now. Nobody may be writing.
func (f *follower) check(t *testing.T, b keystore.Shared) {
	t.Helper()
	loaded := map[string]string{}
	head, err := b.Load(t.Context(), func(r keystore.Row) error {
		loaded[fmt.Sprint(r.Table, " ", r.ID)] = string(r.Data)
		return nil
	})
	if err != nil || head != f.head {
		t.Errorf("loading gives head %+v, %v; following %+v", head, err, f.head)
	}
	if len(loaded) != len(f.rows) {
		t.Errorf("loading gives %d rows, following %d", len(loaded), len(f.rows))
	}
	for id, data := range loaded {
		if f.rows[id] != data {
			t.Errorf("row %s: loading gives %q, following %q", id, data, f.rows[id])
		}
	}
}

func testChanges(t *testing.T, open func() keystore.Shared) {
	ctx := t.Context()
	a, b := open(), open()
	f := &follower{rows: map[string]string{}}
	key := func(id, data string) keystore.Row {
		return keystore.Row{Table: keystore.TableKey, ID: id, Data: []byte(data)}
	}
	head := keystore.Head{}
	commit := func(b keystore.Shared, stage string, rows ...keystore.Row) {
		t.Helper()
		c := commitAfter(head, 1, rows...)
		c.Stage = stage
		if err := b.Commit(ctx, c); err != nil {
			t.Fatalf("committing: %v", err)
		}
		head = c.Next
	}
	follow := func() {
		t.Helper()
		if err := f.catchUp(ctx, a); err != nil {
			t.Fatal(err)
		}
		f.check(t, b)
	}
	follow()
	commit(a, "", key("key_1", "one"), keystore.Row{Table: keystore.TableSandbox, ID: "sbx_1", Data: []byte("s")})
	follow()
	commit(b, "", key("key_1", "two"))
	commit(a, "", key("key_1", "three"), key("key_2", "x"), keystore.Row{Table: keystore.TableSandbox, ID: "sbx_1"})
	follow()
	if err := a.Commit(ctx, commitAfter(keystore.Head{}, 1)); !errors.Is(err, keystore.ErrStale) {
		t.Errorf("a commit on an old head: %v, want ErrStale", err)
	}
	stage := keystore.Stage{ID: "imp_1", Table: keystore.TableKey, First: "key_3", Last: "key_9"}
	if err := a.Stage(ctx, stage, []keystore.Row{key("key_3", "staged"), key("key_4", "staged")}); err != nil {
		t.Fatal(err)
	}
	follow()
	commit(b, "", key("key_5", "between"))
	follow()
	commit(a, stage.ID)
	commit(b, "", key("key_3", "changed"))
	follow()
	if f.rows["key key_3"] != "changed" || f.rows["key key_4"] != "staged" {
		t.Errorf("after a stage the rows are %v", f.rows)
	}
	// who starts from nothing sees all of it, in as many calls as it takes
	late := &follower{rows: map[string]string{}}
	if err := late.catchUp(ctx, b); err != nil {
		t.Fatal(err)
	}
	late.check(t, a)
}

// testNoGap writes from several places at once while others follow. Every commit adds one row, so that a follower at
// revision n that does not hold n rows has missed one: as happens where numbers are given out before it is known in which
// order the commits come.
func testNoGap(t *testing.T, open func() keystore.Shared) {
	const writers, each = 4, 40
	ctx, cancel := context.WithTimeout(t.Context(), sharedLimit)
	defer cancel()
	var writing, following sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		b := open()
		writing.Go(func() {
			for n := 0; n < each && ctx.Err() == nil; {
				head, err := b.Head(ctx)
				if err != nil {
					t.Errorf("Head: %v", err)
					return
				}
				err = b.Commit(ctx, commitAfter(head, 1, keystore.Row{Table: keystore.TableKey, ID: fmt.Sprintf("key_%d_%d", w, n), Data: []byte("x")}))
				switch {
				case err == nil:
					n++
				case !errors.Is(err, keystore.ErrStale):
					t.Errorf("Commit: %v", err)
					return
				}
			}
		})
	}
	for range 3 {
		b, f := open(), &follower{rows: map[string]string{}}
		following.Go(func() {
			steps := 0
			for over := false; !over || f.head.Revision < writers*each; {
				select {
				case <-done:
					over = true
				default:
				}
				before := f.head.Revision
				if err := f.catchUp(ctx, b); err != nil {
					t.Errorf("Changes: %v", err)
					return
				}
				if f.head.Revision != before {
					steps++
				}
				if uint64(len(f.rows)) != f.head.Revision || f.head.Events != f.head.Revision {
					t.Errorf("a follower at %+v holds %d rows: it has missed some", f.head, len(f.rows))
					return
				}
			}
			if steps < 2 {
				t.Errorf("a follower saw all of it in %d steps: this test shows nothing", steps)
			}
		})
	}
	writing.Wait()
	close(done)
	following.Wait()
	b := open()
	if head, err := b.Head(ctx); err != nil || head.Revision != writers*each {
		t.Errorf("the head is %+v, %v after %d commits", head, err, writers*each)
	}
}

func testWatch(t *testing.T, open func() keystore.Shared) {
	ctx, cancel := context.WithTimeout(t.Context(), sharedLimit)
	defer cancel()
	a, b := open(), open()
	seen := make(chan keystore.Sighting, 1000)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Watch(ctx, func(at keystore.Sighting, err error) {
			if err == nil {
				seen <- at
			}
		})
	}()
	head := keystore.Head{}
	for range 5 {
		c := commitAfter(head, 1)
		began := time.Now()
		if err := a.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
		head = c.Next
		for got := false; !got; {
			select {
			case at := <-seen:
				got = at.Head == head
				if got && at.At.Before(began.Add(-sharedLimit)) {
					t.Errorf("a head was seen at %v, and is of %v", at.At, began)
				}
			case <-ctx.Done():
				t.Fatal("a commit was never seen")
			}
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch = %v, want canceled", err)
	}
}

func testOthersStages(t *testing.T, open func() keystore.Shared) {
	ctx := t.Context()
	a := open()
	stage := keystore.Stage{ID: "imp_1", Table: keystore.TableKey, First: "key_1", Last: "key_9"}
	if err := a.Stage(ctx, stage, []keystore.Row{{Table: keystore.TableKey, ID: "key_1", Data: []byte("staged")}}); err != nil {
		t.Fatal(err)
	}
	if err := open().Unstage(ctx, ""); err != nil { // as another node does at its start
		t.Fatal(err)
	}
	c := commitAfter(keystore.Head{}, 1)
	c.Stage = stage.ID
	if err := a.Commit(ctx, c); err != nil {
		t.Fatalf("committing a stage that another node's start must not have touched: %v", err)
	}
	f := &follower{rows: map[string]string{}}
	if err := f.catchUp(ctx, a); err != nil || f.rows["key key_1"] != "staged" {
		t.Errorf("the rows are %v, %v", f.rows, err)
	}
	f.check(t, a)
	// a stage that is part of the store is not removed by its name either
	if err := a.Unstage(ctx, stage.ID); err != nil {
		t.Fatal(err)
	}
	f.check(t, a)
}

func testClaims(t *testing.T, open func() keystore.Shared) {
	ctx := t.Context()
	var wins sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		b := open()
		wg.Go(func() {
			if won, err := b.Claim(ctx, "claim", []byte("node"), time.Hour); err != nil {
				t.Errorf("Claim: %v", err)
			} else if won {
				wins.Store(i, true)
			}
		})
	}
	wg.Wait()
	count := 0
	wins.Range(func(any, any) bool { count++; return true })
	if count != 1 {
		t.Errorf("%d of 8 got the claim, want 1", count)
	}
	b := open()
	if won, err := b.Claim(ctx, "claim", []byte("other"), time.Hour); won || err != nil {
		t.Errorf("a claim that holds was taken: %v, %v", won, err)
	}
	if won, err := b.Claim(ctx, "short", nil, time.Millisecond); !won || err != nil {
		t.Errorf("Claim: %v, %v", won, err)
	}
	for deadline := time.Now().Add(sharedLimit); ; {
		won, err := b.Claim(ctx, "short", []byte("other"), time.Hour)
		if err != nil || !won && time.Now().After(deadline) {
			t.Fatalf("a claim that has ended was not given: %v, %v", won, err)
		}
		if won {
			break
		}
	}
	row := func(id string) *keystore.KeptRow {
		t.Helper()
		r, err := b.Kept(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	// What is over is over by the caller's clock and by the backend's: one that is ahead destroys nothing of the others, and one that is
	// behind nothing that it may still ask for.
	ended := keystore.KeptRow{ID: "ended", Expires: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Data: []byte("x")}
	if err := b.Keep(ctx, []keystore.KeptRow{ended}, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.DropKept(ctx, ended.Expires.Add(-time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if row("ended") == nil {
		t.Error("a value whose time is not over for the caller was dropped")
	}
	if err := b.DropKept(ctx, time.Now().Add(100*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if row("ended") != nil {
		t.Error("a value whose time is over is still there")
	}
	for id, data := range map[string]string{"claim": "node", "short": "other"} {
		if r := row(id); r == nil || string(r.Data) != data {
			t.Errorf("a clock that is ahead has dropped %s, or it is another: %+v", id, r)
		}
	}
}

func testNodes(t *testing.T, open func() keystore.Shared) {
	ctx := t.Context()
	a, b := open(), open()
	row := keystore.NodeRow{ID: "a", Version: "v1", Started: time.UnixMilli(1_700_000_000_123).UTC(), Revision: 7, MaxStaleness: time.Minute}
	if rows, err := a.Beat(ctx, &row); err != nil || len(rows) != 1 {
		t.Fatalf("Beat = %+v, %v; want the node itself", rows, err)
	}
	row.Revision = 8
	if _, err := a.Beat(ctx, &row); err != nil {
		t.Fatal(err)
	}
	rows, err := b.Beat(ctx, &keystore.NodeRow{ID: "b", MaxStaleness: time.Second})
	if err != nil || len(rows) != 2 {
		t.Fatalf("Beat = %+v, %v; want two nodes", rows, err)
	}
	for _, r := range rows {
		if r.Unseen < 0 || r.Unseen > sharedLimit {
			t.Errorf("node %s was not heard of for %v", r.ID, r.Unseen)
		}
		r.Unseen = 0
		if r.ID == "a" && r != row {
			t.Errorf("the node says %+v, want %+v", r, row)
		}
	}
	if err := a.Leave(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if rows, err := b.Nodes(ctx); err != nil || len(rows) != 1 || rows[0].ID != "b" {
		t.Errorf("after one has left: %+v, %v", rows, err)
	}
}
