package keystore

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/keystile/keystile/policy"
)

// The numbers of a key's fields; see codec.go on how numbers are given.
const (
	keyID = iota + 1
	keyKind
	keyMode
	keyAccount
	keyOrganization
	keySandbox
	keyName
	keyNote
	keyMetadata
	keyMask
	keyPublicToken
	keyDigest
	keyFlags
	keyPermissions
	keyConnectedPermissions
	keyIPRanges
	keyAllowedOrigins
	keyCreatedAt
	keyCreatedBy
	keyExpiresAt
	keyEndedAt
	keyPredecessor
	keySuccessor
	keyRevision
	keySealed
	keySchedule
)

// What came later.
const keyRateLimit = 60

const (
	flagDefault = 1 << iota
	flagImported
	flagDeleted
	flagRevealed
	flagsKnown = 1<<iota - 1
)

func (k *Key) encode() []byte {
	e := newEncoder(320)
	e.string(keyID, k.ID)
	e.uint(keyKind, uint64(k.Kind))
	e.uint(keyMode, uint64(k.Mode))
	e.string(keyAccount, k.Account)
	e.string(keyOrganization, k.Organization)
	e.string(keySandbox, k.Sandbox)
	e.string(keyName, k.Name)
	e.string(keyNote, k.Note)
	e.bytes(keyMetadata, appendMetadata(nil, k.Metadata))
	e.string(keyMask, k.Mask)
	e.string(keyPublicToken, k.PublicToken)
	e.bytes(keyDigest, k.Digest[:])
	e.uint(keyFlags, k.flags())
	e.permissions(keyPermissions, k.Principal.Permissions)
	e.permissions(keyConnectedPermissions, k.Principal.ConnectedPermissions)
	e.strings(keyIPRanges, k.IPRanges)
	e.strings(keyAllowedOrigins, k.AllowedOrigins)
	e.time(keyCreatedAt, k.CreatedAt)
	e.string(keyCreatedBy, k.CreatedBy)
	e.time(keyExpiresAt, k.ExpiresAt)
	e.time(keyEndedAt, k.EndedAt)
	e.string(keyPredecessor, k.Predecessor)
	e.string(keySuccessor, k.Successor)
	e.uint(keyRevision, k.Revision)
	e.string(keySealed, k.sealed)
	e.bytes(keySchedule, k.Schedule.encode())
	e.uint(keyRateLimit, uint64(k.RateLimit))
	return e.finish()
}

func (k *Key) flags() (flags uint64) {
	for _, f := range [...]struct {
		on   bool
		flag uint64
	}{{k.Default, flagDefault}, {k.Imported, flagImported}, {k.Deleted, flagDeleted}, {k.revealed, flagRevealed}} {
		if f.on {
			flags |= f.flag
		}
	}
	return flags
}

// permissions writes a set so that none (empty) and unrestricted (nil, left out) cannot be mistaken for each other.
func (e *encoder) permissions(field uint64, p *policy.Permissions) {
	if p == nil {
		return
	}
	e.bytes(field, appendPermissions([]byte{1}, p))
}

func decodeKey(in *interner, id string, data []byte) (*Key, error) {
	k := &Key{usage: new(usageCell)}
	if err := k.decode(in, data); err != nil {
		return nil, err
	}
	if err := k.checkLoaded(id); err != nil {
		return nil, err
	}
	return k, nil
}

// checkLoaded is what is asked once of every key that comes from a backend.
func (k *Key) checkLoaded(id string) error {
	if err := checkID(prefixKey, id, k.ID); err != nil {
		return err
	}
	return k.checkStored()
}

// decode fills an empty key from its record.
//
// From a fixed interner nothing is shared but what is compiled. The texts are then parts of one, which is a copy of the record.
func (k *Key) decode(in *interner, data []byte) error {
	own := func(value []byte) string { return string(value) }
	shared := in.bytes
	if in.fixed {
		data = data[:len(data):len(data)]
		text := string(data)
		own = func(value []byte) string { // value is a part of data, so its capacity says where it begins
			at := len(data) - cap(value)
			return text[at : at+len(value)]
		}
		shared = own
	}
	var digest []byte
	err := decodeRecord(data, func(number uint64, value []byte) (err error) {
		var n uint64
		switch number {
		case keyID:
			k.ID = own(value)
		case keyKind:
			n, err = decodeUint(value)
			k.Kind = policy.Kind(min(n, 255))
		case keyMode:
			n, err = decodeUint(value)
			k.Mode = policy.Mode(min(n, 255))
		case keyAccount:
			k.Account = shared(value)
		case keyOrganization:
			k.Organization = shared(value)
		case keySandbox:
			k.Sandbox = shared(value)
		case keyName:
			k.Name = shared(value)
		case keyNote:
			k.Note = own(value)
		case keyMetadata:
			k.Metadata, err = decodeMetadata(in, value)
		case keyMask:
			k.Mask = own(value)
		case keyPublicToken:
			k.PublicToken = own(value)
		case keyDigest:
			digest = value
		case keyFlags:
			err = k.setFlags(value)
		case keyPermissions:
			k.Principal.Permissions, err = in.storedPermissions(value)
		case keyConnectedPermissions:
			k.Principal.ConnectedPermissions, err = in.storedPermissions(value)
		case keyIPRanges:
			k.IPRanges, err = in.list(value)
		case keyAllowedOrigins:
			k.AllowedOrigins, err = in.list(value)
		case keyCreatedAt:
			k.CreatedAt, err = decodeTime(value)
		case keyCreatedBy:
			k.CreatedBy = shared(value)
		case keyExpiresAt:
			k.ExpiresAt, err = decodeTime(value)
		case keyEndedAt:
			k.EndedAt, err = decodeTime(value)
		case keyPredecessor:
			k.Predecessor = own(value)
		case keySuccessor:
			k.Successor = own(value)
		case keyRevision:
			k.Revision, err = decodeUint(value)
		case keySealed:
			k.sealed = own(value)
		case keySchedule:
			k.Schedule, err = decodeSchedule(value)
		case keyRateLimit:
			k.RateLimit, err = decodeLimit(value)
		default:
			err = unknownField(number)
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(digest) != len(k.Digest) {
		return errors.New("the key has no digest")
	}
	copy(k.Digest[:], digest)
	return k.compile(in)
}

// checkStored refuses a record that no version of the store writes. A record that is only half there must not become a
// key with more rights: fail closed.
func (k *Key) checkStored() error {
	unrestricted := k.Principal.Permissions == nil
	switch {
	case k.Kind < policy.KindSecret || k.Kind > policy.KindOrganization:
		return fmt.Errorf("the key has kind %d", k.Kind)
	case k.Mode != policy.ModeLive && k.Mode != policy.ModeSandbox:
		return fmt.Errorf("the key has mode %d", k.Mode)
	case (k.Account == "") == (k.Organization == ""):
		return errors.New("the key has no owner, or two")
	case (k.Kind == policy.KindOrganization) != (k.Organization != ""):
		return errors.New("the key's kind does not fit its owner")
	case (k.Sandbox != "") != (k.Account != "" && k.Mode == policy.ModeSandbox):
		return errors.New("the key's sandbox does not fit its mode")
	case k.Kind == policy.KindRestricted && (unrestricted || k.Principal.ConnectedPermissions == nil):
		return errors.New("the restricted key has no permissions")
	case k.Kind == policy.KindPublishable && k.PublicToken == "":
		return errors.New("the publishable key has no token")
	case k.Deleted && k.EndedAt.IsZero():
		return errors.New("the deleted key has no end")
	case k.CreatedAt.IsZero():
		return errors.New("the key was never created")
	}
	return nil
}

// compile fills in the principal from the fields. Permissions stand in it already.
func (k *Key) compile(in *interner) error {
	networks, err := in.network(k.IPRanges)
	if err != nil {
		return fmt.Errorf("compiling the IP ranges: %w", err)
	}
	p := &k.Principal
	p.KeyID, p.Kind, p.Mode = k.ID, k.Kind, k.Mode
	p.Owner, p.Sandbox, p.Mask = k.Owner(), k.Sandbox, k.Mask
	p.Networks, p.Origins = networks, k.AllowedOrigins
	p.Ended, p.ExpiresAt = k.Deleted || !k.EndedAt.IsZero(), k.ExpiresAt
	return nil
}

func (k *Key) setFlags(value []byte) error {
	flags, err := decodeUint(value)
	if err != nil {
		return err
	}
	if flags&^flagsKnown != 0 {
		return errors.New("the key has marks of a newer version of the program") // fail closed: one may end the key
	}
	k.Default, k.Imported = flags&flagDefault != 0, flags&flagImported != 0
	k.Deleted, k.revealed = flags&flagDeleted != 0, flags&flagRevealed != 0
	return nil
}

func (in *interner) storedPermissions(value []byte) (*policy.Permissions, error) {
	if len(value) == 0 || value[0] != 1 {
		return nil, errors.New("not a set of permissions")
	}
	return in.permissionSet(value[1:])
}

func appendMetadata(b []byte, m map[string]string) []byte {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		b = appendString(b, key)
		b = appendString(b, m[key])
	}
	return b
}

func decodeMetadata(in *interner, b []byte) (map[string]string, error) {
	m := make(map[string]string)
	for len(b) > 0 {
		key, rest, err := cutValue(b)
		if err != nil {
			return nil, err
		}
		value, rest, err := cutValue(rest)
		if err != nil {
			return nil, err
		}
		m[in.bytes(key)] = string(value)
		b = rest
	}
	return m, nil
}
