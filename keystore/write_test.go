package keystore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// TestNoLookupSeesOldRights is the promise: after the call that takes a right away has returned, no look-up that starts
// later sees it, however many are under way, and whatever the cache holds.
func TestNoLookupSeesOldRights(t *testing.T) {
	t.Parallel()
	s := keystoretest.NewStore(t, keystore.Options{})
	a, _ := mustAccount(t, s, "A")
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	ways := map[string]struct {
		take func(id string) error
		old  func(p *policy.Principal) bool
	}{
		"delete": {
			func(id string) error { _, err := s.DeleteKey(context.Background(), by, id); return err },
			func(p *policy.Principal) bool { return !p.Ended },
		},
		"rotate": {
			func(id string) error {
				_, _, err := s.RotateKey(context.Background(), by, id, keystore.RotateParams{})
				return err
			},
			func(p *policy.Principal) bool { return !p.Ended },
		},
		"narrow": {
			func(id string) error {
				_, err := s.UpdateKey(context.Background(), by, id, keystore.KeyPatch{Permissions: keystore.To(permissions("charges", policy.AccessRead))})
				return err
			},
			func(p *policy.Principal) bool { return p.Permissions.Get("charges") == policy.AccessWrite },
		},
		"limit": {
			func(id string) error {
				_, err := s.UpdateKey(context.Background(), by, id, keystore.KeyPatch{IPRanges: keystore.To([]string{"203.0.113.0/24"})})
				return err
			},
			func(p *policy.Principal) bool { return p.Networks == nil },
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wrong, reads atomic.Int64
			for range rounds {
				k, token := mustKey(t, s, restricted(a.ID))
				digest := token.Digest()
				var returned atomic.Bool
				var stop atomic.Bool
				var group sync.WaitGroup
				for range 2 {
					group.Go(func() {
						for !stop.Load() {
							after := returned.Load() // read before the look-up starts
							got, _ := s.Lookup(&digest)
							if reads.Add(1); after && way.old(&got.Principal) {
								wrong.Add(1)
							}
						}
					})
				}
				if err := way.take(k.ID); err != nil {
					t.Error(err)
				}
				returned.Store(true)
				for range 20 {
					if got, _ := s.Lookup(&digest); way.old(&got.Principal) {
						wrong.Add(1)
					}
				}
				stop.Store(true)
				group.Wait()
			}
			if wrong.Load() != 0 {
				t.Errorf("%d of %d look-ups saw the old rights", wrong.Load(), reads.Load())
			}
		})
	}
}

// TestTrail checks every change's event: the chain, the actor, and that what stands in it says what happened.
func TestTrail(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, keys := mustAccount(t, s, "A")
	k, _ := mustKey(t, s, restricted(a.ID))
	if _, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{
		Permissions: keystore.To(permissions("charges", policy.AccessRead)), IPRanges: keystore.To([]string{"10.0.0.1"}),
	}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.RevealKey(t.Context(), by, keys[2].ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.RotateKey(t.Context(), by, k.ID, keystore.RotateParams{}); err != nil {
		t.Fatal(err)
	}
	previous := strings.Repeat("0", 64)
	var seq uint64
	head, err := backend.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = backend.Events(t.Context(), 1, 1<<62, false, func(row keystore.EventRow) error {
		e, err := keystore.DecodeEvent(row.Body)
		if err != nil {
			return err
		}
		seq++
		if e.Seq != seq || row.Seq != seq || e.Previous != previous || !e.Time.Equal(c.at) || !strings.HasPrefix(e.ID, "evt_") ||
			e.Actor != keystore.EventActor(by) || e.Object == "" {
			t.Errorf("event %d is %+v, previous should be %s", seq, e, previous)
		}
		sum := sha256.Sum256(row.Body)
		previous = hex.EncodeToString(sum[:])
		again, err := json.Marshal(e)
		if err != nil || !bytes.Equal(again, row.Body) {
			t.Errorf("event %d is not in its canonical form:\n%s\n%s", seq, row.Body, again)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(head.Hash[:]) != previous || head.Events != seq {
		t.Error("the head does not name the newest event")
	}
	for _, e := range events(t, backend) {
		switch e.Type {
		case keystore.EventKeyUpdated:
			got := fmt.Sprint(e.Before, e.After)
			want := "map[ip_ranges:<nil> permissions:map[charges:write]] map[ip_ranges:[10.0.0.1] permissions:map[charges:read]]"
			if got != want {
				t.Errorf("update says %s, want %s", got, want)
			}
		case keystore.EventKeyRevealed:
			if e.After["revealed"] != true || e.Object != keys[2].ID || e.Account != a.ID {
				t.Errorf("reveal says %+v", e)
			}
		}
	}
}

// everything is all that a backend has in it.
func everything(t testing.TB, b keystore.Backend) []byte {
	t.Helper()
	var all bytes.Buffer
	_, err := b.Load(context.Background(), func(r keystore.Row) error {
		all.WriteString(r.ID)
		all.Write(r.Data)
		return nil
	})
	err = errors.Join(err, b.Events(context.Background(), 1, 1<<62, false, func(e keystore.EventRow) error {
		all.Write(e.Body)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return all.Bytes()
}

// TestNoTokenAtRest is attack J1 for this package: no secret token stands in a row, an event or a log line, and no digest
// in an event.
func TestNoTokenAtRest(t *testing.T) {
	t.Parallel()
	backend := keystoretest.NewMemory()
	core, logs := observer.New(zap.DebugLevel)
	faulty := &keystoretest.Faulty{Backend: backend}
	s := keystoretest.NewStore(t, keystore.Options{Backend: faulty, Logger: zap.New(core)})
	a, keys := mustAccount(t, s, "A")
	var tokens []policy.Token
	for _, k := range keys {
		if k.Kind == policy.KindPublishable {
			continue
		}
		_, token, err := s.RevealKey(t.Context(), by, k.ID)
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	k, token := mustKey(t, s, restricted(a.ID))
	tokens = append(tokens, token)
	_, token, err := s.RotateKey(t.Context(), by, k.ID, keystore.RotateParams{})
	if err != nil {
		t.Fatal(err)
	}
	foreign := policy.TokenFrom("foreign-token-of-somebody-else-0123456789")
	tokens = append(tokens, token, foreign)
	if _, err = s.ImportKeys(t.Context(), by, []keystore.ImportParams{{Token: foreign, KeyParams: restricted(a.ID)}}); err != nil {
		t.Fatal(err)
	}
	faulty.Break(keystoretest.FaultBlindLost)
	if _, err := s.DeleteKey(t.Context(), by, k.ID); err == nil {
		t.Error("the fault does not work")
	}
	faulty.Break(keystoretest.FaultNone)

	var log bytes.Buffer
	for _, entry := range logs.All() {
		fmt.Fprintf(&log, "%s %v\n", entry.Message, entry.ContextMap())
	}
	if log.Len() == 0 {
		t.Error("nothing was logged: this test shows nothing")
	}
	stored := everything(t, backend)
	var trail []byte
	for _, e := range events(t, backend) {
		trail = fmt.Appendf(trail, "%+v", e)
	}
	for _, token := range tokens {
		text := token.Reveal()
		secret := text[len(text)-20 : len(text)-4]
		for place, content := range map[string][]byte{"rows and events": stored, "the log": log.Bytes()} {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("the token %v stands in %s", token, place)
			}
		}
		digest := token.Digest()
		if bytes.Contains(trail, []byte(hex.EncodeToString(digest[:]))) {
			t.Errorf("the digest of %v stands in the events", token)
		}
	}
}

// TestChangeUnderWay: a change that is being made durable is not seen by anybody, and readers do not wait for it.
func TestChangeUnderWay(t *testing.T) {
	t.Parallel()
	slow := &slowBackend{Backend: keystoretest.NewMemory(), enter: make(chan struct{}), leave: make(chan struct{})}
	s := keystoretest.NewStore(t, keystore.Options{Backend: slow})
	_, keys := mustAccount(t, s, "A")
	slow.on.Store(true)
	done := make(chan error)
	go func() {
		_, err := s.DeleteKey(context.Background(), by, keys[2].ID)
		done <- err
	}()
	<-slow.enter
	if k, _ := s.Lookup(&keys[2].Digest); k.Principal.Ended {
		t.Error("memory went ahead of disk")
	}
	if k, _ := s.Snapshot().Key(keys[2].ID); k.Deleted {
		t.Error("a snapshot went ahead of disk")
	}
	slow.on.Store(false)
	close(slow.leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if k, _ := s.Lookup(&keys[2].Digest); !k.Principal.Ended {
		t.Error("the deletion has returned and is not seen")
	}
}

type slowBackend struct {
	keystore.Backend
	on           atomic.Bool
	enter, leave chan struct{}
}

func (b *slowBackend) Commit(ctx context.Context, c *keystore.Commit) error {
	if b.on.Load() {
		b.enter <- struct{}{}
		<-b.leave
	}
	return b.Backend.Commit(ctx, c)
}

// TestCallerWhoLeaves: a commit that has begun is finished whatever becomes of its caller; one that has not is not begun.
func TestCallerWhoLeaves(t *testing.T) {
	t.Parallel()
	slow := &slowBackend{Backend: keystoretest.NewMemory(), enter: make(chan struct{}), leave: make(chan struct{})}
	s := keystoretest.NewStore(t, keystore.Options{Backend: slow})
	_, keys := mustAccount(t, s, "A")
	ctx, cancel := context.WithCancel(context.Background())
	slow.on.Store(true)
	done := make(chan error)
	go func() {
		_, err := s.DeleteKey(ctx, by, keys[2].ID)
		done <- err
	}()
	<-slow.enter
	cancel()
	slow.on.Store(false)
	close(slow.leave)
	if err := <-done; err != nil {
		t.Errorf("a commit under way was given up: %v", err)
	}
	if k, _ := s.Lookup(&keys[2].Digest); !k.Deleted {
		t.Error("the key is not deleted")
	}
	if _, err := s.DeleteKey(ctx, by, keys[0].ID); !errors.Is(err, context.Canceled) {
		t.Errorf("a change for somebody who has left: %v", err)
	}
}

// TestSomebodyElseWrote: a head that moved under the store means that its memory is not the truth. Nothing is written.
func TestSomebodyElseWrote(t *testing.T) {
	t.Parallel()
	backend := keystoretest.NewMemory()
	s := keystoretest.NewStore(t, keystore.Options{Backend: backend})
	_, keys := mustAccount(t, s, "A")
	head, err := backend.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := head
	next.Revision++
	if err := backend.Commit(t.Context(), &keystore.Commit{Previous: head, Next: next}); err != nil {
		t.Fatal(err)
	}
	_, err = s.DeleteKey(t.Context(), by, keys[2].ID)
	wantError(t, "writing", err, keystore.CodeUnavailable, "")
	if k, _ := s.Lookup(&keys[2].Digest); k.Deleted {
		t.Error("memory changed without the disk")
	}
}
