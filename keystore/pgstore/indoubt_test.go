package pgstore_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/pgstore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// firstCommit is a commit on an empty store.
func firstCommit() *keystore.Commit {
	body := []byte("an event")
	return &keystore.Commit{
		Next:   keystore.Head{Revision: 1, Events: 1, Hash: sha256.Sum256(body)},
		Rows:   []keystore.Row{{Table: 1, ID: "id", Data: []byte("row")}},
		Events: []keystore.EventRow{{Seq: 1, Body: body}},
	}
}

// TestDoubtAtAStandby: the answer to a commit is lost, and who answers next is a standby that is behind. It is not believed that
// nothing was changed; the primary is, when it is there again.
func TestDoubtAtAStandby(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	primary, replica := withReplica(t)
	dsn := primary.Database(t)
	way := newUnreliable(t, dsn)
	s, err := pgstore.Open(ctx, way.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	until(t, "the replica had the tables", func() bool {
		_, err := pgtest.Text(replica.DSN("test1"), `SELECT revision::text FROM keystile_head`)
		return err == nil
	})
	if _, err := pgtest.Text(replica.DSN("test1"), `SELECT pg_wal_replay_pause()::text`); err != nil {
		t.Fatal(err)
	}
	c := firstCommit()
	way.loseAnswer.Store(true)
	if err := s.Commit(ctx, c); err == nil || errors.Is(err, keystore.ErrUnchanged) || errors.Is(err, keystore.ErrStale) {
		t.Fatalf("a commit without an answer: %v, want one in doubt", err)
	}
	way.lead(t, replica.DSN("test1"))
	for range 3 { // connections that were cut off are found out one by one
		if head, err := s.Head(ctx); !errors.Is(err, keystore.ErrAway) {
			t.Errorf("the standby is believed: %+v, %v", head, err)
		}
	}
	way.lead(t, dsn)
	until(t, "the primary has answered", func() bool {
		head, err := s.Head(ctx)
		if err == nil && head != c.Next {
			t.Errorf("the head is %+v, want that of the commit", head)
		}
		return err == nil
	})
	// Nothing is in doubt any more: what a standby knows is an answer.
	way.lead(t, replica.DSN("test1"))
	until(t, "the standby has answered", func() bool { _, err := s.Head(ctx); return err == nil })
}

// TestDoubtWhereNobodyAsksToWrite: a primary whose sessions read by default can say what became of a commit.
func TestDoubtWhereNobodyAsksToWrite(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	writer, err := pgstore.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	c := firstCommit()
	if err := writer.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	reader, err := pgstore.Open(ctx, dsn+"&options=-c%20default_transaction_read_only%3Don")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if head, err := reader.Head(ctx); err != nil || head != c.Next {
		t.Errorf("the head is %+v, %v", head, err)
	}
}

// TestSilentDatabase: a database that refuses nobody and answers nobody keeps the first change waiting for as long as one look at it,
// and not for as long as a commit may take; what is said is that nothing was changed.
func TestSilentDatabase(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	s := joinFleet(t, server.Database(t), "a", nil)
	ctx := t.Context()
	if _, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "O"}); err != nil {
		t.Fatal(err)
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "P"})
	t.Logf("the first change is refused after %v", time.Since(began))
	if keystore.CodeOf(err) != keystore.CodeUnavailable || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("a change without an answer: %v, want unavailable, nothing was changed", err)
	}
	if err := server.Continue(); err != nil {
		t.Fatal(err)
	}
	until(t, "the node could claim again", func() bool { ok, err := s.ClaimAnswer(ctx, "caller", "before"); return ok && err == nil })
	// Who comes with an Idempotency-Key claims it first, with all the time of their request; nothing stays claimed by it.
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	if claimed, err := s.ClaimAnswer(ctx, "caller", "key"); claimed || err == nil {
		t.Errorf("a claim without an answer: %v, %v", claimed, err)
	}
	if err := server.Continue(); err != nil {
		t.Fatal(err)
	}
	until(t, "what was given up could be claimed", func() bool { ok, err := s.ClaimAnswer(ctx, "caller", "key"); return ok && err == nil })
	until(t, "the node could write again", func() bool {
		_, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "Q"})
		return err == nil
	})
}

// TestSilentDatabaseKept: who destroys what is over, or changes what is kept, waits no longer for a database that says nothing than until a
// look finds that out. Others wait for them.
func TestSilentDatabaseKept(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := ownServer(t)
	s, err := pgstore.Open(ctx, server.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 3)
	go func() { ended <- s.DropKept(ctx, time.Now()) }()
	go func() {
		_, err := s.SwapKept(ctx, []keystore.KeptSwap{{ID: "id", Data: []byte("x")}})
		ended <- err
	}()
	go func() {
		_, err := s.Claim(ctx, "id", nil, time.Hour)
		ended <- err
	}()
	if _, err := s.Look(ctx); !errors.Is(err, keystore.ErrAway) {
		t.Errorf("a look: %v", err)
	}
	for range cap(ended) {
		select {
		case err := <-ended:
			if !errors.Is(err, keystore.ErrAway) {
				t.Errorf("got %v, want an error that says that the database is away", err)
			}
		case <-time.After(waitLimit):
			t.Error("somebody waits for a database that is known to be silent")
		}
	}
	if err := server.Continue(); err != nil {
		t.Fatal(err)
	}
}

// TestSlowSetUp: a server that answers has more time for its tables than for a look: other nodes may be making them.
func TestSlowSetUp(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	first, err := pgstore.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	way := newUnreliable(t, dsn)
	way.lead(t, "postgres://127.0.0.1:1/")
	s, err := pgstore.Open(ctx, way.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	way.lead(t, dsn)
	holder := connect(t, dsn)
	if _, err := holder.Exec(ctx, `BEGIN; LOCK TABLE keystile_nodes`); err != nil {
		t.Fatal(err)
	}
	looked := make(chan error, 1)
	go func() { _, err := s.Look(ctx); looked <- err }()
	watcher := connect(t, dsn)
	until(t, "the tables were waited for longer than a look may take", func() bool {
		select {
		case err := <-looked:
			t.Fatalf("the look has given up: %v", err)
		default:
		}
		var waits bool
		err := watcher.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
			AND query_start < clock_timestamp() - interval '4 seconds')`).Scan(&waits)
		return err == nil && waits
	})
	if _, err := holder.Exec(ctx, `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := <-looked; err != nil {
		t.Errorf("the look: %v", err)
	}
}

// behind is a store whose answer to a commit is lost, and which somebody else changes meanwhile; what it then reads of the events comes
// from a server that has not heard of them yet.
type behind struct {
	keystore.Shared
	meanwhile func() // nil: all is well
	blind     atomic.Bool
}

func (b *behind) Commit(ctx context.Context, c *keystore.Commit) error {
	err := b.Shared.Commit(ctx, c)
	if meanwhile := b.meanwhile; meanwhile != nil && err == nil {
		b.meanwhile = nil
		meanwhile()
		b.blind.Store(true)
		return errors.New("the answer is lost")
	}
	return err
}

func (b *behind) Events(ctx context.Context, first, last uint64, backwards bool, event func(keystore.EventRow) error) error {
	if b.blind.Load() {
		return nil
	}
	return b.Shared.Events(ctx, first, last, backwards, event)
}

// TestDoubtBehindOthers: whether a commit in doubt happened is asked of the events, as others have committed on top of it. That its event
// is not there yet is no proof that nothing was changed.
func TestDoubtBehindOthers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	other := joinFleet(t, dsn, "other", nil)
	b := new(behind)
	s := joinFleet(t, dsn, "a", func(o *keystore.Options) {
		b.Shared = o.Backend.(keystore.Shared)
		o.Backend = b
	})
	b.meanwhile = func() {
		if _, err := other.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "theirs"}); err != nil {
			t.Error(err)
		}
	}
	_, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "ours"})
	if keystore.CodeOf(err) != keystore.CodeUnavailable || !strings.Contains(err.Error(), "cannot say whether") {
		t.Errorf("a commit whose event is not found: %v, want one in doubt", err)
	}
	b.blind.Store(false)
	until(t, "the node could write again", func() bool {
		_, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "after"})
		return err == nil
	})
	list, _, err := s.Snapshot().Organizations(keystore.Page{Limit: 10})
	if err != nil || len(list) != 3 {
		t.Errorf("the organizations are %v, %v; want three", list, err)
	}
}
