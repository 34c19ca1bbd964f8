package keystore

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Signer signs what the gateway says to backends of a request, with the newest signing key. It holds the private key in a
// function, so that nothing that prints or encodes a Signer can show it. It may be used by any number of goroutines.
type Signer struct {
	keyID  string
	public ed25519.PublicKey
	sign   func(message []byte) []byte
}

// KeyID is the id of the key that signs.
func (s *Signer) KeyID() string { return s.keyID }

// Public is the half of the key that verifies.
func (s *Signer) Public() ed25519.PublicKey { return s.public }

// Sign answers the Ed25519 signature of a message, 64 bytes.
func (s *Signer) Sign(message []byte) []byte { return s.sign(message) }

// VerificationKey is the public half of a signing key.
type VerificationKey struct {
	ID        string // RFC 7638 thumbprint: base64url of a SHA-256, 43 characters
	Public    ed25519.PublicKey
	CreatedAt time.Time // UTC, to the second
}

// metaSigning names the value that holds the signing keys, newest first, sealed as a whole: whoever can write to the
// backend but has not the master key can neither read one nor slip in one of their own.
const metaSigning = "signing_keys"

var signingFor = []byte("keystile signing keys")

// The sealed value is the version of its form and then, for each key, when it was made (seconds since 1970, big endian)
// and its seed.
const (
	signingForm   = 1
	signingRecord = 8 + ed25519.SeedSize
)

// signing is what a store knows of its signing keys.
type signing struct {
	newest atomic.Pointer[Signer]
	mu     sync.Mutex // held while the first key is made or read
}

type signingKey struct {
	created time.Time
	private ed25519.PrivateKey
}

func (k *signingKey) public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// Signer signs with the newest signing key. The first call of all on a new backend makes the key; of several processes
// that do so at once one succeeds and the others take its key. Later calls cost an atomic load. An error means that the
// keys cannot be read or written, and that nothing may pass unsigned in their place (fail closed).
func (s *Store) Signer(ctx context.Context) (*Signer, error) {
	if signer := s.signing.newest.Load(); signer != nil {
		return signer, nil
	}
	s.signing.mu.Lock()
	defer s.signing.mu.Unlock()
	if signer := s.signing.newest.Load(); signer != nil {
		return signer, nil
	}
	keys, err := s.signingKeys(ctx)
	if err == nil && len(keys) == 0 {
		keys, err = s.makeSigningKey(ctx)
	}
	if err != nil {
		return nil, err
	}
	newest := keys[0]
	signer := &Signer{
		keyID: thumbprint(newest.public()), public: newest.public(),
		sign: func(message []byte) []byte { return ed25519.Sign(newest.private, message) },
	}
	s.signing.newest.Store(signer)
	return signer, nil
}

// VerificationKeys are the public halves of all signing keys, newest first, read from the backend: what another process
// has added is there at once. There are none before the first [Store.Signer].
func (s *Store) VerificationKeys(ctx context.Context) ([]VerificationKey, error) {
	keys, err := s.signingKeys(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]VerificationKey, 0, len(keys))
	for _, k := range keys {
		out = append(out, VerificationKey{ID: thumbprint(k.public()), Public: k.public(), CreatedAt: k.created})
	}
	return out, nil
}

func (s *Store) signingKeys(ctx context.Context) ([]signingKey, error) {
	sealed, err := s.meta(ctx, metaSigning)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	if sealed == nil {
		return nil, nil
	}
	plain, err := s.seal.Decrypt(sealed, signingFor)
	if err != nil {
		return nil, fmt.Errorf("opening the signing keys: they are damaged, or sealed under another master key: %w", err)
	}
	return decodeSigning(plain)
}

// makeSigningKey makes the first key, unless another process is faster: then its key is the answer.
func (s *Store) makeSigningKey(ctx context.Context) ([]signingKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	s.mu.Lock() // guards the randomness
	_, err := io.ReadFull(s.tokens.rand, seed)
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	s.sealing.RLock()
	defer s.sealing.RUnlock()
	made := []signingKey{{created: s.now().UTC().Truncate(time.Second), private: ed25519.NewKeyFromSeed(seed)}}
	sealed, err := s.seal.Encrypt(encodeSigning(made), signingFor)
	if err != nil {
		return nil, fmt.Errorf("sealing a signing key: %w", err)
	}
	swapped, err := s.backend.SwapMeta(ctx, metaSigning, nil, sealed)
	if err != nil {
		return nil, fmt.Errorf("saving a signing key: %w", err)
	}
	if swapped {
		if s.shared != nil {
			s.rememberMeta(metaSigning, sealed)
		}
		s.logger.Info("made the key that signs assertions", zap.String("key_id", thumbprint(made[0].public())))
		return made, nil
	}
	keys, err := s.signingKeys(ctx)
	if err == nil && len(keys) == 0 {
		err = errors.New("making a signing key: another process made one and removed it") // fail closed
	}
	return keys, err
}

func encodeSigning(keys []signingKey) []byte {
	out := []byte{signingForm}
	for _, k := range keys {
		out = binary.BigEndian.AppendUint64(out, uint64(k.created.Unix()))
		out = append(out, k.private.Seed()...)
	}
	return out
}

func decodeSigning(plain []byte) ([]signingKey, error) {
	if len(plain) == 0 || plain[0] != signingForm {
		return nil, errors.New("the signing keys were written by a newer version of the program")
	}
	plain = plain[1:]
	if len(plain) == 0 || len(plain)%signingRecord != 0 {
		return nil, errors.New("the signing keys are damaged")
	}
	var keys []signingKey
	for ; len(plain) > 0; plain = plain[signingRecord:] {
		keys = append(keys, signingKey{
			created: time.Unix(int64(binary.BigEndian.Uint64(plain)), 0).UTC(),
			private: ed25519.NewKeyFromSeed(plain[8:signingRecord]),
		})
	}
	return keys, nil
}

// sealedSecret names something that is sealed under the master key, "" if nothing is: sealedKey, the id of a key whose
// token is, or the signing keys.
func (s *Store) sealedSecret(ctx context.Context, sealedKey string) (string, error) {
	if sealedKey != "" {
		return sealedKey, nil
	}
	sealed, err := s.meta(ctx, metaSigning)
	if err != nil {
		return "", fmt.Errorf("reading the signing keys: %w", err)
	}
	if sealed == nil {
		return "", nil
	}
	return metaSigning, nil
}

// thumbprint is the id of a public key by RFC 7638, in the form of RFC 8037 for Ed25519: it follows from the key alone, so
// that all nodes and all versions agree on it.
func thumbprint(public ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(public) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
