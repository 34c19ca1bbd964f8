package keystore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/internal/settled"
)

// Limits on the answers that are kept. A new one that does not fit is refused rather than an older one forgotten.
const (
	maxAnswers     = 100_000
	maxAnswerBytes = 256 << 20 // sealed, of all together

	// Secrets that are kept for minutes have room of their own beyond that: who fills the room for answers keeps nobody from
	// getting a verification code.
	maxSecrets     = 20_000
	maxSecretBytes = 16 << 20
)

// Answer is a saved answer of the admin API, for who repeats a call with its idempotency key. It may hold a token: at rest
// it is sealed under the master keyset, bound to its caller, key and fingerprint, and destroyed when its time is over.
type Answer struct {
	Caller, Key string            // who called, and with which idempotency key
	Fingerprint [sha256.Size]byte // of the call
	Expires     time.Time
	Body        []byte // in clear
}

// ErrAnswersFull is the answer to one more answer than can be kept.
var ErrAnswersFull = errors.New("the store keeps as many answers as it can")

// answers is the index of what is kept. The sealed bodies stay in the backend.
type answers struct {
	mu    sync.Mutex
	byID  map[string]answerRef
	bytes int
}

type answerRef struct {
	expires time.Time
	size    int
}

// answerID names an answer by its caller and key. Each has its length before it, so that no two pairs look alike; and it is
// a hash, so that a caller's choice of keys says nothing on disk.
func answerID(caller, key string) string {
	h := sha256.New()
	for _, part := range []string{caller, key} {
		h.Write(binary.AppendUvarint(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// answerFor is what a sealed answer is bound to: moved to another place, or given another time, it does not open.
func answerFor(id string, fingerprint []byte, expires time.Time) []byte {
	b := append([]byte("keystile answer of "+id), fingerprint...)
	return binary.BigEndian.AppendUint64(b, uint64(expires.UnixMilli()))
}

// SaveAnswer keeps an answer until it expires. When it returns, a crash does not lose it.
func (s *Store) SaveAnswer(ctx context.Context, a *Answer) error {
	id, expires := answerID(a.Caller, a.Key), milliseconds(a.Expires)
	s.sealing.RLock()
	defer s.sealing.RUnlock()
	sealed, err := s.seal.Encrypt(a.Body, answerFor(id, a.Fingerprint[:], expires))
	if err != nil {
		return fmt.Errorf("sealing an answer: %w", err)
	}
	row := KeptRow{ID: id, Expires: expires, Data: append(a.Fingerprint[:], sealed...)}
	k := s.answers
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.byID[id]
	if len(k.byID) >= maxAnswers || k.bytes-old.size+len(row.Data) > maxAnswerBytes {
		return ErrAnswersFull
	}
	if err := s.backend.Keep(ctx, []KeptRow{row}, nil); err != nil {
		return fmt.Errorf("keeping an answer: %w", err)
	}
	k.bytes += len(row.Data) - old.size
	k.byID[id] = answerRef{expires: expires, size: len(row.Data)}
	return nil
}

// FindAnswer is the answer that is kept for a caller's key, nil if there is none or its time is over.
func (s *Store) FindAnswer(ctx context.Context, caller, key string) (*Answer, error) {
	id := answerID(caller, key)
	s.answers.mu.Lock()
	ref, ok := s.answers.byID[id]
	s.answers.mu.Unlock()
	// Other nodes keep answers too, and this index does not know of them.
	if s.shared == nil && (!ok || !s.aged.Now().Before(ref.expires)) {
		return nil, nil //nolint:nilnil // no answer is an answer
	}
	row, err := s.backend.Kept(ctx, id)
	over := func() bool { return !s.aged.Now().Before(row.Expires) }
	if err == nil && row != nil && s.shared != nil && over() {
		// By the clock here, which may be wrong, and then the call would be made twice. The database destroys it if its clock says so too.
		if err = s.shared.DropKept(ctx, s.aged.Now()); err == nil {
			row, err = s.backend.Kept(ctx, id)
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading a kept answer: %w", err)
	case row == nil, s.shared == nil && over():
		return nil, nil //nolint:nilnil // it expired at this very moment, or never was
	case len(row.Data) < sha256.Size:
		return nil, errors.New("a kept answer is cut off")
	}
	a := &Answer{Caller: caller, Key: key, Fingerprint: [sha256.Size]byte(row.Data), Expires: row.Expires}
	if a.Body, err = s.seal.Decrypt(row.Data[sha256.Size:], answerFor(id, a.Fingerprint[:], a.Expires)); err != nil {
		// Fail closed: the call was made once, and must not be made again because its answer cannot be read.
		return nil, fmt.Errorf("opening a kept answer: %w", err)
	}
	return a, nil
}

// AnswersFull says whether there is no room for one more answer. What has expired makes room first.
func (s *Store) AnswersFull() bool { return s.keptFull(maxAnswers, maxAnswerBytes) }

func (s *Store) keptFull(most, bytes int) bool {
	full := func() bool {
		s.answers.mu.Lock()
		defer s.answers.mu.Unlock()
		return len(s.answers.byID) >= most || s.answers.bytes >= bytes
	}
	if !full() {
		return false
	}
	s.dropAnswers()
	return full()
}

// loadAnswers builds the index.
func (s *Store) loadAnswers(ctx context.Context) error {
	s.answers = &answers{byID: make(map[string]answerRef)}
	if !s.met.Load() {
		return nil // the backend is away; it is asked for each answer
	}
	err := s.backend.LoadKept(ctx, func(r KeptRow) error {
		s.answers.byID[r.ID] = answerRef{expires: r.Expires, size: len(r.Data)}
		s.answers.bytes += len(r.Data)
		s.sessionSeen(r)
		return nil
	})
	if err != nil {
		return fmt.Errorf("kept answers: %w", err)
	}
	s.dropAnswers()
	return nil
}

// clockWait is how long a clock that jumps ahead must stay there before saved answers are over by it.
const clockWait = time.Hour

// watchClock begins to watch the clock: one that is ahead for a while must not destroy the answers by which a call is not made twice. It
// goes on from the newest event, or from when the copy was kept that the node starts from.
func (s *Store) watchClock(o *Options) {
	s.aged = settled.New(settled.Options{
		From: settled.State{At: s.newest}, Wait: clockWait, Now: o.Now, Elapsed: o.Elapsed,
		Told: func(ahead time.Duration) {
			if ahead > clockWait { // less is a quiet time
				s.logger.Info("the clock is ahead of the newest event, or of the time that has passed; answers of idempotency keys are kept until it has stayed there",
					zap.Duration("ahead", ahead), zap.Duration("for", clockWait))
			}
		},
	})
}

// dropAnswers destroys the answers whose time is over.
func (s *Store) dropAnswers() {
	now := s.aged.Now()
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	failed := func(err error) bool {
		if err != nil {
			s.logger.Warn("destroying answers whose time is over", zap.Error(err)) // the next minute tries again
		}
		return err != nil
	}
	k := s.answers
	if s.shared != nil { // also those of nodes that are gone; nobody waits for the database meanwhile
		if !failed(s.shared.DropKept(ctx, now)) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.forget(k.over(now))
		}
		return
	}
	// Under the lock: what is kept by the same name meanwhile must not be destroyed with it.
	k.mu.Lock()
	defer k.mu.Unlock()
	if over := k.over(now); len(over) > 0 && !failed(s.backend.Keep(ctx, nil, over)) {
		k.forget(over)
	}
}

// over is what has ended at a time.
func (k *answers) over(now time.Time) (ids []string) {
	for id, ref := range k.byID {
		if !now.Before(ref.expires) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (k *answers) forget(ids []string) {
	for _, id := range ids {
		k.bytes -= k.byID[id].size
		delete(k.byID, id)
	}
}
