package pgstore_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// unreliable is a way to a database that does to it what networks do.
type unreliable struct {
	dsn   string
	delay atomic.Int64 // of every piece, both ways
	// What becomes of the next COMMIT: it is carried out and the answer lost, or it is lost itself.
	loseAnswer, loseCommit atomic.Bool
	lost                   atomic.Int64

	mu     sync.Mutex
	server string
	open   map[net.Conn]bool
}

// lead leads whoever comes from now on to the server of a DSN, and cuts off who is there.
func (p *unreliable) lead(t *testing.T, dsn string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = u.Host
	for conn := range p.open {
		_ = conn.Close()
	}
}

func newUnreliable(t *testing.T, dsn string) *unreliable {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := &unreliable{server: u.Host, open: map[net.Conn]bool{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = ln.Addr().String()
	p.dsn = u.String()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { p.carry(client) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		conns.Wait()
	})
	return p
}

// carry takes one connection to the server and back.
func (p *unreliable) carry(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	server := p.server
	p.open[client] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, client)
	}()
	behind, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer behind.Close()
	var deaf atomic.Bool // what the server says is lost from now on
	var back sync.WaitGroup
	back.Go(func() {
		defer client.Close()
		p.pieces(behind, func(b []byte) bool {
			if deaf.Load() {
				p.lost.Add(1)
				return false
			}
			_, err := client.Write(b)
			return err == nil
		})
	})
	p.pieces(client, func(b []byte) bool {
		if bytes.Contains(bytes.ToLower(b), []byte("commit\x00")) {
			if p.loseCommit.CompareAndSwap(true, false) {
				p.lost.Add(1)
				return false
			}
			if p.loseAnswer.CompareAndSwap(true, false) {
				deaf.Store(true)
			}
		}
		_, err := behind.Write(b)
		return err == nil
	})
	if !deaf.Load() {
		_ = behind.Close()
	}
	back.Wait()
}

func (p *unreliable) pieces(from io.Reader, each func([]byte) bool) {
	for b := make([]byte, 1<<16); ; {
		n, err := from.Read(b)
		if n > 0 {
			time.Sleep(time.Duration(p.delay.Load()))
			if !each(b[:n]) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestCommitWithoutAnAnswer: the connection breaks after COMMIT was sent, before the server has it or after. What is said then is what is so,
// in memory, in the database and on another node.
func TestCommitWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	way := newUnreliable(t, dsn)
	s := joinFleet(t, way.dsn, "a", nil)
	other := joinFleet(t, dsn, "b", nil)
	ctx := t.Context()
	_, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	for n, k := range keys[:4] {
		happens := n%2 == 0
		if happens {
			way.loseAnswer.Store(true)
		} else {
			way.loseCommit.Store(true)
		}
		before := way.lost.Load()
		var err error
		if n < 2 {
			_, err = s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "org"})
		} else {
			_, err = s.UpdateKey(ctx, by, k.ID, keystore.KeyPatch{Name: keystore.To("renamed")})
		}
		if way.lost.Load() == before {
			t.Fatal("nothing was lost on the way: the test shows nothing")
		}
		switch {
		case happens && err != nil:
			t.Errorf("change %d was committed, and is answered with %v", n, err)
		case !happens && keystore.CodeOf(err) != keystore.CodeUnavailable:
			t.Errorf("change %d was not committed, and is answered with %v, want unavailable", n, err)
		}
		revision := s.Snapshot().Revision()
		until(t, "the other node knew the same", func() bool { return other.Snapshot().Revision() >= revision })
		if got := other.Snapshot().Revision(); got != revision {
			t.Errorf("change %d: revision %d in memory, %d on the other node", n, revision, got)
		}
	}
	if _, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "after"}); err != nil {
		t.Errorf("the next change: %v", err)
	}
}

// TestSlowDatabase: each word to and from the database takes a tenth of a second. Changes take their time and are made; look-ups and the
// judgement of requests do not ask it.
func TestSlowDatabase(t *testing.T) {
	t.Parallel()
	way := newUnreliable(t, pgtest.Shared(t).Database(t))
	s := joinFleet(t, way.dsn, "a", nil)
	ctx := t.Context()
	_, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	way.delay.Store(int64(100 * time.Millisecond))
	done := make(chan error, 1)
	go func() {
		_, err := s.DeleteKey(ctx, by, keys[0].ID)
		done <- err
	}()
	lookups := 0
	for waiting := true; waiting; {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("a change: %v", err)
			}
			waiting = false
		default:
			if k, _ := s.Lookup(&keys[1].Digest); k == nil || s.Stale(time.Now()) {
				t.Fatal("a key cannot be looked up while the database is slow")
			}
			lookups++
		}
	}
	if lookups < 1000 {
		t.Errorf("only %d look-ups while a change waited for the database", lookups)
	}
	if k, _ := s.Lookup(&keys[0].Digest); k == nil || !k.Principal.Ended {
		t.Error("the deleted key is not ended")
	}
	way.delay.Store(0)
}
