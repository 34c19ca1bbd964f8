package pglog

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// TestFeeds: while several nodes ship, feeds on all of them answer every record once, in one order, and what is remembered at the
// start of a feed is what another one has answered by then.
func TestFeeds(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	records := requestlogtest.Records(6000, 1)
	var stores []*Store
	for range 3 {
		o := options(t, dsn)
		o.ShipInterval = time.Millisecond
		stores = append(stores, open(t, o))
	}
	var wg sync.WaitGroup
	orders := make([][]string, len(stores))
	for i, s := range stores {
		feed, before, err := s.Feed(t.Context(), 100)
		if err != nil || len(before) != 0 {
			t.Fatalf("Feed of nothing: %v, %v", before, err)
		}
		wg.Go(func() {
			for deadline := time.Now().Add(waitLimit); len(orders[i]) < len(records) && time.Now().Before(deadline); {
				part, lost, err := feed.Next(t.Context())
				if err != nil || lost > 0 {
					t.Errorf("Next: %d lost, %v", lost, err)
					return
				}
				for _, r := range part {
					orders[i] = append(orders[i], r.ID)
				}
				if len(part) == 0 {
					time.Sleep(2 * time.Millisecond)
				}
			}
		})
		mine := records[i*2000 : (i+1)*2000]
		wg.Go(func() {
			for batch := range slices.Chunk(mine, 10) {
				write(t, s, batch)
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Wait()
	for i, order := range orders {
		seen := make(map[string]bool)
		for _, id := range order {
			seen[id] = true
		}
		if len(order) != len(records) || len(seen) != len(records) {
			t.Errorf("feed %d has %d records, %d different ones, want %d", i, len(order), len(seen), len(records))
		}
		if !slices.Equal(order, orders[0]) {
			t.Errorf("feeds 0 and %d have another order", i)
		}
	}
	// Each node's own records are in the order in which it wrote them.
	for i := range stores {
		var own []string
		for _, r := range records[i*2000 : (i+1)*2000] {
			own = append(own, r.ID)
		}
		in := make(map[string]bool)
		for _, id := range own {
			in[id] = true
		}
		if got := slices.DeleteFunc(slices.Clone(orders[0]), func(id string) bool { return !in[id] }); !slices.Equal(got, own) {
			t.Errorf("the records of node %d are out of order", i)
		}
	}
	_, last, err := stores[1].Feed(t.Context(), 500)
	if err != nil || !slices.Equal(last, orders[0][len(orders[0])-500:]) {
		t.Errorf("a feed that begins remembers %d records, %v, want the last 500", len(last), err)
	}
}

// TestFeedTooFarBehind: a feed whose next batch is gone says how many records it passes over.
func TestFeedTooFarBehind(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	s := open(t, options(t, dsn))
	feed, _, err := s.Feed(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	records := requestlogtest.Records(300, 1)
	for batch := range slices.Chunk(records, 100) {
		write(t, s, batch)
		until(t, "they arrive", s.empty)
	}
	if _, err := connect(t, dsn).Exec(t.Context(), `DELETE FROM keystile_log_batches WHERE records <= 200`); err != nil {
		t.Fatal(err)
	}
	part, lost, err := feed.Next(t.Context())
	if err != nil || lost != 200 || len(part) != 100 {
		t.Errorf("Next: %d records, %d lost, %v; want 100 and 200", len(part), lost, err)
	}
}

// nodeLog is a log of one node.
func nodeLog(t *testing.T, dsn, node string) (*requestlog.Log, *Store) {
	t.Helper()
	s := open(t, options(t, dsn))
	l, err := requestlog.Open(requestlog.Options{Store: s, Node: node, FlushInterval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, s
}

func request(l *requestlog.Log) string {
	r := l.NewRecord()
	now := time.Now()
	id := requestlog.NewID(now)
	r.ID, r.Time, r.Decision, r.Status = id, now, "allowed", 200
	l.Append(r)
	return id
}

// TestFeedOfAClearedDatabase: a feed goes on where the numbers begin anew.
func TestFeedOfAClearedDatabase(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	s := open(t, options(t, dsn))
	records := requestlogtest.Records(100, 31)
	for batch := range slices.Chunk(records[:90], 10) {
		write(t, s, batch)
		until(t, "records arrive", s.empty)
	}
	f, _, err := s.Feed(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, dsn).Exec(t.Context(), `DROP SCHEMA public CASCADE; CREATE SCHEMA public`); err != nil {
		t.Fatal(err)
	}
	write(t, s, records[90:95])
	until(t, "records arrive again", s.empty)
	if _, _, err := f.Next(t.Context()); err != nil { // notices
		t.Fatal(err)
	}
	write(t, s, records[95:])
	var got []*requestlog.Record
	until(t, "the feed goes on", func() bool {
		more, _, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, more...)
		return len(got) >= 5
	})
	if len(got) != 5 {
		t.Errorf("the feed shows %d records, want 5", len(got))
	}
}

// TestTailOfAFleet: a reader who follows the log goes from node to node, while both take requests, and gets each record once and
// in one order.
func TestTailOfAFleet(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	a, _ := nodeLog(t, dsn, "a")
	b, _ := nodeLog(t, dsn, "b")
	logs := []*requestlog.Log{a, b}
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	whole, err := a.Follow(requestlog.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	const each = 300
	var wg sync.WaitGroup
	for _, l := range logs {
		wg.Go(func() {
			for range each {
				request(l)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	var order []string
	for len(order) < 2*each {
		records, err := whole.Next(ctx)
		if err != nil {
			t.Fatalf("Next behind %d records: %v", len(order), err)
		}
		for _, r := range records {
			order = append(order, r.ID)
		}
	}
	wg.Wait()
	// The same again, by a reader who is on another node each time.
	for range 20 {
		request(a)
		request(b)
	}
	last := order[len(order)-30]
	got := order[:len(order)-29]
	for i := 0; len(got) < 2*each+40; i++ {
		f, missed, known, err := logs[i%2].FollowAfter(requestlog.Filter{}, last)
		if err != nil || !known {
			t.Fatalf("FollowAfter a record of either node: known %v, %v", known, err)
		}
		got = append(got, missed...)
		short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		records, err := f.Next(short)
		stop()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Next: %v", err)
		}
		for _, r := range records {
			got = append(got, r.ID)
		}
		f.Close()
		last = got[len(got)-1]
		if ctx.Err() != nil {
			t.Fatalf("only %d records came", len(got))
		}
	}
	if !slices.Equal(got[:len(order)], order) {
		t.Error("a reader who changes nodes sees another order")
	}
	seen := make(map[string]bool)
	for _, id := range got {
		if seen[id] {
			t.Errorf("%s came twice", id)
		}
		seen[id] = true
	}
}

// TestTailWithoutDatabase: there is none, and the error says why; afterwards there is.
func TestTailWithoutDatabase(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	l, _ := nodeLog(t, server.Database(t), "a")
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Follow(requestlog.Filter{}); !errors.Is(err, requestlog.ErrUnavailable) {
		t.Errorf("Follow without the database: %v", err)
	}
	first := request(l)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the first record arrives", func() bool { _, err := l.Get(t.Context(), first); return err == nil })
	f, err := l.Follow(requestlog.Filter{})
	if err != nil {
		t.Fatalf("Follow: %v", err)
	}
	defer f.Close()
	// A feed goes on over an outage.
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	second := request(l)
	time.Sleep(50 * time.Millisecond)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	records, err := f.Next(ctx)
	if err != nil || records[0].ID != second {
		t.Errorf("Next: %v, %v; want %s", records, err, second)
	}
}
