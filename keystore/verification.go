package keystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// What lasts minutes and not longer is no row: it is kept sealed until its end, and then destroyed.

// KeepSecret keeps a value sealed under the master keyset until it expires. All nodes that share the backend find it by its
// name, which must not be secret, and it opens under no other name.
func (s *Store) KeepSecret(ctx context.Context, name string, expires time.Time, plain []byte) error {
	expires = milliseconds(expires)
	s.sealing.RLock()
	defer s.sealing.RUnlock()
	sealed, err := s.seal.Encrypt(plain, secretFor(name, expires))
	if err != nil {
		return fmt.Errorf("sealing %s: %w", name, err)
	}
	return s.keep(ctx, KeptRow{ID: secretID(name), Expires: expires, Data: sealed})
}

// KeptSecret reads a value that is kept sealed, nil if there is none or its time is over.
func (s *Store) KeptSecret(ctx context.Context, name string) ([]byte, error) {
	row, err := s.backend.Kept(ctx, secretID(name))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if row == nil || !s.now().Before(row.Expires) {
		return nil, nil
	}
	plain, err := s.seal.Decrypt(row.Data, secretFor(name, row.Expires))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	return plain, nil
}

// DropSecret destroys a value that is kept sealed. One that is not there is no error.
func (s *Store) DropSecret(ctx context.Context, name string) error {
	id, k := secretID(name), s.answers
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := s.backend.Keep(ctx, nil, []string{id}); err != nil {
		return fmt.Errorf("destroying %s: %w", name, err)
	}
	k.bytes -= k.byID[id].size
	delete(k.byID, id)
	return nil
}

func secretID(name string) string { return "secret " + name }

func secretFor(name string, expires time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte("keystile secret "+name), uint64(expires.UnixMilli()))
}

// keep keeps one value and sees to it that it is destroyed at its end, with the saved answers.
func (s *Store) keep(ctx context.Context, row KeptRow) error {
	if s.keptFull(maxAnswers+maxSecrets, maxAnswerBytes+maxSecretBytes) { // what is over makes room
		return errNoRoom
	}
	k := s.answers
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.byID[row.ID]
	if err := s.backend.Keep(ctx, []KeptRow{row}, nil); err != nil {
		return fmt.Errorf("keeping a value: %w", err)
	}
	k.bytes += len(row.Data) - old.size
	k.byID[row.ID] = answerRef{expires: row.Expires, size: len(row.Data)}
	return nil
}

// SealText seals a short text that goes out and is to come back, such as a cookie. purpose is what it is bound to.
func (s *Store) SealText(purpose string, plain []byte) ([]byte, error) {
	sealed, err := s.seal.Encrypt(plain, []byte("keystile text "+purpose))
	if err != nil {
		return nil, fmt.Errorf("sealing a text: %w", err)
	}
	return sealed, nil
}

// OpenText opens what [Store.SealText] sealed for the same purpose.
func (s *Store) OpenText(purpose string, sealed []byte) ([]byte, error) {
	plain, err := s.seal.Decrypt(sealed, []byte("keystile text "+purpose))
	if err != nil {
		return nil, fmt.Errorf("opening a text: %w", err)
	}
	return plain, nil
}

// The ledger counts what may happen only so many times in a while: tries of a code, uses of one, codes sent to a member. It
// is one small value that all nodes that share the backend change by comparing and swapping, so that of many at the same
// time no more get through than one after the other.
const (
	metaLedger    = "ledger"
	ledgerForm    = 1
	ledgerEntry   = 16 + 8 + 4 // name, end, count
	ledgerEntries = 16_384
	ledgerSwaps   = 200 // how often a swap is tried before the store counts as busy
)

// Count adds one to the count of a name, and says whether it was below most before. The count is forgotten at the end that
// the first of them gave. It fails closed: what cannot be counted may not happen.
func (s *Store) Count(ctx context.Context, name string, most uint32, until time.Time) (bool, error) {
	sum := sha256.Sum256([]byte(name))
	key := sum[:16]
	for range ledgerSwaps {
		old, err := s.backend.Meta(ctx, metaLedger)
		if err != nil {
			return false, fmt.Errorf("reading the ledger: %w", err)
		}
		next, counted, err := ledgerCount(old, key, most, s.now(), until)
		if err != nil || !counted {
			return false, err
		}
		swapped, err := s.backend.SwapMeta(ctx, metaLedger, old, next)
		if err != nil {
			return false, fmt.Errorf("writing the ledger: %w", err)
		}
		if swapped {
			return true, nil
		}
	}
	return false, unavailable("the key store is busy: try again")
}

// ledgerCount is the ledger with one more of key, and without what is over.
func ledgerCount(old, key []byte, most uint32, now, until time.Time) ([]byte, bool, error) {
	next := []byte{ledgerForm}
	found := false
	var entries []byte
	if len(old) > 0 {
		if entries = old[1:]; old[0] != ledgerForm || len(entries)%ledgerEntry != 0 {
			return nil, false, fmt.Errorf("the ledger is damaged, or was written by a newer version of the program")
		}
	}
	for ; len(entries) > 0; entries = entries[ledgerEntry:] {
		entry := bytes.Clone(entries[:ledgerEntry])
		if now.UnixMilli() >= int64(binary.BigEndian.Uint64(entry[16:])) {
			continue
		}
		if bytes.Equal(entry[:16], key) {
			found = true
			count := binary.BigEndian.Uint32(entry[24:])
			if count >= most {
				return nil, false, nil
			}
			binary.BigEndian.PutUint32(entry[24:], count+1)
		}
		next = append(next, entry...)
	}
	if found {
		return next, true, nil
	}
	if most == 0 {
		return nil, false, nil
	}
	if len(next) > ledgerEntries*ledgerEntry {
		return nil, false, unavailable("too many codes are being tried at the same time: try again in some minutes")
	}
	next = append(next, key...)
	next = binary.BigEndian.AppendUint64(next, uint64(until.UnixMilli()))
	return binary.BigEndian.AppendUint32(next, 1), true, nil
}
