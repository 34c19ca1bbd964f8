package keystore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/keystile/keystile/policy"
)

// sealer keeps tokens that can be revealed later, under the master keyset. The key's id is part of what is authenticated:
// a sealed token that is moved to another key does not open.
type sealer struct{ aead tink.AEAD }

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
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("opening the master key: %v cannot be used for sealing: %w", o.MasterKey, err)
	}
	s := &sealer{aead: primitive}
	other := func(stored []byte) error {
		return fmt.Errorf("%v holds another keyset (%d) than the one that the key store's secrets are sealed under (%s): "+
			"put the right one back; nothing was changed", o.MasterKey, primaryID(handle), keysetName(stored))
	}
	if stored != nil {
		switch {
		case s.opens(stored):
			return s, nil
		case shared || sealedSecret != "": // where others write too, something may be sealed by now
			return nil, other(stored)
		}
	}
	check, err := primitive.Encrypt([]byte(sealedCheck), checkFor)
	if err != nil {
		return nil, fmt.Errorf("opening the master key: %w", err)
	}
	value := append(binary.BigEndian.AppendUint32(nil, primaryID(handle)), check...)
	swapped, err := o.Backend.SwapMeta(ctx, metaKeyset, stored, value)
	if err == nil && !swapped {
		if stored, err = o.Backend.Meta(ctx, metaKeyset); err == nil && !s.opens(stored) { // another process was faster
			err = other(stored)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the key store: noting its master key: %w", err)
	}
	return s, nil
}

// opens says whether this keyset sealed the store's check value.
func (s *sealer) opens(stored []byte) bool {
	if len(stored) < 4 {
		return false
	}
	plain, err := s.aead.Decrypt(stored[4:], checkFor)
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
	primitive, err := aead.New(handle)
	if err != nil {
		return true, false, fmt.Errorf("opening the master key: %v cannot be used for sealing: %w", key, err)
	}
	return true, (&sealer{aead: primitive}).opens(stored), nil
}

// keysetName is the id of the keyset that wrote the check value: Tink's, which is no secret.
func keysetName(stored []byte) string {
	if len(stored) < 4 {
		return "unknown"
	}
	return fmt.Sprint(binary.BigEndian.Uint32(stored))
}

func primaryID(handle *keyset.Handle) uint32 {
	entry, err := handle.Primary()
	if err != nil {
		return 0
	}
	return entry.KeyID()
}

func (s *sealer) seal(keyID string, token policy.Token) (string, error) {
	sealed, err := s.aead.Encrypt([]byte(token.Reveal()), sealedFor(keyID))
	if err != nil {
		return "", fmt.Errorf("sealing the token of %s: %w", keyID, err)
	}
	return string(sealed), nil
}

func (s *sealer) open(k *Key) (policy.Token, error) {
	plain, err := s.aead.Decrypt([]byte(k.sealed), sealedFor(k.ID))
	if err != nil {
		return policy.Token{}, fmt.Errorf("opening the sealed token of %s: %w", k.ID, err)
	}
	token := policy.TokenFrom(string(plain))
	if token.Digest() != k.Digest {
		return policy.Token{}, fmt.Errorf("the sealed token of %s is another key's", k.ID)
	}
	return token, nil
}
