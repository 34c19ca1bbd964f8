package keystore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keystile/keystile/policy"
)

// sealer keeps tokens that can be revealed later, under the master keyset. The key's id is part of what is authenticated:
// a sealed token that is moved to another key does not open. The keyset in use can change while the store is open.
type sealer struct{ ring atomic.Pointer[ring] }

// ring is a master keyset in use. It is a constant.
type ring struct {
	handle  *keyset.Handle
	primary uint32    // the key that seals
	all     tink.AEAD // seals under the primary and opens what any of its keys sealed
	current tink.AEAD // the primary alone: what it does not open is sealed under an older key
}

// newRing makes a keyset ready for use. Which of its keys seals is what the store says, by its check value: all nodes of a
// fleet turn to another one at once. The keyset's own word counts while the store says nothing that it knows.
func newRing(handle *keyset.Handle, stored []byte) (*ring, error) {
	if id := checkedID(stored); id != 0 && hasKey(handle, id) {
		var err error
		if handle, err = withPrimary(handle, id); err != nil {
			return nil, err
		}
	}
	r := &ring{handle: handle, primary: primaryID(handle)}
	var err error
	if r.all, err = aead.New(handle); err != nil {
		return nil, err
	}
	alone, err := onlyPrimary(handle)
	if err != nil {
		return nil, err
	}
	r.current, err = aead.New(alone)
	return r, err
}

// Encrypt seals under the key that is the primary now.
func (s *sealer) Encrypt(plain, associated []byte) ([]byte, error) {
	return s.ring.Load().all.Encrypt(plain, associated)
}

// Decrypt opens what any key of the keyset sealed.
func (s *sealer) Decrypt(sealed, associated []byte) ([]byte, error) {
	return s.ring.Load().all.Decrypt(sealed, associated)
}

// metaKeyset names the value by which a store knows its keyset: the keyset's id, and a constant sealed under it.
const metaKeyset = "keyset"

const sealedCheck = "keystile"

func sealedFor(keyID string) []byte { return []byte("keystile token of " + keyID) }

var checkFor = []byte("keystile keyset check")

// openSealer opens the master keyset. sealedSecret names what is sealed, "" if nothing is: while there is something, a lost
// keyset or another one is refused, because it could never be opened again.
func openSealer(ctx context.Context, o *Options, meta func(context.Context, string) ([]byte, error), sealedSecret string) (*sealer, error) {
	stored, err := meta(ctx, metaKeyset)
	if err != nil {
		return nil, fmt.Errorf("opening the key store: reading what its master key is: %w", err)
	}
	_, shared := o.Backend.(Shared)
	if f, ok := o.MasterKey.(interface{ tidy() error }); ok {
		if err := f.tidy(); err != nil {
			return nil, err
		}
	}
	handle, err := o.MasterKey.load()
	if errors.Is(err, errNoMasterKey) {
		switch {
		case stored != nil && shared:
			return nil, fmt.Errorf("%v is missing, and the key store has one already (keyset %s): all nodes need the same master key, "+
				"so copy it from another node; nothing was changed", o.MasterKey, keysetName(stored))
		case stored != nil && sealedSecret != "":
			return nil, fmt.Errorf("%v is missing, but the key store holds what is sealed under it (keyset %s): "+
				"put it back from your backup; nothing was changed", o.MasterKey, keysetName(stored))
		}
		handle, err = o.MasterKey.create()
	}
	if err != nil {
		return nil, fmt.Errorf("opening the master key: %w", err)
	}
	r, err := newRing(handle, stored)
	if err != nil {
		return nil, fmt.Errorf("opening the master key: %v cannot be used for sealing: %w", o.MasterKey, err)
	}
	s := new(sealer)
	s.ring.Store(r)
	other := func(stored []byte) error {
		return fmt.Errorf("%v holds another keyset (%d) than the one that the key store's secrets are sealed under (%s): "+
			"put the right one back; nothing was changed", o.MasterKey, primaryID(handle), keysetName(stored))
	}
	if stored != nil {
		switch {
		case r.opens(stored):
			return s, nil
		case shared || sealedSecret != "": // where others write too, something may be sealed by now
			return nil, other(stored)
		}
	}
	value, err := r.check()
	if err != nil {
		return nil, fmt.Errorf("opening the master key: %w", err)
	}
	swapped, err := o.Backend.SwapMeta(ctx, metaKeyset, stored, value)
	if err == nil && !swapped {
		if stored, err = o.Backend.Meta(ctx, metaKeyset); err == nil && !r.opens(stored) { // another process was faster
			err = other(stored)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the key store: noting its master key: %w", err)
	}
	return s, nil
}

// check makes the value by which the store knows this keyset, and which of its keys is the primary.
func (r *ring) check() ([]byte, error) {
	check, err := r.current.Encrypt([]byte(sealedCheck), checkFor)
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32(nil, r.primary), check...), nil
}

// opens says whether this keyset sealed the store's check value.
func (r *ring) opens(stored []byte) bool {
	if len(stored) < 4 {
		return false
	}
	plain, err := r.all.Decrypt(stored[4:], checkFor)
	return err == nil && string(plain) == sealedCheck
}

// fits says whether a master key exists, and whether it is the one of a store's check value.
func fits(key MasterKey, stored []byte) (present, fit bool, err error) {
	handle, err := key.load()
	if errors.Is(err, errNoMasterKey) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("opening the master key: %w", err)
	}
	r, err := newRing(handle, stored)
	if err != nil {
		return true, false, fmt.Errorf("opening the master key: %v cannot be used for sealing: %w", key, err)
	}
	return true, r.opens(stored), nil
}

// keysetName is the id of the keyset that wrote the check value: Tink's, which is no secret.
func keysetName(stored []byte) string {
	if len(stored) < 4 {
		return "unknown"
	}
	return fmt.Sprint(checkedID(stored))
}

// checkedID is the key that a check value was sealed under, 0 for none.
func checkedID(stored []byte) uint32 {
	if len(stored) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(stored)
}

func primaryID(handle *keyset.Handle) uint32 {
	entry, err := handle.Primary()
	if err != nil {
		return 0
	}
	return entry.KeyID()
}

func (s *sealer) seal(keyID string, token policy.Token) (string, error) {
	sealed, err := s.Encrypt([]byte(token.Reveal()), sealedFor(keyID))
	if err != nil {
		return "", fmt.Errorf("sealing the token of %s: %w", keyID, err)
	}
	return string(sealed), nil
}

func (s *sealer) open(k *Key) (policy.Token, error) {
	plain, err := s.Decrypt([]byte(k.sealed), sealedFor(k.ID))
	if err != nil {
		return policy.Token{}, fmt.Errorf("opening the sealed token of %s: %w", k.ID, err)
	}
	token := policy.TokenFrom(string(plain))
	if token.Digest() != k.Digest {
		return policy.Token{}, fmt.Errorf("the sealed token of %s is another key's", k.ID)
	}
	return token, nil
}
