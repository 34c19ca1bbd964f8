package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// withChecksum completes a token of 32 random characters, so that it looks like one of ours.
func withChecksum(t testing.TB, s string) string {
	t.Helper()
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := crc32.ChecksumIEEE([]byte(s))
	var b [6]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = alphabet[sum%62]
		sum /= 62
	}
	token := s + string(b[:])
	if _, _, class := policy.ParseToken(token); class != policy.TokenOurs {
		t.Fatalf("ParseToken says %v of a token with a checksum, want TokenOurs", class)
	}
	return token
}

// handlerStatus is the status that Caddy gives to an error.
func handlerStatus(err error) (int, bool) {
	var he caddyhttp.HandlerError
	ok := errors.As(err, &he)
	return he.StatusCode, ok
}

func bufioReader(s string) *bufio.Reader { return bufio.NewReader(strings.NewReader(s)) }

// stuckStore keeps nothing until it is released, so that the queue of its log fills up. It says when it got stuck: from then
// on nothing is taken from the queue.
type stuckStore struct{ entered, release chan struct{} }

func newStuckStore() *stuckStore {
	return &stuckStore{entered: make(chan struct{}, 1), release: make(chan struct{})}
}

func (s *stuckStore) Write(records []*requestlog.Record) (int, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.release
	return len(records), nil
}

func (s *stuckStore) List(context.Context, requestlog.Query) (requestlog.Page, error) {
	return requestlog.Page{}, nil
}

func (s *stuckStore) Get(context.Context, string) (*requestlog.Record, error) {
	return nil, requestlog.ErrNotFound
}
func (s *stuckStore) Histogram(context.Context, requestlog.HistogramQuery) (*requestlog.Histogram, error) {
	return nil, requestlog.ErrClosed
}
func (s *stuckStore) KeySummary(context.Context, string) (*requestlog.KeySummary, error) {
	return nil, requestlog.ErrClosed
}
func (s *stuckStore) Stats() requestlog.StoreStats { return requestlog.StoreStats{} }
func (s *stuckStore) Close() error                 { return nil }

func accountNamed(name string) keystore.AccountParams { return keystore.AccountParams{Name: name} }

// revealSecrets answers the default secret keys of an account by mode.
func revealSecrets(t testing.TB, store *keystore.Store, keys []*keystore.Key) map[string]string {
	t.Helper()
	tokens := make(map[string]string)
	for _, k := range keys {
		if k.Kind != policy.KindSecret {
			continue
		}
		_, token, err := store.RevealKey(context.Background(), testActor, k.ID)
		if err != nil {
			t.Fatal(err)
		}
		tokens[k.Mode.String()] = token.Reveal()
	}
	return tokens
}
